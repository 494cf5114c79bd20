"""Photos in front of models, the way the tagger does it: each is decoded once and every model looks at it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tagger.model import Model
from trainer.photos.decoding import decode_batches
from trainer.progress import photo_progress


@dataclass(frozen=True)
class Seen:
    """The photos that could be read, and what each model gave them."""

    paths: tuple[Path, ...]
    rows: tuple[int, ...]  # their positions in what was asked for
    scores: tuple[Tensor, ...]  # float32 (N, L), one for each model


def look_at(
    paths: Sequence[Path],
    models: Sequence[Model],
    what: str,
    *,
    alter: Callable[[bytes], bytes] | None = None,
) -> Seen:
    """Show every photo to every model; a photo that cannot be read is warned of and left out.

    Args:
        paths: the photos
        models: of one artifact, so that their input is the same
        what: is being done, for people who watch
        alter: what is done to a photo's bytes before
    """
    manifest, most = models[0].manifest, max(model.batch_size for model in models)
    rows: list[int] = []
    parts = [[np.empty((0, len(manifest.labels)), dtype=np.float32)] for _ in models]
    with photo_progress(what, len(paths)) as advance:
        for batch in decode_batches(paths, manifest.input.resize, most, alter=alter):
            images = list(batch.images.permute(0, 2, 3, 1).numpy())
            for model, each in zip(models, parts, strict=True):
                each.append(model.scores(images))
            rows += batch.positions
            advance(len(batch.positions))
    scores = tuple(torch.from_numpy(np.concatenate(each)) for each in parts)
    return Seen(tuple(paths[row] for row in rows), tuple(rows), scores)
