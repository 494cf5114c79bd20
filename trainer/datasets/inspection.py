"""What is right and wrong with a folder of labelled photos, before anybody trains on it. Reads, and changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tagger.errors import PhotoFailure
from trainer.datasets.folder import Dataset, Member, read_dataset
from trainer.datasets.looking import Looked, look_at
from trainer.errors import LandmarksFileInvalid
from trainer.photos.duplicates import group_near_duplicates
from trainer.photos.gazetteer import FILE_NAME, labels_with_landmarks, listed_labels

FEW = 20
"""Photos that a label needs for transfer learning to do well."""


@dataclass(frozen=True)
class Sizes:
    """Width and height, in pixels of the upright image, of the photos with the fewest, the middle and the most pixels."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True)
class Broken:
    """A photo that the tagger cannot look at, and why."""

    member: Member
    failure: PhotoFailure


@dataclass(frozen=True)
class Alike:
    """Photos that show the same: the same picture, or nearly."""

    members: tuple[Member, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({member.label for member in self.members}))

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(sorted({member.split or "" for member in self.members}))

    @property
    def in_conflict(self) -> bool:
        """Whether they have different labels, of which one at most is right."""
        return len(self.labels) > 1

    @property
    def leaks(self) -> bool:
        """Whether they are on both sides of a split, so that what is measured there is too good."""
        return len(self.splits) > 1


@dataclass(frozen=True)
class Gazetteer:
    """How landmarks.csv and the label folders fit; `problem` says why the file cannot be used."""

    rows: int
    without_folder: tuple[str, ...]
    without_row: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True)
class Inspection:
    """All that was found. `looked` goes with `members`, photo by photo; broken ones are in neither."""

    dataset: Dataset
    members: tuple[Member, ...]
    looked: tuple[Looked, ...]
    broken: tuple[Broken, ...]
    blank: tuple[Member, ...]
    same: tuple[Alike, ...]
    near: tuple[Alike, ...]
    gazetteer: Gazetteer | None

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Readable photos by label and split; those of label folders directly in the folder are under ""."""
        counts = {label: dict.fromkeys(self.dataset.splits or ("",), 0) for label in self.dataset.labels}
        for member in self.members:
            counts[member.label][member.split or ""] += 1
        return counts

    @property
    def learned_from(self) -> dict[str, int]:
        """Readable photos of each label that training would see: those in train/, or all of them."""
        return {
            label: by_split.get("train", 0) if self.dataset.splits else sum(by_split.values())
            for label, by_split in self.counts.items()
        }

    @property
    def few(self) -> dict[str, int]:
        """Labels with too few photos to learn from."""
        return {label: count for label, count in self.learned_from.items() if count < FEW}

    @property
    def imbalance(self) -> float | None:
        """How many times more photos the largest label has than the smallest; None where one has none."""
        counts = self.learned_from.values()
        return max(counts) / min(counts) if min(counts) else None

    @property
    def sizes(self) -> Sizes | None:
        by_pixels = sorted(
            (looked.width * looked.height, looked.width, looked.height) for looked in self.looked
        )
        if not by_pixels:
            return None
        chosen = by_pixels[0], by_pixels[len(by_pixels) // 2], by_pixels[-1]
        smallest, middle, largest = ((width, height) for _, width, height in chosen)
        return Sizes(smallest, middle, largest)

    @property
    def formats(self) -> dict[str, int]:
        return dict(Counter(looked.format for looked in self.looked).most_common())

    @property
    def median_bytes(self) -> int:
        return round(median(looked.size_bytes for looked in self.looked)) if self.looked else 0


def inspect_folder(folder: Path) -> Inspection:
    """Look at every photo under the label folders of `folder`.

    Raises:
        FolderNotFound, DatasetEmpty: there are no photos in label folders.
    """
    dataset = read_dataset(folder)
    results = list(zip(dataset.members, look_at([member.path for member in dataset.members]), strict=True))
    readable = [(member, looked) for member, looked in results if isinstance(looked, Looked)]
    members, looked = [member for member, _ in readable], [each for _, each in readable]
    return Inspection(
        dataset=dataset,
        members=tuple(members),
        looked=tuple(looked),
        broken=tuple(Broken(member, why) for member, why in results if isinstance(why, PhotoFailure)),
        blank=tuple(member for member, each in readable if each.sketch.is_blank),
        same=tuple(_grouped(members, [each.digest for each in looked])),
        near=tuple(_near(members, looked)),
        gazetteer=_gazetteer(dataset),
    )


def _near(members: Sequence[Member], looked: Sequence[Looked]) -> Iterable[Alike]:
    """Groups of near-duplicates that are more than copies of one picture, and show something."""
    groups = group_near_duplicates(
        [each.sketch.difference_hash for each in looked], [each.sketch.thumbnail for each in looked]
    )
    pictures: dict[int, set[str]] = defaultdict(set)
    for group, each in zip(groups, looked, strict=True):
        if not each.sketch.is_blank:
            pictures[group].add(each.digest)
    chosen = [number for number, group in enumerate(groups) if len(pictures[group]) > 1]
    return _grouped([members[number] for number in chosen], [groups[number] for number in chosen])


def _grouped(members: Sequence[Member], keys: Sequence[object]) -> Iterable[Alike]:
    groups: dict[object, list[Member]] = defaultdict(list)
    for member, key in zip(members, keys, strict=True):
        groups[key].append(member)
    return (Alike(tuple(group)) for group in groups.values() if len(group) > 1)


def _gazetteer(dataset: Dataset) -> Gazetteer | None:
    if not (dataset.folder / FILE_NAME).is_file():
        return None
    try:
        rows = listed_labels(dataset.folder)
        known = [label for label in dataset.labels if label in rows]
        labels_with_landmarks(known, dataset.folder)
    except LandmarksFileInvalid as error:
        return Gazetteer(0, (), (), str(error))
    return Gazetteer(
        rows=len(rows),
        without_folder=tuple(label for label in rows if label not in dataset.labels),
        without_row=tuple(label for label in dataset.labels if label not in rows),
        problem=None,
    )
