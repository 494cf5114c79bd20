"""Inspect a folder of labelled photos before training: problems, duplicates, sizes and counts. Changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from trainer.data.duplicates import group_near_duplicates
from trainer.data.folders import Dataset, DatasetPhoto, ExaminedPhotos, PhotoFacts, examine_dataset
from trainer.data.gazetteer import FILE_NAME, labels_with_landmarks, listed_labels
from trainer.errors import LandmarksFileInvalid

FEW = 20
"""The number of photos per label that transfer learning needs."""


@dataclass(frozen=True)
class ImageSizes:
    """Width and height, in pixels of the upright image, of the images with the fewest, the median and the most pixels."""

    smallest: tuple[int, int]
    median: tuple[int, int]
    largest: tuple[int, int]


@dataclass(frozen=True)
class DuplicateGroup:
    """Photos with the same image, or nearly the same."""

    photos: tuple[DatasetPhoto, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(sorted({photo.label for photo in self.photos}))

    @property
    def splits(self) -> tuple[str, ...]:
        return tuple(sorted({photo.split or "" for photo in self.photos}))

    @property
    def has_conflict(self) -> bool:
        """Whether the photos have different labels, of which at most one is right."""
        return len(self.labels) > 1

    @property
    def has_leak(self) -> bool:
        """Whether the photos are in several splits, which makes metrics too good."""
        return len(self.splits) > 1


@dataclass(frozen=True)
class GazetteerCheck:
    """How landmarks.csv matches the label folders; `problem` says why the file cannot be used."""

    rows: int
    without_folder: tuple[str, ...]
    without_row: tuple[str, ...]
    problem: str | None


@dataclass(frozen=True)
class Inspection(ExaminedPhotos):
    """The result of an inspection."""

    blank: tuple[DatasetPhoto, ...]
    exact_duplicates: tuple[DuplicateGroup, ...]
    near_duplicates: tuple[DuplicateGroup, ...]
    gazetteer: GazetteerCheck | None

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Readable photos by label and split. The split is "" if label folders are directly in the folder."""
        counts = {label: dict.fromkeys(self.dataset.splits or ("",), 0) for label in self.dataset.labels}
        for photo in self.photos:
            counts[photo.label][photo.split or ""] += 1
        return counts

    @property
    def training_counts(self) -> dict[str, int]:
        """Readable photos by label that training would use: those in train/, or all if there are no splits."""
        return {
            label: by_split.get("train", 0) if self.dataset.splits else sum(by_split.values())
            for label, by_split in self.counts.items()
        }

    @property
    def few(self) -> dict[str, int]:
        """Labels with too few training photos."""
        return {label: count for label, count in self.training_counts.items() if count < FEW}

    @property
    def imbalance(self) -> float | None:
        """The ratio of photos between the largest and the smallest label; None if one has none."""
        counts = self.training_counts.values()
        return max(counts) / min(counts) if min(counts) else None

    @property
    def sizes(self) -> ImageSizes | None:
        by_pixels = sorted((facts.width * facts.height, facts.width, facts.height) for facts in self.facts)
        if not by_pixels:
            return None
        extremes = by_pixels[0], by_pixels[len(by_pixels) // 2], by_pixels[-1]
        smallest, middle, largest = ((width, height) for _, width, height in extremes)
        return ImageSizes(smallest, middle, largest)

    @property
    def formats(self) -> dict[str, int]:
        return dict(Counter(facts.format for facts in self.facts).most_common())

    @property
    def median_bytes(self) -> int:
        return round(median(facts.size_bytes for facts in self.facts)) if self.facts else 0


def inspect_folder(folder: Path) -> Inspection:
    """Read every photo in the label folders of `folder`.

    Raises:
        PathNotFound, DatasetEmpty: there are no photos in label folders.
    """
    examined = examine_dataset(folder)
    photos, facts = examined.photos, examined.facts
    return Inspection(
        **vars(examined),
        blank=tuple(photo for photo, entry in zip(photos, facts, strict=True) if entry.sketch.is_blank),
        exact_duplicates=tuple(_group_by(photos, [entry.digest for entry in facts])),
        near_duplicates=tuple(_near_duplicates(photos, facts)),
        gazetteer=_check_gazetteer(examined.dataset),
    )


def _near_duplicates(photos: Sequence[DatasetPhoto], facts: Sequence[PhotoFacts]) -> Iterable[DuplicateGroup]:
    """Groups of near-duplicates with more than one image that is not blank."""
    groups = group_near_duplicates([entry.sketch for entry in facts])
    images: dict[int, set[str]] = defaultdict(set)
    for group, entry in zip(groups, facts, strict=True):
        if not entry.sketch.is_blank:
            images[group].add(entry.digest)
    positions = [position for position, group in enumerate(groups) if len(images[group]) > 1]
    return _group_by(
        [photos[position] for position in positions], [groups[position] for position in positions]
    )


def _group_by(photos: Sequence[DatasetPhoto], keys: Sequence[object]) -> Iterable[DuplicateGroup]:
    groups: dict[object, list[DatasetPhoto]] = defaultdict(list)
    for photo, key in zip(photos, keys, strict=True):
        groups[key].append(photo)
    return (DuplicateGroup(tuple(group)) for group in groups.values() if len(group) > 1)


def _check_gazetteer(dataset: Dataset) -> GazetteerCheck | None:
    if not (dataset.folder / FILE_NAME).is_file():
        return None
    try:
        rows = listed_labels(dataset.folder)
        labels_with_landmarks([label for label in dataset.labels if label in rows], dataset.folder)
    except LandmarksFileInvalid as error:
        return GazetteerCheck(0, (), (), str(error))
    return GazetteerCheck(
        rows=len(rows),
        without_folder=tuple(label for label in rows if label not in dataset.labels),
        without_row=tuple(label for label in dataset.labels if label not in rows),
        problem=None,
    )
