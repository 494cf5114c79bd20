"""Split a folder of labelled photos into train, val and test, and record the split of each photo.

The assignment depends on the photos' content and a seed alone, and keeps near-duplicates together. Folders
are built beside their destination, and renamed once they are complete. Originals are copied, and never
moved, changed or removed.
"""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from blake3 import blake3

from tagger.errors import PhotoFailed
from tagger.photos.paths import ObjectPath, path_text
from tagger.photos.source import read_named
from trainer import DataUnusable, OutputUnwritable, photo_progress, writing_to
from trainer.data import (
    FILE_NAME,
    MAX_BYTES,
    SPLITS,
    ExaminedPhotos,
    examine_dataset,
    group_near_duplicates,
    layout_error,
    warn_of_label_conflicts,
)

RECORD = "split.json"
TRAIN = "train"


@dataclass(frozen=True)
class Split(ExaminedPhotos):
    """The split of each photo: `photos`, `facts` and `splits` have the same order.

    `shares` are those of each label's photos for testing and validation; the rest is for training.
    """

    seed: int
    shares: Mapping[str, float]
    splits: tuple[str, ...]
    # Groups of copies and near-duplicates, each of which is in one split.
    duplicate_groups: int
    # Images that have more than one label.
    conflicts: int

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        counts = {photo.label: dict.fromkeys(SPLITS, 0) for photo in self.photos}
        for photo, split in zip(self.photos, self.splits, strict=True):
            counts[photo.label][split] += 1
        return counts

    @property
    def missing(self) -> dict[str, list[str]]:
        """By split, the labels without a photo in it although its share is above 0."""
        splits = [split for split, share in self.shares.items() if share]
        return {
            split: [label for label, by in self.counts.items() if not by[split]]
            for split in splits
        }


def plan_split(
    folder: Path,
    shares: Mapping[str, float],
    *,
    seed: int,
) -> Split:
    """Assign each photo to a split; existing splits of the folder are pooled. Writes nothing.

    Raises:
        PathNotFound, DataUnusable: there are no photos in label folders, or none is readable.
    """
    examined = examine_dataset(folder)
    photos, facts = examined.photos, examined.facts
    if not photos:
        raise layout_error(folder, "none of its photos can be read")
    groups = group_near_duplicates([entry.sketch for entry in facts])
    labels, digests = (
        [photo.label for photo in photos],
        [entry.digest for entry in facts],
    )
    return Split(
        **vars(examined),
        seed=seed,
        shares=shares,
        splits=tuple(assign_splits(labels, groups, digests, shares, seed=seed)),
        conflicts=warn_of_label_conflicts(zip(digests, photos, strict=True)),
        duplicate_groups=sum(count > 1 for count in Counter(groups).values()),
    )


def assign_splits(
    labels: Sequence[str],
    groups: Sequence[Hashable],
    digests: Sequence[str],
    shares: Mapping[str, float],
    *,
    seed: int,
) -> list[str]:
    """The split of each photo: a key of `shares`, with about that share of each label, or "train".

    Photos of one group stay together, whatever their labels. The assignment depends on the photos' content
    and the seed, not on their names or order. Every label keeps a training photo. Apart from that, a split
    has at least one photo of each label whose share rounds to one or more, if the groups allow it.
    """
    members: dict[Hashable, list[int]] = defaultdict(list)
    for position, group in enumerate(groups):
        members[group].append(position)
    ordered = sorted(
        members.values(),
        key=lambda positions: _order(positions, digests, seed),
    )
    assignment = _Assignment(
        [Counter(labels[position] for position in positions) for positions in ordered],
        shares,
    )
    splits = [TRAIN] * len(labels)
    for positions, split in zip(ordered, assignment.splits, strict=True):
        for position in positions:
            splits[position] = split
    return splits


class _Assignment:
    # Assigns groups, given as counts of photos per label, to splits in their order.
    def __init__(
        self,
        groups: Sequence[Counter[str]],
        shares: Mapping[str, float],
    ) -> None:
        self._groups = groups
        self._remaining: Counter[str] = Counter()
        for group in groups:
            self._remaining.update(group)
        self._targets = {
            label: _target_counts(count, shares)
            for label, count in self._remaining.items()
        }
        self._counts: dict[str, Counter[str]] = {split: Counter() for split in shares}
        self.splits = [TRAIN] * len(groups)
        for number, group in enumerate(groups):
            for split in shares:
                fits = self._can_leave_training(group) and all(
                    self._counts[split][label] + count <= self._targets[label][split]
                    for label, count in group.items()
                )
                if fits:
                    self._move(split, number)
                    break
        for split in shares:
            for label in sorted(self._remaining):
                if self._targets[label][split] and not self._counts[split][label]:
                    # Assign the smallest group with `label`, although it exceeds the share.
                    candidates = [
                        (group.total(), number)
                        for number, group in enumerate(self._groups)
                        if self.splits[number] == TRAIN
                        and label in group
                        and self._can_leave_training(group)
                    ]
                    if candidates:
                        self._move(split, min(candidates)[1])

    def _can_leave_training(self, group: Counter[str]) -> bool:
        return all(self._remaining[label] > count for label, count in group.items())

    def _move(self, split: str, number: int) -> None:
        self.splits[number] = split
        self._counts[split].update(self._groups[number])
        self._remaining.subtract(self._groups[number])


