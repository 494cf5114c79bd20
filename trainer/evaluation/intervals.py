"""How far a figure may be off, given the photos it was measured on: 95 % confidence intervals.

Shares of photos have Wilson's score interval; figures that are not shares have a percentile bootstrap.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

RESAMPLES = 1000
SEED = 0
_Z = 1.959964
_TAILS = (0.025, 0.975)
_BLOCK = 4_000_000
"""The most photos drawn at once; resamples of many photos come in several blocks, so that memory stays flat."""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """A figure and where its true value lies."""

    value: float
    interval: Interval


def share_of(part: Tensor) -> Measured:
    """The share of photos for which `part`, bool (N,), holds; 0 where there are no photos."""
    count = len(part)
    share = int(part.sum()) / count if count else 0.0
    return Measured(share, wilson_interval(share, count))


def wilson_interval(share: float, count: int) -> Interval:
    """Where the true share lies, given the share seen in `count` photos (Wilson's score interval)."""
    if count == 0:
        return Interval(0.0, 1.0)
    centre = (share + _Z * _Z / (2 * count)) / (1 + _Z * _Z / count)
    variance = share * (1 - share) / count + _Z * _Z / (4 * count * count)
    spread = _Z * math.sqrt(variance) / (1 + _Z * _Z / count)
    return Interval(max(0.0, centre - spread), min(1.0, centre + spread))


def bootstrap(figure: Callable[..., Tensor], *groups: tuple[Tensor, ...]) -> Measured:
    """A figure, and the middle 95 % of what it is on `RESAMPLES` resamples of its photos; the same seed every time.

    Args:
        figure: takes the groups' tensors as rows, each (R, N), and gives a figure per row, float (R,)
        groups: tensors (N,) about the same photos; photos are drawn within their group, as many as it has
    """
    generator = torch.Generator().manual_seed(SEED)
    sizes = [len(group[0]) for group in groups]
    rows = max(1, _BLOCK // max(1, *sizes))
    resampled = []
    for first in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - first)
        drawn = [torch.randint(max(1, size), (count, size), generator=generator) for size in sizes]
        resampled.append(figure(*_taken(groups, drawn)))
    whole = figure(*_taken(groups, [torch.arange(size)[None] for size in sizes])).item()
    low, high = torch.cat(resampled).double().quantile(torch.tensor(_TAILS, dtype=torch.float64)).tolist()
    return Measured(whole, Interval(low, high))


def at_least_as_wide(measured: Measured, other: Interval) -> Measured:
    """The figure with an interval that reaches as far as both."""
    interval = measured.interval
    return Measured(measured.value, Interval(min(interval.low, other.low), max(interval.high, other.high)))


def _taken(groups: tuple[tuple[Tensor, ...], ...], drawn: list[Tensor]) -> list[Tensor]:
    return [values[index] for group, index in zip(groups, drawn, strict=True) for values in group]
