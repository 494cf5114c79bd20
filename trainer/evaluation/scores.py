"""Scores of photos by a model, as the tagger computes them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.model.model import Model
from trainer.data.pixels import decode_batches, readers_of
from trainer.progress import photo_progress


@dataclass(frozen=True)
class PhotoScores:
    """The readable photos, and their scores."""

    paths: tuple[Path, ...]
    rows: tuple[int, ...]  # their positions in the input
    scores: Tensor  # float32 (N, L)


def score_photos(paths: Sequence[Path], model: Model, description: str) -> PhotoScores:
    """Score every photo. Unreadable photos are skipped, with a warning.

    Args:
        paths: the photos
        model: the model
        description: of the progress bar
    """
    rows: list[int] = []
    parts = [np.empty((0, len(model.manifest.labels)), dtype=np.float32)]
    with photo_progress(description, len(paths)) as advance:
        readers = readers_of(paths)
        for batch in decode_batches(readers, model.manifest.input.resize, model.batch_size):
            parts.append(model.outputs(batch.pixels).scores)
            rows += batch.positions
            advance(len(batch.positions))
    scores = torch.from_numpy(np.concatenate(parts))
    return PhotoScores(tuple(paths[row] for row in rows), tuple(rows), scores)
