"""Things of a classifier of ImageNet: thresholds from labelled photos, the written model, and the shipped one."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torchvision import models

from tagger.model.artifact import file_digest, load_module, read_manifest
from tagger.model.backends.openvino import SHIPPED, has_shipped_graph
from tagger.tags.models_in_use import THINGS, shipped_file
from trainer.errors import BackboneUnusable, DataUnusable
from trainer.imports.things import (
    CLASSES,
    LANGUAGES,
    PRECISION,
    LabelledThings,
    ThingQuality,
    calibrate,
    choose_thresholds,
    held_out,
    import_things,
    load_classifier,
    lowest_threshold,
    read_labels,
    read_things,
)

RGB = (224, 224, 3)


def labelled(path: str, *shown: str, absent: tuple[str, ...] = ()) -> LabelledThings:
    return LabelledThings(Path(path), frozenset(shown), frozenset(absent))


def test_a_threshold_is_the_lowest_from_which_on_enough_photos_show_the_thing() -> None:
    probabilities = np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4], np.float32)
    assert lowest_threshold(probabilities, np.array([1, 1, 1, 1, 0, 0])) == pytest.approx(0.6)
    assert lowest_threshold(probabilities, np.array([1, 1, 1, 0, 0, 0])) is None  # too few are right
    assert lowest_threshold(probabilities, np.array([0, 1, 1, 1, 1, 1])) is None  # 83 % are right
    assert lowest_threshold(probabilities - 0.35, np.ones(6)) is None  # the fourth has 0.25


def test_things_with_few_photos_have_a_threshold_together_and_one_that_is_wrong_is_left_out() -> None:
    photos = [labelled(f"{n}.jpg", "cat", "horse", absent=("bear",)) for n in range(4)]
    probabilities = np.array([[0.9, 0.8, 0.85]] + [[0.9, 0.8, 0.1]] * 3, np.float32)
    cat, horse, bear = choose_thresholds(["cat", "horse", "bear"], probabilities, photos)
    assert cat == ThingQuality("cat", pytest.approx(0.9), True, 4, 4, 4)
    assert (horse.threshold, bear.threshold) == (pytest.approx(0.8), None)
    few = [labelled(f"{n}.jpg", "cat", "horse") for n in range(2)]
    cat, horse = choose_thresholds(["cat", "horse"], probabilities[:2, :2], few)
    assert (cat.threshold, cat.has_own, horse.threshold) == (pytest.approx(0.8), False, pytest.approx(0.8))


def test_a_held_out_figure_measures_photos_of_other_folders_than_those_that_chose() -> None:
    right = [labelled(f"a/{n}.jpg", "dog") for n in range(5)]
    wrong = [labelled(f"b/{n}.jpg", absent=("dog",)) for n in range(3)]
    probabilities = np.array([[0.9]] * 5 + [[0.95]] * 3, np.float32)
    assert held_out(["dog"], probabilities, right + wrong) == (3, 0)


def test_scores_are_calibrated_for_all_things_together() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.uniform(0.1, 0.99, (400, 1)).astype(np.float32)
    logits = np.log(probabilities / (1 - probabilities))[:, 0]
    shows = rng.uniform(size=400) < 1 / (1 + np.exp(-2 * logits - 1))
    photos = [
        labelled(f"{n}.jpg", "dog") if shown else labelled(f"{n}.jpg", absent=("dog",))
        for n, shown in enumerate(shows)
    ]
    slope, height = calibrate(["dog"], probabilities, np.array([0.5], np.float32), photos)
    assert (slope, height) == (pytest.approx(2, abs=0.5), pytest.approx(1, abs=0.4))


def test_labels_name_what_photos_show_and_a_kind_shows_what_it_is_a_kind_of(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    labels = tmp_path / "labels.csv"
    labels.write_text("file,things,not\na.jpg,dog;snow,animal;cat\nmissing.jpg,dog,\n")
    (found,) = read_labels(tmp_path, labels)
    assert found == labelled(str(tmp_path / "a.jpg"), "dog", "snow", "animal", absent=("cat",))
    labels.write_text("file,things\na.jpg,dog\n")
    with pytest.raises(DataUnusable, match="no column not"):
        read_labels(tmp_path, labels)
    labels.write_text("file,things,not\nb.jpg,dog,\n")
    with pytest.raises(DataUnusable, match="names no photo"):
        read_labels(tmp_path, labels)


def test_the_table_names_each_thing_in_all_languages_and_has_classes_of_imagenet() -> None:
    table = read_things()
    slugs = [each.label.slug for each in table]
    assert len(set(slugs)) == len(slugs) >= 50
    for thing in table:
        assert thing.label.names.keys() == set(LANGUAGES)
        assert all(thing.label.names.values()), thing
        assert thing.label.parent is None or thing.label.parent in slugs
        assert set(thing.classes) <= set(range(CLASSES))
        assert thing.classes


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """A network of which red photos are dogs (class 207), and all others nothing in particular."""
    torch.manual_seed(0)
    network = models.resnet18(weights=None).eval()
    red = torch.zeros(1, 3, 224, 224)
    red[:, 0] = 1.0
    with torch.no_grad():
        backbone = nn.Sequential(*list(network.children())[:-1], nn.Flatten())
        features = backbone((red - 0.45) / 0.225)[0]
        others = backbone((torch.zeros(1, 3, 224, 224) - 0.45) / 0.225)[0]
        network.fc.weight.zero_()
        direction = (features - others) / (features - others).norm() ** 2
        network.fc.weight[207] = 16 * direction
        network.fc.bias.zero_()
        network.fc.bias[207] = float(-8 - (16 * direction * others).sum()) + 7
    path = tmp_path / "weights.pth"
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Six red photos and six blue ones, with a frame: a picture of one colour has nothing in it."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        for name, colour in (("red", (250, 5 * number, 0)), ("blue", (0, 5 * number, 40))):
            pixels = np.full(RGB, colour, np.uint8)
            pixels[::8] = pixels[::8] // 2
            Image.fromarray(pixels).save(folder / f"{name}-{number}.png")
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "things", "not"])
        rows.writerows([f"red-{number}.png", "dog", ""] for number in range(6))
        rows.writerows([f"blue-{number}.png", "", "dog;animal"] for number in range(6))
    return folder


def test_a_classifier_becomes_a_model_of_the_things_that_photos_show(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "things.pt"
    result = import_things(
        photos, photos / "labels.csv", out, backbone="resnet18", weights=weights, name=None
    )
    manifest = read_manifest(out)
    assert (manifest.kind, [label.slug for label in manifest.labels]) == ("things", ["animal", "dog"])
    assert manifest.labels[1].parent == "animal"
    assert {each.thing for each in result.qualities if each.threshold is None} >= {"cat", "snow"}
    module = load_module(out, file_digest(out)).float().eval()

    def scores(file: str) -> list[float]:
        pixels = torch.from_numpy(np.array(Image.open(photos / file))).permute(2, 0, 1)[None]
        return module(pixels)[0].tolist()

    assert min(scores("red-3.png")) >= manifest.threshold > max(scores("blue-3.png"))


def test_a_network_without_the_classes_and_labels_without_a_right_thing_are_refused(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    state = torch.load(weights, weights_only=True)
    torch.save({name: values for name, values in state.items() if not name.startswith("fc.")}, weights)
    with pytest.raises(BackboneUnusable, match="no linear layer of 1000 classes"):
        load_classifier("resnet18", weights)
    torch.save(state, weights)
    labels = tmp_path / "labels.csv"
    labels.write_text("file,things,not\nred-0.png,cat,\nblue-0.png,,cat\n")
    with pytest.raises(DataUnusable, match="no thing is right often enough"):
        import_things(photos, labels, tmp_path / "o.pt", backbone="resnet18", weights=weights, name=None)
    assert not (tmp_path / "o.pt").exists()


def test_the_shipped_model_is_small_has_its_graph_and_is_as_its_card_says() -> None:
    file = shipped_file(THINGS)
    manifest = read_manifest(file)
    assert file.stat().st_size <= 10_000_000
    assert has_shipped_graph(file_digest(file))
    assert (SHIPPED / "things.openvino.zip").stat().st_size < 100_000
    card = Path(__file__).parents[2].joinpath("docs/reference/things-card.md").read_text()
    assert f"`{file_digest(file)}`" in card
    assert f"finds {len(manifest.labels)} [things]" in card
    listed = card.partition("## The things")[2].lower()
    for label in manifest.labels:
        assert label.name.lower() in listed, label
        assert manifest.metrics[f"{label.slug}_right"] >= PRECISION - 0.01
