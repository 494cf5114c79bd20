"""The photos of the benchmark with what the model returns for them."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bench.models import MAX_BYTES, MAX_PIXELS, load_model
from bench.photos import photos_in
from bench.report import note
from tagger.inference.background import BackgroundStatistics

if TYPE_CHECKING:
    from tagger.inference.model import Model

BATCH = 32

Values = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Collection:
    """All photos of the benchmark, N of them.

    `landmark` is the index of the landmark to be taught, `label` that of the model's label; -1 if a photo shows none.
    `source` is the index of the folder that was named.
    """

    embeddings: Values  # (N, D)
    scores: Values  # (N, L), the model's
    background: BackgroundStatistics
    landmarks: list[str]
    landmark: Positions  # (N,)
    label: Positions  # (N,)
    sources: list[str]
    source: Positions  # (N,)

    def with_bits(self, bits: int) -> "Collection":
        """The collection with embeddings as they are stored: each between its lowest and highest value."""
        low, high = self.embeddings.min(axis=1, keepdims=True), self.embeddings.max(axis=1, keepdims=True)
        step = np.maximum(high - low, np.finfo(np.float32).tiny) / (2**bits - 1)
        return replace(self, embeddings=np.rint((self.embeddings - low) / step) * step + low)

    def projected(self, dimension: int) -> "Collection":
        """The collection with embeddings on the directions in which strangers vary the most."""
        mean, covariance = self.background.mean, self.background.covariance
        directions = self._directions[:, :dimension]
        projected_covariance: Values = (directions.T @ covariance @ directions).astype(np.float32, copy=False)
        background = BackgroundStatistics(self.background.photos, mean @ directions, projected_covariance)
        return replace(self, embeddings=self.embeddings @ directions, background=background)

    @cached_property
    def _directions(self) -> Values:
        """(D, D), those of the largest variance first."""
        directions: Values = np.linalg.eigh(self.background.covariance)[1][:, ::-1]
        return directions


def read_collection(model_file: Path, places: Path, others: list[Path], known: Path | None) -> Collection:
    """Compute the embeddings of all photos.

    Args:
        model_file: a model of format 2.
        places: has a folder for each landmark to be taught.
        others: folders of photos of anything else. Folders in them with the name of a landmark are left out.
        known: has a folder for each label of the model, with the label's name.

    Raises:
        SystemExit: the model has no embeddings, or a folder in `known` is not a label.
    """
    background, labels = _background_and_labels(model_file)
    taught = photos_in(places)
    landmarks = sorted(set(_names(places, taught)))
    own = photos_in(known) if known else []
    right = _names(known, own) if known else []
    if unknown := set(right) - set(labels):
        raise SystemExit(f"the model has no label {min(unknown)}")
    folders = [places, *([known] if known else []), *others]
    files = [taught, *([own] if known else []), *(_without(folder, landmarks) for folder in others)]
    nothing = [-1] * sum(map(len, files[-len(others) :]))
    with TemporaryDirectory() as cache:
        model = load_model(model_file, Path(cache))
        embeddings, scores = _outputs(model, [file for part in files for file in part])
    return Collection(
        embeddings=embeddings,
        scores=scores,
        background=background,
        landmarks=landmarks,
        landmark=np.array(
            [*map(landmarks.index, _names(places, taught)), *[-1] * len(own), *nothing], np.int64
        ),
        label=np.array([*[-1] * len(taught), *map(labels.index, right), *nothing], np.int64),
        sources=[folder.name for folder in folders],
        source=np.repeat(np.arange(len(folders)), list(map(len, files))),
    )


def _background_and_labels(model_file: Path) -> tuple[BackgroundStatistics, list[str]]:
    from tagger.inference.artifact import file_digest, read_background, read_manifest

    manifest = read_manifest(model_file)
    if manifest.embedding is None:
        raise SystemExit(f"{model_file} is of format 1, which has no embeddings")
    background = read_background(model_file, file_digest(model_file), manifest.embedding)
    return background, [label.label for label in manifest.labels]


def _names(folder: Path, files: list[Path]) -> list[str]:
    """The folder in `folder` that each photo is in."""
    return [file.relative_to(folder).parts[0] for file in files]


def _without(folder: Path, landmarks: list[str]) -> list[Path]:
    """The photos of a folder that are not in one with the name of a landmark."""
    return [
        file for file in photos_in(folder) if not set(file.relative_to(folder).parts[:-1]) & set(landmarks)
    ]


def _outputs(model: "Model", files: list[Path]) -> tuple[Values, Values]:
    """Embeddings (N, D) and scores (N, L)."""
    from tagger.images import decode_photo
    from tagger.photos.files import read_photo

    note(f"computing embeddings of {len(files)} photos")
    resize = model.manifest.input.resize
    embeddings, scores = [], []
    for start in range(0, len(files), BATCH):
        photos = (read_photo(file, max_bytes=MAX_BYTES).data for file in files[start : start + BATCH])
        outputs = model.outputs([decode_photo(data, resize, max_pixels=MAX_PIXELS).pixels for data in photos])
        assert outputs.embeddings is not None
        embeddings.append(outputs.embeddings)
        scores.append(outputs.scores)
    return np.concatenate(embeddings), np.concatenate(scores)
