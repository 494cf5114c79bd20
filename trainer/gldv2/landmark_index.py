"""An index of many landmarks: of which one an embedding shows most.

A landmark's score is the resemblance of the photo to the landmark's direction, divided by what is expected of the landmark's own
photos. Directions have 8 bits for each dimension.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from tagger.library.teaching.classifiers import Direction, EmbeddingSpace
from trainer.errors import writing_to

BLOCK = 4096
"""Landmarks that photos are compared with at a time."""
_LIMIT = 127

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LandmarkIndex:
    """An index in memory."""

    landmark_ids: npt.NDArray[np.int32]  # (L,)
    directions: npt.NDArray[np.int8]  # (L, D)
    scales: Values  # (L,), of the directions
    mean: Values  # (D,), of the background

    @classmethod
    def open(cls, file: Path) -> "LandmarkIndex":
        """Read a file that `write_index` wrote."""
        return cls(**load_file(file))

    def best(self, embeddings: Values) -> tuple[npt.NDArray[np.int32], Values]:
        """The landmark with the highest score for each embedding (N, D), and its score: (N,) each."""
        centred: Values = embeddings - self.mean
        rows = np.zeros(len(centred), np.int64)
        highest = np.full(len(centred), -np.inf, np.float32)
        for first in range(0, len(self.landmark_ids), BLOCK):
            part = slice(first, first + BLOCK)
            scores = centred @ (self.directions[part] * self.scales[part, None]).T  # (N, BLOCK)
            best = scores.argmax(axis=1)
            values = np.take_along_axis(scores, best[:, None], axis=1)[:, 0]
            rows = np.where(values > highest, first + best, rows)
            highest = np.maximum(values, highest)
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
    partial = file.with_suffix(".partial")
    with writing_to(file):
        save_file(tensors, partial, {"model": model_digest, "names": json.dumps(listed)})
        partial.replace(file)
    return len(landmark_ids)
