"""The shipped model: its manifest, and its accuracy on real photos."""

import csv
import shutil
import subprocess
import zipfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from PIL.Image import Resampling
from support.commands import Terminal

import tagger
from tagger.model.artifact import file_digest, load_module, read_manifest, without_deprecations
from tagger.model.backends.openvino import OpenVinoBackend, convert, read_shipped_graph
from tagger.model.backends.selection import generated_images
from tagger.model.devices import Device, Precision
from tagger.model.model import Model, load_model
from trainer.data import LabelledPhoto, find_labelled_photos, find_ordinary_photos
from trainer.data.preparation import decode_batches

SHIPPED = Path(tagger.__file__).parent / "shipped" / "landmarks.pt"
PROJECT = Path(__file__).parents[2]
CARD = PROJECT / "docs" / "reference" / "model-card.md"
BATCH_SIZE = 8


def test_it_is_small_its_manifest_whole_and_it_names_no_place_on_a_machine():
    manifest = read_manifest(SHIPPED)

    assert SHIPPED.stat().st_size <= 21_000_000
    assert len(manifest.labels) == 203
    assert all(label.country and label.latitude is not None and label.extent for label in manifest.labels)
    assert sum(bool(label.names or label.aliases) for label in manifest.labels) >= 160
    assert (
        next(label for label in manifest.labels if label.slug == "cologne-cathedral").names["de"]
        == "Kölner Dom"
    )
    assert manifest.metrics["val_top1"] > 0.91
    assert "92%" in manifest.threshold_reason
    assert str(manifest.training["digest"]).startswith("blake3:")
    assert not [
        text
        for text in _texts(read_manifest(SHIPPED).model_dump(mode="json"))
        if text.startswith("/") or ":\\" in text
    ]
    with zipfile.ZipFile(SHIPPED) as archive:
        assert not [entry for entry in archive.namelist() if b"site-packages" in archive.read(entry)]
    card = CARD.read_text(encoding="utf-8")
    manifest = read_manifest(SHIPPED)

    assert card.startswith(f"# Model card: {manifest.name}\n")
    assert file_digest(SHIPPED) in card
    assert f"**{manifest.threshold}**" in card
    assert f"{manifest.metrics['val_top1']:.1%}".replace("%", " %") in card
    assert "trainer/data/shipped-landmarks.csv" in card
    with (PROJECT / "trainer" / "data" / "shipped-landmarks.csv").open(encoding="utf-8") as table:
        assert {row["slug"] for row in csv.DictReader(table)} == {label.slug for label in manifest.labels}


def test_its_graph_for_openvino_is_what_a_conversion_gives():
    digest = file_digest(SHIPPED)
    size = read_manifest(SHIPPED).input.size
    graph = read_shipped_graph(SHIPPED, digest)
    assert graph is not None, "run: make graph"
    models = (graph, convert(load_module(SHIPPED, digest), size))
    device = Device("cpu", "float32", BATCH_SIZE)
    images = generated_images(size, BATCH_SIZE)
    stored, converted = (OpenVinoBackend(model, "openvino", device, 1).forward(images) for model in models)
    np.testing.assert_allclose(stored.scores, converted.scores, atol=1e-5)
    np.testing.assert_allclose(stored.embeddings, converted.embeddings, atol=1e-3)


def test_it_runs_with_torch_alone_in_full_precision():
    with without_deprecations():
        plain = torch.jit.load(SHIPPED)
    size = read_manifest(SHIPPED).input.size
    images = generated_images(size, 2)
    with torch.inference_mode():
        scores, _ = plain(torch.from_numpy(images).permute(0, 3, 1, 2))
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, _load("float32").outputs(list(images)).scores, atol=1e-5)


@pytest.mark.parametrize(("backend", "most"), [("torchscript", 0.05), ("openvino-int8", 0.15)])
def test_predict_differs_from_it_as_the_docs_say(test_data, tmp_path, backend, most):
    """As in docs/how-to/train.md: from full precision, of photos that Pillow scaled."""
    files = sorted((test_data / "landmarks").rglob("*.jpg"))[::97][:20]
    model, size = _load("float32"), read_manifest(SHIPPED).input.size
    terminal = Terminal(tmp_path, {"TAGGER_BACKEND": backend})
    del terminal.environment["TAGGER_MODEL"]
    differences = []
    for file, predicted in zip(files, terminal.json("predict", *files), strict=True):
        photo = ImageOps.exif_transpose(Image.open(file)).convert("RGB")
        pixels = np.asarray(photo.resize((size, size), Resampling.BILINEAR))
        scores = dict(
            zip(
                (label.label for label in model.manifest.labels),
                model.outputs([pixels]).scores[0],
                strict=True,
            )
        )
        best = predicted["tags"][0]
        differences.append(abs(best["score"] - scores[best["label"]]))
    assert sorted(differences)[int(0.9 * len(files)) - 1] < 0.02
    assert max(differences) < most


