"""Inspect a folder of labelled photos before training: problems, duplicates, sizes and counts. Changes nothing."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tagger.photos.paths import path_text
from trainer.data.duplicates import group_near_duplicates
from trainer.data.folders import Dataset, DatasetPhoto, ExaminedPhotos, PhotoFacts, examine_dataset
from trainer.data.gazetteer import FILE_NAME, read_gazetteer
from trainer.errors import DataFileInvalid

FEW = 20
"""The number of photos per label that transfer learning needs."""

PhotoGroup = list[dict[str, str | None]]
"""Photos with the same image, or nearly the same: path, split and label of each."""


@dataclass(frozen=True)
class Inspection:
    """The photos, and the findings as JSON. Paths are relative to the folder."""

    examined: ExaminedPhotos
    document: dict[str, Any]

    @property
    def leaks(self) -> list[PhotoGroup]:
        """Photos of one scene that are in several splits."""
        return [*self.document["leaks"]["exact"], *self.document["leaks"]["near"]]


def inspect_folder(folder: Path) -> Inspection:
    """Read every photo in the label folders of `folder`.

    Raises:
        PathNotFound, DataUnusable: there are no photos in label folders.
    """
    examined = examine_dataset(folder)
    dataset, photos, facts = examined.dataset, examined.photos, examined.facts
    labels = _labels(examined)
    # Training uses the photos in train/, or all if there are no splits.
    counts = {
        each["label"]: each["splits"].get("train", 0) if dataset.splits else each["photos"] for each in labels
    }
    exact = _groups(dataset, photos, [entry.digest for entry in facts])
    # Near-duplicates are groups with more than one image that is not blank.
    groups = group_near_duplicates([entry.sketch for entry in facts])
    images: dict[int, set[str]] = defaultdict(set)
    for group, entry in zip(groups, facts, strict=True):
        if not entry.sketch.is_blank:
            images[group].add(entry.digest)
    alike = [position for position, group in enumerate(groups) if len(images[group]) > 1]
    near = _groups(
        dataset, [photos[position] for position in alike], [groups[position] for position in alike]
    )
    document = {
        "folder": path_text(dataset.folder.absolute())[0],
        "splits": list(dataset.splits),
        "photos": len(photos),
        "labels": labels,
        "imbalance": max(counts.values()) / min(counts.values()) if min(counts.values()) else None,
        "few": {label: count for label, count in counts.items() if count < FEW},
        "sizes": _sizes(facts),
        "median_bytes": round(median(entry.size_bytes for entry in facts)) if facts else 0,
        "formats": dict(Counter(entry.format for entry in facts).most_common()),
        "broken": examined.unreadable,
        "blank": [
            dataset.name_of(photo.path)
            for photo, entry in zip(photos, facts, strict=True)
            if entry.sketch.is_blank
        ],
        "not_photos": [dataset.name_of(path) for path in dataset.other_files],
        "outside_labels": [dataset.name_of(path) for path in dataset.unlabelled],
        "passed_over": [dataset.name_of(path) for path in dataset.ignored_folders],
        "exact_duplicates": exact,
        "label_conflicts": [each for each in exact if _differ(each, "label")],
        "near_duplicates": near,
        "leaks": {
            "exact": [each for each in exact if _differ(each, "split")],
            "near": [each for each in near if _differ(each, "split")],
        },
        "landmarks": _check_gazetteer(dataset),
    }
    return Inspection(examined, document)


def _labels(examined: ExaminedPhotos) -> list[dict[str, Any]]:
    """The readable photos of each label, in total and by split."""
    counts = Counter((photo.label, photo.split) for photo in examined.photos)
    totals = Counter(photo.label for photo in examined.photos)
    return [
        {
            "label": path_text(label)[0],
            "photos": totals[label],
            "splits": {split: counts[label, split] for split in examined.dataset.splits},
        }
        for label in examined.dataset.labels
    ]


def _sizes(facts: Sequence[PhotoFacts]) -> dict[str, tuple[int, int]] | None:
    """Width and height, in pixels of the upright image, of the images with the fewest, the median and the most pixels."""
    if not facts:
        return None
    ordered = sorted(
        ((entry.width, entry.height) for entry in facts), key=lambda size: (size[0] * size[1], size)
    )
    return {"min": ordered[0], "median": ordered[len(ordered) // 2], "max": ordered[-1]}


def _groups(dataset: Dataset, photos: Sequence[DatasetPhoto], keys: Iterable[object]) -> list[PhotoGroup]:
    """The photos that share their key with others."""
    groups: dict[object, PhotoGroup] = defaultdict(list)
    for photo, key in zip(photos, keys, strict=True):
        label = path_text(photo.label)[0]
        groups[key].append({"path": dataset.name_of(photo.path), "split": photo.split, "label": label})
    return [group for group in groups.values() if len(group) > 1]


def _differ(group: PhotoGroup, fact: str) -> bool:
    return len({photo[fact] for photo in group}) > 1


def _check_gazetteer(dataset: Dataset) -> dict[str, Any] | None:
    """How landmarks.csv matches the label folders, or why the file cannot be used; None if there is none."""
    if not (dataset.folder / FILE_NAME).is_file():
        return None
    try:
        rows = read_gazetteer(dataset.folder / FILE_NAME)
    except DataFileInvalid as error:
        return {"rows": 0, "without_folder": [], "without_row": [], "problem": str(error)}
    return {
        "rows": len(rows),
        "without_folder": [label for label in rows if label not in dataset.labels],
        "without_row": [path_text(label)[0] for label in dataset.labels if label not in rows],
        "problem": None,
    }
