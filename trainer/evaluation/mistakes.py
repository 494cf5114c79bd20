"""The photos that a model is surest and wrong about: what a person should look at first."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

MOST = 24
"""As many as fit on a sheet."""


@dataclass(frozen=True)
class Mistake:
    """A photo that was named wrongly. `shown` is None where it shows none of the landmarks."""

    path: Path
    shown: str | None
    named: str
    score: float


def surest_mistakes(
    names: Sequence[str], paths: Sequence[Path], scores: Tensor, targets: Tensor, *, least: float = 0.0
) -> tuple[Mistake, ...]:
    """The wrong names with the highest scores, the surest first.

    Args:
        names: of the labels, for people
        paths: of the photos
        scores: float32 (N, L)
        targets: int64 (N,); L where a photo shows none of the landmarks
        least: names with a lower score are no mistakes
    """
    top, predicted = scores.max(dim=1)
    wrong = (predicted != targets) & (top >= least)
    order = top.masked_fill(~wrong, -1).argsort(descending=True, stable=True)[: min(MOST, int(wrong.sum()))]
    return tuple(
        Mistake(
            path=paths[row],
            shown=names[int(targets[row])] if int(targets[row]) < len(names) else None,
            named=names[int(predicted[row])],
            score=top[row].item(),
        )
        for row in order.tolist()
    )
