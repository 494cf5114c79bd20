"""Which backbone to take: of those that are as good as the best, as far as the photos can tell, the fastest."""

import math
from dataclasses import dataclass

from trainer.comparison.speed import Speed
from trainer.comparison.trying import Tried


@dataclass(frozen=True)
class Choice:
    """A backbone, and why."""

    backbone: str
    sentence: str


def choose(tried: dict[str, Tried], speeds: dict[str, Speed]) -> Choice:
    """The fastest model whose top-1 is within one standard error of the best."""
    best = max(tried, key=lambda name: (tried[name].top1, speeds[name].model))
    top1, photos = tried[best].top1, tried[best].photos
    error = math.sqrt(top1 * (1 - top1) / photos)
    near = [name for name in tried if tried[name].top1 >= top1 - error]
    chosen = max(near, key=lambda name: speeds[name].model)
    reach = f"one standard error ({100 * error:.1f} points on {photos} validation photos)"
    rate = f"{speeds[chosen].model:.0f} photos/s"
    if len(tried) == 1:
        return Choice(
            chosen,
            f"Take {chosen}: it is the only one that could be compared ({top1:.1%} right, {rate}).",
        )
    if chosen == best:
        others = (
            "and no other comes within" if len(near) == 1 else f"and is the fastest of the {len(near)} within"
        )
        return Choice(
            chosen, f"Take {chosen}: it is right most often ({top1:.1%}) {others} {reach} of that, at {rate}."
        )
    return Choice(
        chosen,
        f"Take {chosen}: with {tried[chosen].top1:.1%} it is within {reach} of the best, {best} with {top1:.1%}, "
        f"and the fastest of the {len(near)} that are, at {rate}.",
    )
