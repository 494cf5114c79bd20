"""Which photos are for training and which are not: by content, label by label, near-duplicates together, the same every time."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence

from blake3 import blake3

TRAIN = "train"


def allot(
    labels: Sequence[str],
    groups: Sequence[Hashable],
    digests: Sequence[str],
    shares: Mapping[str, float],
    *,
    seed: int,
) -> list[str]:
    """The split of each photo: one of `shares`, with about that share of each label's photos, or "train", with the rest.

    A group of photos stays together, whatever their labels. The choice depends on the photos' content and the seed,
    not on their names or order. Every label keeps a photo to train on; apart from that each split has at least one of a
    label whose share of it comes to one, where the groups allow it.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    ordered = sorted(members.values(), key=lambda group: _lot(group, digests, seed))
    allotment = _Allotment([Counter(labels[position] for position in group) for group in ordered], shares)
    splits = [TRAIN] * len(labels)
    for together, split in zip(ordered, allotment.splits, strict=True):
        for position in together:
            splits[position] = split
    return splits


class _Allotment:
    """Groups in the order of their lots, each with its photos per label, dealt out to splits."""

    def __init__(self, groups: Sequence[Counter[str]], shares: Mapping[str, float]) -> None:
        self._groups = groups
        self._left: Counter[str] = Counter()
        for group in groups:
            self._left.update(group)
        self._wanted = {label: _wanted(count, shares) for label, count in self._left.items()}
        self._taken: dict[str, Counter[str]] = {split: Counter() for split in shares}
        self.splits = [TRAIN] * len(groups)
        for number in range(len(groups)):
            self._deal(number)
        for split in shares:
            for label in sorted(self._left):
                if self._wanted[label][split] and not self._taken[split][label]:
                    self._fill(split, label)

    def _deal(self, number: int) -> None:
        for split in self._taken:
            if self._fits(split, self._groups[number]):
                self._take(split, number)
                return

    def _fits(self, split: str, group: Counter[str]) -> bool:
        return self._can_be_spared(group) and all(
            self._taken[split][label] + count <= self._wanted[label][split] for label, count in group.items()
        )

    def _can_be_spared(self, group: Counter[str]) -> bool:
        return all(self._left[label] > count for label, count in group.items())

    def _fill(self, split: str, label: str) -> None:
        """Take the smallest group, though it is more than the share."""
        spare = [
            (group.total(), number)
            for number, group in enumerate(self._groups)
            if self.splits[number] == TRAIN and label in group and self._can_be_spared(group)
        ]
        if spare:
            self._take(split, min(spare)[1])

    def _take(self, split: str, number: int) -> None:
        self.splits[number] = split
        self._taken[split].update(self._groups[number])
        self._left.subtract(self._groups[number])


def _wanted(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Photos of a label in each split, rounded, with at least one left over."""
    wanted = {split: int(share * count + 0.5) for split, share in shares.items()}
    while sum(wanted.values()) > max(0, count - 1):
        largest = max(wanted, key=lambda split: wanted[split])
        wanted[largest] -= 1
    return wanted


def _lot(group: list[int], digests: Sequence[str], seed: int) -> str:
    return blake3(f"{seed}:{min(digests[position] for position in group)}".encode()).hexdigest()
