"""An index that finds which of many landmarks an embedding shows.

Each landmark has a direction, learned from the embeddings of its photos as `tagger teach` learns one from its examples. That finds more
than the mean or several prototypes of a landmark (see docs/explanation/teaching.md).

A landmark's score is the resemblance of the photo to the landmark's direction, divided by what is expected of the landmark's own
photos. Directions have 8 bits for each dimension.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from tagger.library.teaching.classifiers import Direction, EmbeddingSpace, fit_direction
from tagger.photos.folders import new_file
from trainer.errors import writing_to
from trainer.gldv2.embeddings import read_embeddings
from trainer.gldv2.published_files import PhotoLabels
from trainer.progress import photo_progress

PHOTOS_AT_ONCE = 200_000
"""The embeddings in memory at a time: 0.5 GB for 1,280 dimensions."""
BLOCK = 4096
"""Landmarks whose 8-bit values are unpacked at a time."""
_LIMIT = 127

Values = npt.NDArray[np.float32]


def learn_directions(
    files: Sequence[Path], labels: PhotoLabels, space: EmbeddingSpace
) -> Iterator[tuple[int, Direction]]:
    """Yield each landmark with an embedded photo, and its direction, in the order of landmark ids.

    All files are read once for every `PHOTOS_AT_ONCE` photos.
    """
    landmark_ids, counts = np.unique(labels.landmark_ids, return_counts=True)
    with photo_progress("learning landmarks", len(landmark_ids)) as advance:
        for first, last in _ranges(landmark_ids, counts):
            owners, embeddings = _load(files, labels, first, last)
            found, starts = np.unique(owners, return_index=True)
            for landmark_id, photos in zip(found, np.split(embeddings, starts[1:]), strict=False):
                examples = photos.astype(np.float32)
                yield int(landmark_id), fit_direction(space, examples, examples[:0])
                advance(1)


def _ranges(landmark_ids: npt.NDArray[np.int32], counts: npt.NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """The first and last landmark id of parts with at most `PHOTOS_AT_ONCE` photos, or a single landmark."""
    first = photos = 0
    for position, count in enumerate(counts):
        if photos and photos + count > PHOTOS_AT_ONCE:
            yield int(landmark_ids[first]), int(landmark_ids[position - 1])
            first, photos = position, 0
        photos += count
    yield int(landmark_ids[first]), int(landmark_ids[-1])


def _load(
    files: Sequence[Path], labels: PhotoLabels, first: int, last: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float16]]:
    """The landmarks (N,), in ascending order, and embeddings (N, D) of photos of these landmarks."""
    owners, embeddings = [], []
    for file in files:
        photos = read_embeddings(file)
        of_photos = labels.landmarks_of(photos.ids)
        is_loaded = (of_photos >= first) & (of_photos <= last)
        owners.append(of_photos[is_loaded])
        embeddings.append(photos.embeddings[is_loaded])
    stacked = np.concatenate(owners)
    order = stacked.argsort(kind="stable")
    return stacked[order], np.concatenate(embeddings)[order]


@dataclass(frozen=True)
class LandmarkIndex:
    """An opened index."""

    landmark_ids: npt.NDArray[np.int32]  # (L,)
    directions: npt.NDArray[np.int8]  # (L, D)
    scales: Values  # (L,), of the directions
    mean: Values  # (D,), of the background

    @classmethod
    def open(cls, file: Path) -> "LandmarkIndex":
        """Read the file."""
        tensors = load_file(file)
        return cls(**{field.name: tensors[field.name] for field in fields(cls)})

    def best(self, embeddings: Values) -> tuple[npt.NDArray[np.int32], Values]:
        """The landmark with the highest score for each embedding (N, D), and its score: (N,) each."""
        centred: Values = embeddings - self.mean
        highest = np.full(len(centred), -np.inf, np.float32)
        rows = np.zeros(len(centred), np.int64)
        for first in range(0, len(self.landmark_ids), BLOCK):
            part = slice(first, first + BLOCK)
            scores = (centred @ self.directions[part].T.astype(np.float32)) * self.scales[part]  # (N, B)
            rows = np.where(scores.max(axis=1) > highest, first + scores.argmax(axis=1), rows)
            highest = np.maximum(highest, scores.max(axis=1))
        return self.landmark_ids[rows], highest


def write_index(
    file: Path,
    directions: Iterable[tuple[int, Direction]],
    names: Mapping[int, str],
    space: EmbeddingSpace,
    model_digest: str,
) -> int:
    """Write an index of landmarks, given by id and direction. Returns their number.

    Raises:
        OutputUnwritable: with the reason.
    """
    landmark_ids, rows, scales = list[int](), list[npt.NDArray[np.int8]](), list[float]()
    for landmark_id, direction in directions:
        scale = float(np.abs(direction.weights).max()) / _LIMIT or 1.0
        landmark_ids.append(landmark_id)
        rows.append(np.rint(direction.weights / scale).astype(np.int8))
        scales.append(scale / (direction.expected or 1.0))
    tensors: dict[str, npt.NDArray[Any]] = {
        "landmark_ids": np.array(landmark_ids, np.int32),
        "directions": np.stack(rows),
        "scales": np.array(scales, np.float32),
        "mean": space.mean.astype(np.float32),
    }
    listed = {str(landmark_id): names.get(landmark_id, "") for landmark_id in landmark_ids}
    with writing_to(file), new_file(file) as partial:
        save_file(tensors, partial, {"model": model_digest, "names": json.dumps(listed)})
    return len(landmark_ids)
