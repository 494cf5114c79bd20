"""Things of a classifier of ImageNet: thresholds from labelled photos, the written model, and the shipped one."""

import csv
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from tagger.model.artifact import Trunk, file_digest, load_module, read_manifest
from tagger.model.backends.openvino import SHIPPED, has_shipped_graph
from tagger.model.backends.selection import generated_images
from tagger.tags.models_in_use import LANDMARKS, THINGS, shipped_file
from trainer import BackboneUnusable, DataUnusable
from trainer.imports.things import (
    BACKBONE,
    CLASSES,
    LANGUAGES,
    NEVER,
    PARTS,
    PRECISIONS,
    LabelledThings,
    begin_with,
    choose_thresholds,
    fit_things,
    import_things,
    load_classifier,
    lowest_threshold,
    parts_of,
    read_labels,
    read_things,
)


def test_a_threshold_is_the_lowest_from_which_on_enough_photos_show_the_thing():
    evidence = np.array([6, 5, 4, 3, 2, 1], np.float32)
    assert lowest_threshold(evidence, np.array([1, 1, 1, 1, 0, 0], np.float32), 0.9) == 3
    few_right = np.array([1, 1, 1, 0, 0, 0], np.float32)
    assert lowest_threshold(evidence, few_right, 0.9) == NEVER
    five_of_six = np.array([0, 1, 1, 1, 1, 1], np.float32)
    assert lowest_threshold(evidence, five_of_six, 0.9) == NEVER
    # The fourth has less than even odds.
    assert lowest_threshold(evidence - 3.5, np.ones(6, np.float32), 0.9) == NEVER


def test_photos_of_which_nothing_is_known_choose_no_threshold():
    labels = np.array([[1, 1, 0]] * 4 + [[1, -1, 1]] * 4, np.int8)
    evidence = np.array([[9, 8, 1]] * 4 + [[9, 0, 7]] * 4, np.float32)
    assert choose_thresholds(evidence, labels, 0.9).tolist() == [9, 8, 7]
    assert choose_thresholds(evidence[1:5], labels[1:5], 0.9).tolist() == [9, NEVER, NEVER]


def test_photos_of_one_source_are_in_one_part():
    parts = parts_of(["large"] * 9 + ["small", "other"] * 3)
    assert len(set(parts[:9])) == 1
    assert [len(set(parts[start::2])) for start in (9, 10)] == [1, 1]
    assert set(parts) == {0, 1, 2}
    assert len(set(parts_of([str(number) for number in range(99)]))) == PARTS


def test_a_thing_is_judged_by_what_has_not_learnt_its_source():
    """Two sources show a dog in the same way, and a third one by what only it has."""
    rng = np.random.default_rng(0)
    embeddings, photos = rng.normal(size=(240, 4)).astype(np.float32), []
    for row in range(240):
        source = row % 3
        is_shown = row % 2 == 0
        embeddings[row, 3 if source == 2 else 0] += 8.0 * is_shown
        named = frozenset({"dog"})
        nothing = frozenset[str]()
        shown, absent = (named, nothing) if is_shown else (nothing, named)
        photos.append(LabelledThings(Path(f"{row}.jpg"), str(source), shown, absent))
    odds = torch.zeros(240, 1)
    fitted = fit_things(torch.from_numpy(embeddings), odds, ["dog"], photos)
    (quality,), confusions = fitted.judged()
    assert quality.threshold is not None
    assert 70 <= quality.right <= quality.tagged <= 90
    assert quality.shown == 120
    assert {tag for tag, _, _ in confusions} <= {"dog"}
    layer = fitted.layer(4, [0])
    learnt = layer(torch.from_numpy(embeddings))[:, 0] > 0
    assert learnt[::2].float().mean() > 0.9


def kinds_of(parent: str) -> set[str]:
    return {thing.label.slug for thing in read_things() if thing.label.parent == parent}


def test_labels_name_what_photos_show_and_a_kind_shows_what_it_is_a_kind_of(tmp_path):
    (tmp_path / "a.jpg").touch()
    labels = tmp_path / "labels.csv"
    labels.write_text("file,things,not\na.jpg,dog;snow,cat;food\nmissing.jpg,dog,\n")
    (photo,) = read_labels(tmp_path, labels)
    assert photo.shown == {"dog", "snow", "animal"}
    assert photo.absent == {"cat", "food", *kinds_of("food")}
    assert photo.source == "."
    labels.write_text("file,things,not,source\na.jpg,dog,,holidays\n")
    assert read_labels(tmp_path, labels)[0].source == "holidays"
    labels.write_text("file,things\na.jpg,dog\n")
    with pytest.raises(DataUnusable, match="no column not"):
        read_labels(tmp_path, labels)
    labels.write_text("file,things,not\nb.jpg,dog,\n")
    with pytest.raises(DataUnusable, match="names no photo"):
        read_labels(tmp_path, labels)


