"""Holding photos out for validation: by content, label by label, near-duplicates together, the same every time."""

from collections import defaultdict
from collections.abc import Hashable, Sequence

from blake3 import blake3

from trainer.duplicates import group_near_duplicates


def hold_out(
    labels: Sequence[Hashable], hashes: Sequence[int], digests: Sequence[str], *, fraction: float, seed: int
) -> list[bool]:
    """Whether each photo is held out, so that about `fraction` of each label's photos are.

    The choice depends on the photos' content and the seed, not on their names or order. A label keeps at least
    one group of near-duplicates to learn from; a label that is all one group has nothing held out.
    """
    by_label: dict[Hashable, list[int]] = defaultdict(list)
    for position, label in enumerate(labels):
        by_label[label].append(position)
    held = [False] * len(labels)
    for positions in by_label.values():
        groups = _groups(positions, hashes)
        groups.sort(key=lambda group: _lot(group, digests, seed))
        for position in _draw(groups, round(fraction * len(positions))):
            held[position] = True
    return held


def _groups(positions: list[int], hashes: Sequence[int]) -> list[list[int]]:
    groups: dict[int, list[int]] = defaultdict(list)
    for position, group in zip(positions, group_near_duplicates([hashes[p] for p in positions]), strict=True):
        groups[group].append(position)
    return list(groups.values())


def _lot(group: list[int], digests: Sequence[str], seed: int) -> str:
    return blake3(f"{seed}:{min(digests[position] for position in group)}".encode()).hexdigest()


def _draw(groups: list[list[int]], wanted: int) -> list[int]:
    """Groups in order, each taken if it fits into what is still wanted; one photo at least where there are two groups."""
    if len(groups) < 2:
        return []
    drawn: list[int] = []
    for group in groups:
        if len(drawn) + len(group) <= wanted:
            drawn += group
    if drawn or wanted == 0:
        return drawn
    return min(groups, key=len)
