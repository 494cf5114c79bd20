"""Splitting a folder of labelled photos into train, val and test, and a record that proves which photo went where."""

import json
import shutil
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tagger.errors import PhotoFailure
from tagger.photos import path_text
from trainer.datasets.folder import SPLITS, Dataset, Member, read_dataset
from trainer.datasets.inspection import Broken
from trainer.datasets.looking import Looked, look_at
from trainer.datasets.placing import Placement, check_out, check_room, place_photos, placed
from trainer.errors import DatasetEmpty, writing_to
from trainer.photos.duplicates import group_near_duplicates
from trainer.photos.gazetteer import FILE_NAME
from trainer.photos.split import allot

RECORD = "split.json"


@dataclass(frozen=True)
class Shares:
    """The shares of each label's photos that are for validation and for the test; the rest is for training."""

    val: float
    test: float

    @property
    def by_split(self) -> dict[str, float]:
        return {"test": self.test, "val": self.val}


@dataclass(frozen=True)
class Split:
    """Which photo goes where. `members`, `looked` and `splits` go together, photo by photo."""

    dataset: Dataset
    seed: int
    shares: Shares
    members: tuple[Member, ...]
    looked: tuple[Looked, ...]
    splits: tuple[str, ...]
    left_out: tuple[Broken, ...]
    near_groups: int
    """Groups of near-duplicates and copies that were kept together."""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Photos by label and split."""
        counts = {member.label: dict.fromkeys(SPLITS, 0) for member in self.members}
        for member, split in zip(self.members, self.splits, strict=True):
            counts[member.label][split] += 1
        return counts

    @property
    def missing(self) -> dict[str, list[str]]:
        """Labels without a photo in a split that was to have some, by split."""
        wanted = [split for split, share in asdict(self.shares).items() if share]
        return {split: [label for label, by in self.counts.items() if not by[split]] for split in wanted}

    @property
    def conflicts(self) -> int:
        """Pictures that stand under more than one label."""
        labels: dict[str, set[str]] = defaultdict(set)
        for member, looked in zip(self.members, self.looked, strict=True):
            labels[looked.digest].add(member.label)
        return sum(len(found) > 1 for found in labels.values())


def plan_split(folder: Path, shares: Shares, *, seed: int) -> Split:
    """Decide which photo goes where; splits that the folder has already are pooled. Nothing is written.

    Raises:
        FolderNotFound, DatasetEmpty: there are no photos in label folders, or none that can be read.
    """
    dataset = read_dataset(folder)
    results = list(zip(dataset.members, look_at([member.path for member in dataset.members]), strict=True))
    readable = [(member, looked) for member, looked in results if isinstance(looked, Looked)]
    if not readable:
        raise DatasetEmpty(path=folder, reason="none of its photos can be read")
    members, looked = tuple(member for member, _ in readable), tuple(each for _, each in readable)
    groups = group_near_duplicates(
        [each.sketch.difference_hash for each in looked], [each.sketch.thumbnail for each in looked]
    )
    splits = allot(
        [member.label for member in members],
        groups,
        [each.digest for each in looked],
        shares.by_split,
        seed=seed,
    )
    return Split(
        dataset=dataset,
        seed=seed,
        shares=shares,
        members=members,
        looked=looked,
        splits=tuple(splits),
        left_out=tuple(Broken(member, why) for member, why in results if isinstance(why, PhotoFailure)),
        near_groups=sum(count > 1 for count in Counter(groups).values()),
    )


def write_split(split: Split, out: Path, *, link: bool = False) -> None:
    """Copy the photos (or make hard links) to OUT/SPLIT/LABEL, all of them or nothing, with landmarks.csv and split.json.

    Raises:
        InsidePhotos, FolderNotEmpty, NoRoom, LinkRefused, OutputUnwritable: with what to do.
    """
    check_out(out, split.dataset.folder)
    if not link:
        check_room(out, sum(looked.size_bytes for looked in split.looked))
    with placed(out) as making:
        place_photos(
            (
                Placement(member.path, Path(where, member.label), looked.digest)
                for member, looked, where in zip(split.members, split.looked, split.splits, strict=True)
            ),
            making,
            link=link,
        )
        with writing_to(out):
            gazetteer = split.dataset.folder / FILE_NAME
            if gazetteer.is_file():
                shutil.copyfile(gazetteer, making / FILE_NAME)
            (making / RECORD).write_text(json.dumps(record_of(split), indent=1) + "\n", encoding="utf-8")


def record_of(split: Split) -> dict[str, Any]:
    """What split.json says: the same photos, shares and seed give it again, byte for byte, on any machine."""
    digests = {looked.digest: where for looked, where in zip(split.looked, split.splits, strict=True)}
    return {
        "format": 1,
        "seed": split.seed,
        "shares": asdict(split.shares),
        "photos": dict(sorted(digests.items())),
    }


def document_of(split: Split) -> dict[str, Any]:
    """What was done, as JSON for a program that asked for it."""
    return {
        "photos": len(split.members),
        "labels": len(split.counts),
        **{where: split.splits.count(where) for where in SPLITS},
        "seed": split.seed,
        "pooled": list(split.dataset.splits),
        "groups_kept_together": split.near_groups,
        "label_conflicts": split.conflicts,
        "by_label": {path_text(label)[0]: counts for label, counts in split.counts.items()},
        "without": {
            where: [path_text(label)[0] for label in labels] for where, labels in split.missing.items()
        },
        "left_out": [
            {
                "path": split.dataset.name_of(each.member.path),
                "kind": each.failure.kind,
                "text": each.failure.text,
            }
            for each in split.left_out
        ],
    }
