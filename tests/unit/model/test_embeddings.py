"""Models of format 2: embeddings, the background statistics in the file, and the best predictions."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from support.artifacts import tiny_manifest
from support.models import DIMENSION, LABELS, SIZE, ScoresOnly, SmallNetwork

from tagger.errors import ModelRefused
from tagger.model.artifact import (
    BackgroundStatistics,
    Embedding,
    InputRule,
    Label,
    Manifest,
    file_digest,
    read_background,
    read_manifest,
    save_artifact,
)
from tagger.model.backends.selection import generated_images
from tagger.model.devices import Device
from tagger.model.model import load_model
from tagger.model.predictions import best_predictions, has_finite_length

CPU = Device("cpu", "float32", 4)
EMBEDDING = Embedding(dimension=DIMENSION, layer="pooled features, square-rooted", background_photos=200)


@pytest.fixture(scope="module")
def background() -> BackgroundStatistics:
    return BackgroundStatistics.measured(
        np.random.default_rng(1).normal(1, 2, (200, DIMENSION)).astype(np.float32)
    )


@pytest.fixture
def artifact(tmp_path, background) -> Path:
    return written(tmp_path / "model.pt", background)


def manifest(embedding: Embedding | None = EMBEDDING, format_: int = 2) -> Manifest:
    names = [f"landmark-{number}" for number in range(LABELS)]
    labels = [Label(label=name, slug=name, name=name) for name in names]
    rule = InputRule(size=SIZE, short_side=SIZE)
    return tiny_manifest(labels, format=format_, name="small", input=rule, embedding=embedding)


def written(
    path: Path,
    background: BackgroundStatistics | None,
    embedding: Embedding = EMBEDDING,
    network: torch.nn.Module | None = None,
) -> Path:
    module = torch.jit.script((network or SmallNetwork()).eval())
    save_artifact(module, manifest(embedding), path, background=background)
    return path


def test_each_image_gets_its_scores_and_its_embedding_whatever_the_batch(artifact):
    images = list(generated_images(SIZE, 6))
    model = load_model(artifact, file_digest(artifact), read_manifest(artifact), CPU)
    outputs = model.predict(images)  # more than one batch
    with torch.inference_mode():
        batch = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        scores, embeddings = SmallNetwork().eval()(batch)
    np.testing.assert_allclose(outputs.scores, scores, atol=1e-5)
    np.testing.assert_allclose(outputs.embeddings, embeddings, atol=1e-5)


@pytest.mark.parametrize(
    ("embedding", "network", "reason"),
    [
        (EMBEDDING, ScoresOnly(), r"embeddings of shape None instead of \(2, 16\)"),
        (EMBEDDING.model_copy(update={"dimension": 8}), SmallNetwork(), r"\(2, 16\) instead of \(2, 8\)"),
    ],
    ids=["none", "another dimension"],
)
def test_a_model_must_return_the_embedding_that_its_manifest_promises(
    tmp_path, background, embedding, network, reason
):
    path = written(tmp_path / "model.pt", background, embedding, network)
    model = load_model(path, file_digest(path), read_manifest(path), CPU)
    with pytest.raises(ValueError, match=reason):
        model.predict(list(generated_images(SIZE, 2)))


@pytest.mark.parametrize(("format_", "embedding"), [(2, None), (1, EMBEDDING), (3, EMBEDDING)])
def test_a_manifest_has_the_fields_of_its_format(format_, embedding):
    with pytest.raises(ValueError, match="format"):
        manifest(embedding, format_)


def test_statistics_are_read_as_they_were_measured(artifact, background):
    read = read_background(artifact, file_digest(artifact), EMBEDDING)
    assert read.photos == 200
    np.testing.assert_array_equal(read.mean, background.mean)
    np.testing.assert_array_equal(read.covariance, background.covariance)
    np.testing.assert_array_equal(read.covariance, read.covariance.T)
    assert np.linalg.eigvalsh(read.covariance).min() > 0


def with_background(source: Path, data: bytes | None) -> Path:
    """A copy of the model file with other statistics, or without."""
    path = source.with_name("changed.pt")
    with zipfile.ZipFile(source) as original, zipfile.ZipFile(path, "w") as changed:
        for entry in original.infolist():
            is_statistics = entry.filename.endswith("background.f32")
            if not is_statistics or data is not None:
                changed.writestr(entry, data if is_statistics and data else original.read(entry))
    return path


def test_damaged_statistics_and_those_of_another_file_are_refused(artifact, background):
    digest, data = file_digest(artifact), background.to_bytes()
    not_numbers = np.full(len(data) // 4, np.nan, dtype="<f4").tobytes()
    for damaged in (None, data[:-4], data + bytes(4), not_numbers):
        path = with_background(artifact, damaged)
        with pytest.raises(ModelRefused, match="background statistics"):
            read_background(path, file_digest(path), EMBEDDING)
    artifact.write_bytes(artifact.read_bytes() + b" ")
    with pytest.raises(ModelRefused, match="digest differs"):
        read_background(artifact, digest, EMBEDDING)


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38, -1e20])
def test_an_embedding_without_a_finite_length_is_found(value):
    assert has_finite_length(np.array([0.5], np.float32))
    assert not has_finite_length(np.array([0, value], np.float32))


@pytest.mark.parametrize("count", [1, 5, 8, 20])
def test_the_best_of_any_number_of_labels_are_those_of_a_full_sort(count):
    scores = (np.random.default_rng(count).integers(0, 5, 3000) / 5).astype(
        np.float32
    )  # with many equal ones
    for each in (scores, scores[:8], np.append(scores, np.float32("nan"))):
        found = best_predictions(each, count, 0.5, is_damaged=False)
        assert [one.position for one in found] == (-each).argsort(kind="stable")[:count].tolist()
        assert [one.rank for one in found] == list(range(1, len(found) + 1))