def _target_counts(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    # Photos of a label in each split, rounded, leaving at least one for training.
    targets = {split: int(share * count + 0.5) for split, share in shares.items()}
    while sum(targets.values()) > max(0, count - 1):
        largest = max(targets, key=lambda split: targets[split])
        targets[largest] -= 1
    return targets


def _order(positions: list[int], digests: Sequence[str], seed: int) -> str:
    # A pseudorandom sort key of a group.
    return blake3(
        f"{seed}:{min(digests[position] for position in positions)}".encode()
    ).hexdigest()


def write_split(split: Split, out: Path) -> None:
    """Copy the photos to OUT/SPLIT/LABEL with landmarks.csv and split.json, all of them or nothing.

    The same photos, shares and seed give the same bytes of split.json on any machine.
    """
    copies = (
        PhotoCopy(photo.path, Path(name, photo.label), facts.digest)
        for photo, facts, name in zip(
            split.photos, split.facts, split.splits, strict=True
        )
    )
    with new_folder(out) as folder:
        copy_photos(copies, folder)
        with writing_to(out):
            gazetteer = split.dataset.folder / FILE_NAME
            if gazetteer.is_file():
                shutil.copyfile(gazetteer, folder / FILE_NAME)
            splits = {
                facts.digest: name
                for facts, name in zip(split.facts, split.splits, strict=True)
            }
            record = {"format": 1, "seed": split.seed, "shares": dict(split.shares)}
            record["photos"] = dict(sorted(splits.items()))
            (folder / RECORD).write_text(
                json.dumps(record, indent=1) + "\n", encoding="utf-8"
            )


def split_document(split: Split) -> dict[str, Any]:
    return {
        "photos": len(split.photos),
        "labels": len(split.counts),
        **{name: split.splits.count(name) for name in SPLITS},
        "seed": split.seed,
        "pooled": list(split.dataset.splits),
        "groups_kept_together": split.duplicate_groups,
        "label_conflicts": split.conflicts,
        "by_label": {
            path_text(label)[0]: counts for label, counts in split.counts.items()
        },
        "without": {
            name: [path_text(label)[0] for label in labels]
            for name, labels in split.missing.items()
        },
        "left_out": split.unreadable,
    }


# Create a folder of photos atomically: build it beside its destination, and rename it once it is
# complete.
#
# Originals are copied, and never moved, changed or removed.


@dataclass(frozen=True)
class PhotoCopy:
    """A photo and its folder in the new one. `digest` distinguishes photos of the same name."""

    source: Path
    folder: Path
    digest: str


def require_free_folder(out: Path, photos: Path | None = None) -> None:
    if photos is not None:
        require_outside(out, photos)
    if os.path.lexists(out) and not out.is_dir():
        raise OutputUnwritable(path=out, reason="it is a file")
    if out.is_dir() and any(out.iterdir()):
        raise OutputUnwritable(path=out, reason="the folder is not empty")


def require_outside(out: Path, photos: Path) -> None:
    if out.resolve().is_relative_to(photos.resolve()):
        raise OutputUnwritable(
            path=out,
            reason=f"it is inside the photo folder {photos}, which is never written to",
        )


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """Yield a folder to fill, which becomes `out` at the end of the block; on failure it is removed."""
    out = out.absolute()
    partial = out.with_name(f".{out.name}.{uuid4().hex[:8]}.partial")
    with writing_to(out):
        partial.mkdir(parents=True)
    try:
        yield partial
        with writing_to(out):
            if out.is_dir():
                out.rmdir()
            partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def copy_photos(copies: Iterable[PhotoCopy], root: Path) -> list[tuple[Path, Path]]:
    """Copy photos into folders below `root`. Photos of the same name get their digest in the name.

    Returns:
        each photo, and its copy relative to `root`, in the order of the copies' folders and names
    """
    # Of photos of one name, the content decides which keeps it.
    names: set[str] = set()
    targets = []
    for copy in sorted(
        copies,
        key=lambda copy: (copy.folder, copy.source.name, copy.digest, copy.source),
    ):
        target, number = copy.folder / copy.source.name, 1
        while path_text(target)[0].casefold() in names:
            digest = copy.digest.rpartition("-")[2][:8]
            suffix = f"-{number}" if number > 1 else ""
            target = target.with_name(
                f"{copy.source.stem}-{digest}{suffix}{copy.source.suffix}"
            )
            number += 1
        # Some file systems treat A.jpg and a.jpg as the same name.
        names.add(path_text(target)[0].casefold())
        targets.append((copy.source, target))
    with photo_progress("copying photos", len(targets)) as advance:
        for source, target in targets:
            (root / target).parent.mkdir(parents=True, exist_ok=True)
            _copy(source, root / target)
            advance(1)
    return targets


def _copy(source: Path, target: Path) -> None:
    if not isinstance(source, ObjectPath):
        with writing_to(target.parent):
            shutil.copy2(source, target)
        return
    try:
        data = read_named(source, max_bytes=MAX_BYTES).data
    except PhotoFailed as error:
        reason = str(error).rstrip(".")
        remedy = "Nothing was written; run this again"
        raise DataUnusable(path=source, reason=reason, remedy=remedy) from None
    with writing_to(target.parent):
        target.write_bytes(data)
