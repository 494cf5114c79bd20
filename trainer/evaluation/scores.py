"""Scores of photos by models, as the tagger computes them. Each photo is decoded once for all models."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.inference.model import Model
from trainer.data.pixels import decode_batches
from trainer.progress import photo_progress


@dataclass(frozen=True)
class PhotoScores:
    """The readable photos, and their scores by each model."""

    paths: tuple[Path, ...]
    rows: tuple[int, ...]  # their positions in the input
    scores: tuple[Tensor, ...]  # float32 (N, L), one per model


def score_photos(
    paths: Sequence[Path],
    models: Sequence[Model],
    description: str,
    *,
    alter: Callable[[bytes], bytes] | None = None,
) -> PhotoScores:
    """Score every photo with every model. Unreadable photos are skipped, with a warning.

    Args:
        paths: the photos
        models: models of one artifact, which have the same input
        description: of the progress bar
        alter: applied to the bytes of each photo before decoding
    """
    manifest, batch_size = models[0].manifest, max(model.batch_size for model in models)
    rows: list[int] = []
    parts = [[np.empty((0, len(manifest.labels)), dtype=np.float32)] for _ in models]
    with photo_progress(description, len(paths)) as advance:
        for batch in decode_batches(paths, manifest.input.resize, batch_size, alter=alter):
            images = list(batch.images.permute(0, 2, 3, 1).numpy())
            for model, scores in zip(models, parts, strict=True):
                scores.append(model.outputs(images).scores)
            rows += batch.positions
            advance(len(batch.positions))
    tensors = tuple(torch.from_numpy(np.concatenate(scores)) for scores in parts)
    return PhotoScores(tuple(paths[row] for row in rows), tuple(rows), tensors)
