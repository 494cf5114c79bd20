"""`trainer import google-landmarks`: stand-in weights compute what TensorFlow.js computes.

The graph is the published one; the weights are random, as the published ones are not here.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command_line import run_command
from support.teaching import draw_place

from tagger.model.artifact import Manifest, file_digest, read_background, read_manifest
from trainer import DataUnusable
from trainer.cli.main import main
from trainer.export.artifact import read_program
from trainer.imports.google_landmarks import (
    Curve,
    RegionalNetwork,
    SimilarityClassifier,
    calibrate,
    lowest_threshold,
    make_region,
    read_names,
    region_keys,
)
from trainer.imports.tensorflow_js import SHARD_BYTES, network_of, read_graph

CLASSES, NAMES = 19_293, 2_289
SECOND_SEED = 7


@dataclass(frozen=True)
class Published:
    """Folders with the published graph and stand-in weights, the inputs, and what TensorFlow.js gives."""

    folders: tuple[Path, Path]
    labels: Path
    expected: list[dict[str, Any]]


@pytest.fixture(scope="module")
def published(test_data, tmp_path_factory) -> Published:
    source = test_data / "google-landmarks"
    folders = []
    for name, seed in (("landmarks_africa", ()), ("second", (SECOND_SEED,))):
        folder = tmp_path_factory.mktemp("published") / name
        command = [sys.executable, source / "stand_in_weights.py", source / "model.json", folder, *seed]
        subprocess.run(list(map(str, command)), check=True)
        folders.append(folder)
    expected = json.loads((source / "expected.json").read_text())
    return Published((folders[0], folders[1]), source / "africa.labels.json", expected)


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory) -> tuple[Path, dict[str, Any]]:
    """A model of both folders, the second with names of its own, and what the command printed."""
    folder = tmp_path_factory.mktemp("imported")
    names = [f"{number},Number {number // 2}" for number in range(CLASSES)]
    (folder / "second.csv").write_text("\n".join(["id,name", *names]))
    out = folder / "landmarks.pt"
    labels = ("--labels", published.labels, folder / "second.csv")
    output = run_command(
        main, "import", "google-landmarks", *published.folders, *labels, "--out", out, "--json"
    )
    assert output.code == 0, output.err
    return out, output.json


@pytest.fixture(scope="module")
def classifier(published) -> SimilarityClassifier:
    """The classifier of the first folder, before it is compiled."""
    network = network_of(read_graph(published.folders[0]))
    region = make_region("africa", read_names(published.labels, CLASSES))
    trunk = RegionalNetwork(network, region.order, region.counts)
    return SimilarityClassifier([trunk], Curve.through(0.9)).eval()


def test_an_imported_model_computes_what_tensorflow_js_computes(published, imported):
    path, document = imported
    manifest = read_manifest(path)
    assert (document["classes"], document["labels"]) == (2 * CLASSES, NAMES + (CLASSES + 1) // 2)
    assert (document["threshold"], document["similarity"]) == (0.9, 0.9)
    assert len(manifest.labels) == document["labels"]
    classes = [network_of(read_graph(folder)).classes for folder in published.folders]
    names = json.loads(published.labels.read_text())["name"]
    program = read_program(path)
    for number, expected in enumerate(published.expected):
        pixels = np.fromfile(published.folders[0] / f"input{number}.f32", "<f4").reshape(1, 321, 321, 3)
        images = torch.from_numpy((pixels * 255).round().astype(np.uint8)).permute(0, 3, 1, 2)
        with torch.inference_mode():
            scores, embeddings = program(images)
        similarities = embeddings[0, :64].numpy() @ classes[0].T
        best = [position for position, _ in expected["top"]]
        assert similarities.argsort()[::-1][: len(best)].tolist() == best
        assert similarities[best] == pytest.approx([value for _, value in expected["top"]], abs=1e-4)
        assert np.linalg.norm(similarities) == pytest.approx(expected["norm"], abs=1e-3)

        # A label has the score of its best class, on one scale for both regions.
        assert scores.sum() <= 1
        assert_scores(manifest, scores[0, :NAMES].numpy(), names[str(best[0])], expected["top"][0][1])
        other = embeddings[0, 64:].numpy() @ classes[1].T
        assert_scores(manifest, scores[0, NAMES:].numpy(), f"Number {other.argmax() // 2}", other.max())


def assert_scores(manifest: Manifest, scores: Any, name: str, similarity: float) -> None:
    """The best label of a region has this name, and the score that the curve gives the similarity."""
    slope, midpoint = (float(manifest.calibration[each]) for each in ("slope", "midpoint"))
    assert scores.max() == pytest.approx(1 / (1 + np.exp(-slope * (similarity - midpoint))), rel=1e-3)
    own = [
        label.name
        for label in manifest.labels
        if label.name.startswith("Number ") == name.startswith("Number ")
    ]
    assert own[int(scores.argmax())] == name


def test_scores_are_of_similarity_and_the_threshold_keeps_to_the_share_of_false_names():
    threshold = Curve.through(0.9)
    assert threshold.score(0.9) == pytest.approx(0.9)
    classifier = SimilarityClassifier([], threshold)
    scores = classifier.scores_of(torch.tensor([[0.95, 0.94, 0.93, 0.2], [0.3, 0.2, 0.1, 0.0]]))
    assert scores[:, 0].tolist() == pytest.approx([threshold.score(0.95), threshold.score(0.3)], rel=1e-4)
    assert scores.argsort(dim=1, descending=True).tolist() == [[0, 1, 2, 3]] * 2
    assert 0.99 < scores[0].sum().item() <= 1
    similarities = torch.linspace(0.2, 0.6, 101, dtype=torch.float64)
    for share in (0.0, 0.01, 0.1):
        threshold = lowest_threshold(similarities, share)
        assert (similarities >= threshold).double().mean().item() <= share
        assert (similarities >= threshold - 0.005).double().mean().item() > share


def test_the_manifest_says_what_is_known(imported):
    manifest = read_manifest(imported[0])
    assert "no photos were given" in manifest.threshold_reason
    assert manifest.training["background"] == "class vectors"
    assert (manifest.labels[0].slug[-7:], manifest.labels[-1].slug[:6]) == ("-africa", "number")
    rule = manifest.embedding
    assert rule
    background = read_background(imported[0], file_digest(imported[0]), rule)
    assert (background.photos, background.mean.shape) == (2 * CLASSES, (128,))
    assert not background.covariance[:64, 64:].any()


Model = dict[str, Any]
Alteration = Callable[[Path], object]


def rewritten(file: Path, data: bytes) -> None:
    file.unlink()
    file.write_bytes(data)


def graph(change: Callable[[Model], object]) -> Alteration:
    def alter(folder: Path) -> None:
        model = json.loads((folder / "model.json").read_text())
        change(model)
        rewritten(folder / "model.json", json.dumps(model).encode())

    return alter


def weight(model: Model, name: str) -> Any:
    return next(each for each in model["weightsManifest"][0]["weights"] if each["name"].endswith(name))


def node(model: Model, name: str) -> Any:
    return next(each for each in model["modelTopology"]["node"] if each["name"].endswith(name))


def value(name: str, number: float) -> Alteration:
    def alter(folder: Path) -> None:
        weights = json.loads((folder / "model.json").read_text())["weightsManifest"][0]["weights"]
        names = [each["name"].removeprefix("module_apply_default/") for each in weights]
        offset = sum(4 * int(np.prod(each["shape"])) for each in weights[: names.index(name)])
        shard = folder / f"group1-shard{offset // SHARD_BYTES + 1}of6.bin"
        data = np.frombuffer(shard.read_bytes(), "<f4").copy()
        data[offset % SHARD_BYTES // 4] = number
        rewritten(shard, data.tobytes())

    return alter


SHARD = "group1-shard4of6.bin"
NET = "module_apply_default"
OTHER, NO_GRAPH = "other operations or constants", "no graph of TensorFlow.js"
ALTERATIONS: list[tuple[Alteration, str]] = [
    (graph(lambda model: node(model, "gem/Maximum").update(op="Minimum")), OTHER),
    (graph(lambda model: node(model, "conv_2/add")["input"].reverse()), OTHER),
    (graph(lambda model: weight(model, "embed/weights").update(shape=[64, 1280])), OTHER),
    (graph(lambda model: weight(model, "embed/weights").update(dtype="uint8")), f"{NO_GRAPH}.*uint8"),
    (graph(lambda model: weight(model, "embed/weights").update(quantization={"scale": 1})), "quantization"),
    (graph(lambda model: model["weightsManifest"][0]["paths"].reverse()), "in order"),
    (value(f"{NET}/MobilenetV3/Conv_1/hard_swish/add/y", 2.5), OTHER),
    (value("convert_image", 0.5), "black and white become"),
    (value(f"{NET}/embed/weights", float("nan")), "embed/weights has values that are not finite"),
    (lambda folder: (folder / SHARD).unlink(), f"{SHARD} cannot be used: no such file"),
    (lambda folder: rewritten(folder / SHARD, b"cut"), f"{SHARD} cannot be used: it has another size"),
]


@pytest.mark.parametrize(
    ("alter", "reason"), ALTERATIONS, ids=lambda each: each if isinstance(each, str) else ""
)
def test_what_differs_is_refused(published, tmp_path, alter, reason):
    folder = Path(shutil.copytree(published.folders[0], tmp_path / "copy", copy_function=os.link))
    alter(folder)
    with pytest.raises(DataUnusable, match=reason):
        network_of(read_graph(folder))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,name\n0,A\n1,B\n", "2 names for 3 classes, and none for class 2"),
        ("id,name\n0,A\n1,B\n2,C\n3,D\n", "4 names for 3 classes, and one for class 3"),
        ('{"names": {}}', "no names of classes"),
        ("number,name\n0,A\n", "no names of classes"),
        ('{"name": {"0": "A", "1": "B", "2": "."}}', "no letter"),
    ],
)
def test_labels_that_do_not_fit_are_refused(tmp_path, text, reason):
    file = tmp_path / "labels"
    file.write_text(text)
    with pytest.raises(DataUnusable, match=reason):
        read_names(file, 3)


def test_classes_of_one_name_are_one_label_and_regions_have_the_name_of_their_folder():
    region = make_region("europe", ["Tour", "Zoo", "tour", "Храм", "Zoo", "Zoo!", "Nørre", None])
    assert [label.name for label in region.labels] == ["Храм", "Nørre", "Tour", "Zoo"]
    assert [label.label for label in region.labels] == ["europe:3", "europe:6", "europe:0", "europe:1"]
    assert region.labels[3].slug == "zoo-europe"
    assert (region.order, region.counts) == ((3, 6, 0, 2, 1, 4, 5), ((2, 1), (1, 2), (1, 3)))
    folders = [Path("landmarks_north_america"), Path("a"), Path("b"), Path("Mine 2")]
    files = [Path("europe.json"), Path("asia.json"), Path("asia.json"), Path("x.csv")]
    assert region_keys(folders, files) == ["north-america", "asia", "asia-2", "mine-2"]


def test_ordinary_photos_give_the_threshold(classifier, tmp_path):
    for place in range(4):
        draw_place(tmp_path / "unknown" / f"{place}.jpg", place)
    chosen = calibrate(classifier, None, tmp_path / "unknown")
    assert chosen.similarity < 0.9
    assert chosen.metrics == {"unknown_photos": 4.0, "unknown_false_names_at_threshold": 0.0}
    assert "at most 1.0% are allowed" in chosen.reason
    given = calibrate(classifier, chosen.similarity - 0.5, tmp_path / "unknown")
    assert (given.metrics["unknown_false_names_at_threshold"], given.source) == (1.0, "as given")