@pytest.mark.slow
def test_make_model_trains_the_network_and_then_its_last_layer(test_data, tmp_path):
    data = tmp_path / "data"
    folders = {"train": "landmarks/train", "test": "landmarks/test", "others": "unknown/train/landmarks"}
    folders |= {"ordinary": "unknown/train/rooms", "ordinary-test": "unknown/test/rooms"}
    folders |= {"everyday/rooms": "unknown/train/rooms", "everyday/food": "ordinary/food"}
    for name, source in folders.items():
        _copy_some(test_data / source, data / name)
    shutil.copy(PROJECT / "trainer" / "data" / "shipped-landmarks.csv", data / "landmarks.csv")
    places = f"DATA={data}", f"MODEL={tmp_path / 'model'}"
    subprocess.run(["make", "model", "QUICK=1", *places], cwd=PROJECT, check=True)

    network, landmarks = (
        read_manifest(tmp_path / "model" / f"{name}.pt") for name in ("network", "landmarks")
    )
    shipped = read_manifest(SHIPPED)
    expansions = [each.training["backbone"]["expansions"] for each in (shipped, network, landmarks)]
    assert expansions[0] == expansions[1] == expansions[2]
    held_out = [model.training["validation_ordinary_photos"] for model in (network, landmarks)]
    assert held_out[1] > held_out[0], "what the network has not learned is for validation"
    report = (tmp_path / "model" / "report" / "report.md").read_text()
    assert report.startswith(f"# {landmarks.name}: evaluation")


def _copy_some(source: Path, folder: Path) -> None:
    """Copy every eighth photo of each folder, and at least two."""
    for inner in (source, *(path for path in source.rglob("*") if path.is_dir())):
        photos = sorted(path for path in inner.iterdir() if path.suffix == ".jpg")
        target = folder / inner.relative_to(source)
        target.mkdir(parents=True, exist_ok=True)
        for photo in {*photos[::8], *photos[-2:]}:
            shutil.copy(photo, target)


def test_pictures_with_nothing_in_them_show_no_landmark():
    model = _load("float32")
    size = model.manifest.input.size
    generator = torch.Generator().manual_seed(1)
    shades = [torch.full((size, size, 3), value, dtype=torch.uint8) for value in (0, 3, 128, 255)]
    noise = torch.randint(0, 8, (size, size, 3), dtype=torch.uint8, generator=generator)
    scores = model.outputs([image.numpy() for image in (*shades, noise)]).scores
    assert (scores == 0).all()


@pytest.mark.parametrize(("step", "least"), [(10, 0.9), pytest.param(1, 0.95, marks=pytest.mark.slow)])
def test_it_is_right_on_real_photos_and_seldom_tags_ordinary_ones(test_data, step, least):
    model = _load("float32")
    labels = [label.label for label in model.manifest.labels]
    photos = find_labelled_photos(test_data / "landmarks" / "test")[::step]
    scores = _score(model, photos)
    targets = torch.tensor([labels.index(photo.label) for photo in photos])
    ordinary = _score(model, find_ordinary_photos(test_data / "unknown" / "test" / "objects")[::step])

    assert (scores.argmax(dim=1) == targets).float().mean() >= least
    assert (ordinary.amax(dim=1) >= model.manifest.threshold).float().mean() <= 0.06


@cache
def _load(precision: Precision) -> Model:
    return load_model(
        SHIPPED, file_digest(SHIPPED), read_manifest(SHIPPED), Device("cpu", precision, BATCH_SIZE)
    )


def _score(model: Model, photos: tuple[LabelledPhoto, ...]) -> torch.Tensor:
    paths = [photo.path for photo in photos]
    batches = decode_batches(paths, model.manifest.input.resize, BATCH_SIZE)
    rows = [model.outputs(batch.pixels).scores for batch in batches]
    return torch.cat([torch.from_numpy(row) for row in rows])


def _texts(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for inner in value.values() for text in _texts(inner)]
    if isinstance(value, list):
        return [text for inner in value for text in _texts(inner)]
    return [value] if isinstance(value, str) else []
