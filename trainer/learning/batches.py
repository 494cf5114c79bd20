"""An epoch's batches: which photos, in which order, in which altered views; made in threads ahead of the model.

All chance comes from the seed, the epoch and the place in it, so any epoch can be made again.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tagger.devices import core_count
from trainer.learning.augmentation import Augmentation, altered
from trainer.photos.pixels import KeptPhotos

BATCHES_AHEAD = 4

Positions = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Views of photos and what is right for each."""

    images: Tensor  # uint8 (B, 3, H, W), channels last in memory
    targets: Tensor  # int64 (B,)


@dataclass(frozen=True)
class TrainingSet:
    """The photos to learn from, and how their views are made."""

    kept: KeptPhotos
    positions: Positions  # int64 (N,), of the photos of `kept` that are for learning
    targets: Positions  # int64 (N,)
    balance: float
    """0: every photo is seen alike; 1: every label is seen alike, however few its photos."""
    augmentation: Augmentation
    batch_size: int
    seed: int

    @property
    def steps(self) -> int:
        """Batches of an epoch."""
        return max(1, len(self.positions) // self.batch_size)

    def epoch(self, number: int, size: int) -> Iterator[Batch]:
        """The batches of epoch `number`, of views of `size` pixels."""
        generator = np.random.default_rng((self.seed, number))
        order = drawn(self.targets, self.balance, self.steps * self.batch_size, generator)
        seeds = generator.integers(0, 2**63, len(order))
        waiting: deque[Future[Batch]] = deque()
        with ThreadPoolExecutor(core_count(), "views") as pool:
            try:
                for first in range(0, len(order), self.batch_size):
                    part = slice(first, first + self.batch_size)
                    waiting.append(pool.submit(self._batch, order[part], seeds[part], size))
                    if len(waiting) > max(BATCHES_AHEAD, core_count()):
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _batch(self, chosen: Positions, seeds: Positions, size: int) -> Batch:
        views = np.stack(
            [
                altered(
                    self.kept.image(self.positions[row]),
                    size,
                    self.augmentation,
                    np.random.default_rng(int(seed)),
                )
                for row, seed in zip(chosen, seeds, strict=True)
            ]
        )
        return Batch(torch.from_numpy(views).permute(0, 3, 1, 2), torch.from_numpy(self.targets[chosen]))


def drawn(targets: Positions, balance: float, count: int, generator: np.random.Generator) -> Positions:
    """`count` rows of `targets` in random order, int64; rows of rare labels come oftener, by `balance`.

    Systematic sampling: a row that is due 1.3 times comes once or twice, never thrice, and none is left out by bad luck
    that is due at least once.
    """
    weights = np.bincount(targets)[targets].astype(np.float64) ** -balance
    rows = generator.permutation(len(targets))
    due = np.cumsum(weights[rows])  # float64 (N,), ascending
    ticks = (generator.random() + np.arange(count)) * due[-1] / count
    chosen = rows[np.minimum(np.searchsorted(due, ticks, side="right"), len(rows) - 1)]
    return generator.permutation(chosen)