def test_the_table_names_each_thing_in_all_languages_and_has_classes_of_imagenet():
    table = read_things()
    slugs = [each.label.slug for each in table]
    assert len(set(slugs)) == len(slugs) >= 50
    for thing in table:
        assert thing.label.names.keys() == set(LANGUAGES)
        assert all(thing.label.names.values()), thing
        assert thing.label.parent is None or thing.label.parent in slugs
        assert set(thing.classes) <= set(range(CLASSES))


@pytest.fixture
def weights(tmp_path) -> Path:
    """Of a network that has learnt nothing, with TensorFlow's classes."""
    torch.manual_seed(0)
    network = timm.create_model(
        "mobilenet_edgetpu_100", num_classes=CLASSES + 1, scriptable=True, exportable=True
    )
    path = tmp_path / "weights.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture
def photos(tmp_path) -> Path:
    """Red and blue photos of two sources."""
    folder = tmp_path / "photos"
    folder.mkdir()
    images = generated_images(224, 16)
    for name, factors in (("red", (1, 0.2, 0.2)), ("blue", (0.2, 0.2, 1))):
        for number, image in enumerate((images * factors).astype(np.uint8)):
            Image.fromarray(image).save(folder / f"{name}-{number}.png")
    with (folder / "labels.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "things", "not", "source"])
        for number in range(16):
            rows.writerow([f"red-{number}.png", "dog;sunset", "", number % 2])
            rows.writerow([f"blue-{number}.png", "", "animal;sunset", number % 2])
    return folder


def test_a_classifier_after_the_layers_of_another_model_becomes_one_of_things(weights, photos, tmp_path):
    out, landmarks = tmp_path / "things.pt", shipped_file(LANDMARKS)
    # A sunset has no classes of ImageNet: what is known of it is learnt.
    result = import_things(
        photos,
        photos / "labels.csv",
        out,
        trunk=landmarks,
        backbone=BACKBONE,
        weights=weights,
        name=None,
    )
    repeats_the_trunk(out, landmarks)
    manifest = read_manifest(out)
    assert (manifest.kind, [label.slug for label in manifest.labels]) == (
        "things",
        ["animal", "dog", "sunset"],
    )
    assert manifest.labels[1].parent == "animal"
    assert {each.thing for each in result.qualities if each.threshold is None} >= {"cat", "snow"}
    module = load_module(out, file_digest(out)).float().eval()

    def scores(file: str) -> list[float]:
        pixels = torch.from_numpy(np.array(Image.open(photos / file))).permute(2, 0, 1)[None]
        found: list[float] = module(pixels)[0].tolist()
        return found

    assert min(scores("red-3.png")) >= manifest.threshold > max(scores("blue-3.png"))


def repeats_the_trunk(things: Path, landmarks: Path) -> None:
    """Check that both models round the same weights to the same ranges, up to where they part."""
    trunk, ranges = read_manifest(things).trunk, read_manifest(things).ranges
    assert trunk == Trunk(digest=file_digest(landmarks), convolutions=30)
    assert ranges[:31] == read_manifest(landmarks).ranges[:31]
    assert len(ranges) == 58
    own, other = (load_module(file, file_digest(file)).state_dict() for file in (things, landmarks))
    early = [name for name in other if "network.conv_stem" in name or "blocks.3." in name]
    assert len(early) == 26
    for name in early:
        assert torch.equal(own[f"features.{name}"].float(), other[name].float())


def test_a_network_without_the_classes_and_labels_without_a_right_thing_are_refused(
    weights, photos, tmp_path
):
    state = load_file(weights)
    save_file({name: state[name] for name in state if "classifier" not in name}, weights)
    with pytest.raises(BackboneUnusable, match="no linear layer of 1000 classes"):
        load_classifier(BACKBONE, weights)
    save_file(state, weights)
    encoder, _, _ = load_classifier(BACKBONE, weights)
    with pytest.raises(BackboneUnusable, match="its first layers cannot be those of another model"):
        begin_with(shipped_file(LANDMARKS), encoder, "resnet18", [])
    labels = tmp_path / "labels.csv"
    labels.write_text("file,things,not\nred-0.png,cat,\nblue-0.png,,cat\n")
    with pytest.raises(DataUnusable, match="no thing is right often enough"):
        import_things(photos, labels, tmp_path / "o.pt", backbone=BACKBONE, weights=weights, name=None)
    assert not (tmp_path / "o.pt").exists()


def test_the_shipped_model_is_small_has_its_graph_and_is_as_its_card_says():
    file = shipped_file(THINGS)
    manifest = read_manifest(file)
    assert file.stat().st_size <= 8_100_000
    repeats_the_trunk(file, shipped_file(LANDMARKS))
    assert has_shipped_graph(file_digest(file))
    assert (SHIPPED / "things.openvino.zip").stat().st_size < 100_000
    card = Path(__file__).parents[2].joinpath("docs/reference/things-card.md").read_text()
    assert f"`{file_digest(file)}`" in card
    assert f"finds {len(manifest.labels)} [things]" in card
    listed = card.partition("## The things")[2].lower()
    for label in manifest.labels:
        assert label.name.lower() in listed, label
        assert manifest.metrics[f"{label.slug}_right"] >= PRECISIONS[0]
