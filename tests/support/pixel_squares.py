"""Decoded photos for tests of later stages: `CachedPhotos` drawn by a generator."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tagger.photos.decoding import Pixels
from trainer.data.folders import LabelledPhoto
from trainer.data.preparation import CachedPhotos
from trainer.learning.loop import Augmentation, TrainingSet


@dataclass(frozen=True)
class NoiseSquares(CachedPhotos):
    """Squares in memory."""

    pixels: npt.NDArray[np.uint8]  # (N, S, S, 3)

    def image(self, position: int) -> Pixels:
        square: Pixels = self.pixels[position]
        return square


def noise_squares(count: int, side: int = 32, seed: int = 0) -> CachedPhotos:
    """`count` different squares of coarse noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (count, side // 8, side // 8, 3), dtype=np.uint8)
    return NoiseSquares(
        photos=tuple(LabelledPhoto(Path(f"{number}.jpg"), "label") for number in range(count)),
        digests=tuple(map(str, range(count))),
        folder=Path(),
        side=side,
        pixels=coarse.repeat(8, axis=1).repeat(8, axis=2),
    )


def training_set(targets: list[int], *, batch_size: int = 4, seed: int = 0) -> TrainingSet:
    return TrainingSet(
        cached=noise_squares(len(targets)),
        positions=np.arange(len(targets)),
        targets=np.array(targets),
        weights=np.ones(len(targets)),
        augmentation=Augmentation(framed_share=0.5),
        batch_size=batch_size,
        seed=seed,
    )
