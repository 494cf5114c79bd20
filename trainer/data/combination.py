"""Combine several collections of photos into one training folder, by the landmarks of a gazetteer.

Folders that are named after a landmark's label or slug become that label; all others are other landmarks,
which a model is trained not to name. Test photos stay test photos, and nothing like them is trained on.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tagger.model.artifact import Label
from tagger.photos.paths import path_text
from trainer.data.duplicates import group_near_duplicates
from trainer.data.folders import (
    SOURCES,
    Dataset,
    LabelledPhoto,
    PhotoFacts,
    examine_photos,
    label_of,
    read_dataset,
    read_photo_list,
)
from trainer.data.gazetteer import FILE_NAME, read_gazetteer, write_gazetteer
from trainer.data.output_folder import PhotoCopy, copy_photos, new_folder
from trainer.data.split import TRAIN, assign_splits
from trainer.errors import writing_to

TEST, OTHERS = "test", "others"
TEST_SHARE = 0.2
"""The share of a landmark's photos that is chosen for testing if no collection has test photos of it."""


@dataclass
class Combination:
    """The planned folder. `sources`: where each copy comes from. `left_out` counts others by reason."""

    landmarks: tuple[Label, ...]
    copies: list[PhotoCopy] = field(default_factory=list)
    sources: dict[Path, str] = field(default_factory=dict)
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def trained(self) -> tuple[Label, ...]:
        """The landmarks with photos for training."""
        labels = {copy.folder.name for copy in self.copies if copy.folder.parts[0] == TRAIN}
        return tuple(landmark for landmark in self.landmarks if landmark.label in labels)

    @property
    def document(self) -> dict[str, Any]:
        """The result as JSON."""
        splits = Counter(copy.folder.parts[0] for copy in self.copies)
        return {
            "labels": len(self.trained),
            **{name: splits[name] for name in (TRAIN, "val", TEST, OTHERS)},
            "other_landmarks": len({copy.folder for copy in self.copies if copy.folder.parts[0] == OTHERS}),
            "left_out": dict(sorted(self.left_out.items())),
            "without_photos": [each.label for each in self.landmarks if each not in self.trained],
        }


@dataclass(frozen=True)
class Candidate:
    """A readable photo, and where it comes from and belongs. Without a label, it is for other landmarks."""

    photo: LabelledPhoto
    facts: PhotoFacts
    label: str | None
    source: str


def plan_combination(
    folders: Sequence[Path], landmarks: Path, exclusions: Path | None, sources: Path | None, *, seed: int
) -> Combination:
    """Assign each photo to a split and a label, or leave it out. Writes nothing.

    Args:
        folders: collections with LABEL/photo.jpg or {train,val,test}/LABEL/photo.jpg; of equal photos, the
            first is taken
        landmarks: the gazetteer, see `read_gazetteer`
        exclusions: why photos are left out, see `read_photo_list`
        sources: where photos come from, see `read_photo_list`; those not listed come from their collection
        seed: of the photos that are chosen for testing

    Raises:
        PathNotFound, DataUnusable: with what to change.
    """
    by_label = read_gazetteer(landmarks)
    excluded = read_photo_list(exclusions, "reason") if exclusions else {}
    listed = read_photo_list(sources, "source") if sources else {}
    combination = Combination(tuple(by_label.values()))
    names = {name: label for label, each in by_label.items() for name in (each.slug, label)}
    candidates = _candidates(
        [read_dataset(folder) for folder in folders], names, excluded, listed, combination
    )
    groups = group_near_duplicates([each.facts.sketch for each in candidates])
    # The split of each photo is that of its collection, or a new one if none of its label is for testing.
    has_tests = {each.label for each in candidates if each.photo.split == TEST}
    chosen = assign_splits(
        [each.label or "" for each in candidates],
        groups,
        [each.facts.digest for each in candidates],
        {TEST: TEST_SHARE},
        seed=seed,
    )
    splits = [
        split if each.label and each.label not in has_tests else each.photo.split or TRAIN
        for each, split in zip(candidates, chosen, strict=True)
    ]
    for candidate, split in apart_from_tests(candidates, groups, splits, combination.left_out):
        target = Path(split, candidate.label) if candidate.label else Path(OTHERS, candidate.photo.label)
        combination.copies.append(PhotoCopy(candidate.photo.path, target, candidate.facts.digest))
        combination.sources[candidate.photo.path] = candidate.source
    return combination


def _candidates(
    datasets: Sequence[Dataset],
    names: dict[str, str],
    excluded: dict[str, str],
    sources: dict[str, str],
    combination: Combination,
) -> list[Candidate]:
    photos: list[tuple[LabelledPhoto, str]] = []
    for photo, collection in ((photo, each.folder) for each in datasets for photo in each.photos):
        entries = label_of(f"{photo.label}/{photo.path.name}"), f"{photo.label}/"
        reason = _first(excluded, entries)
        if reason and photo.split != TEST:
            combination.left_out[reason] += 1
        else:
            photos.append((photo, _first(sources, entries) or collection.resolve().name))
    results = examine_photos([photo.path for photo, _ in photos])
    candidates = [
        Candidate(photo, facts, names.get(photo.label), source)
        for (photo, source), facts in zip(photos, results, strict=True)
        if isinstance(facts, PhotoFacts)
    ]
    if unreadable := len(photos) - len(candidates):
        combination.left_out["unreadable"] = unreadable
    return list(first_of_copies(candidates, combination.left_out).values())


def _first(listed: dict[str, str], entries: tuple[str, ...]) -> str | None:
    return next((listed[entry] for entry in entries if entry in listed), None)


def first_of_copies(candidates: Iterable[Candidate], left_out: Counter[str]) -> dict[str, Candidate]:
    """The first photo of each image, by its digest. Counts the others."""
    by_digest: dict[str, Candidate] = {}
    for candidate in candidates:
        first = by_digest.setdefault(candidate.facts.digest, candidate)
        if first is not candidate:
            has_same_label = candidate.label and candidate.label == first.label
            is_same = has_same_label or candidate.photo.label == first.photo.label
            left_out["a copy" if is_same else "a copy that has another label"] += 1
    return by_digest


def apart_from_tests(
    candidates: Sequence[Candidate], groups: Sequence[int], splits: Sequence[str], left_out: Counter[str]
) -> Iterator[tuple[Candidate, str]]:
    """Yield the photos with their splits, except those like one for testing. `groups`: of near-duplicates."""
    tested = {group for group, split in zip(groups, splits, strict=True) if split == TEST}
    for candidate, group, split in zip(candidates, groups, splits, strict=True):
        if split != TEST and group in tested:
            left_out["like a photo for testing"] += 1
        else:
            yield candidate, split


def write_combination(combination: Combination, out: Path) -> None:
    """Copy the photos to OUT/SPLIT/LABEL and OUT/others/LANDMARK, with both lists; all or nothing."""
    write_photos(combination.copies, combination.trained, combination.sources, out)


def write_photos(
    copies: Iterable[PhotoCopy], landmarks: Iterable[Label], sources: Mapping[Path, str], out: Path
) -> None:
    """Create the folder `out` with photos, the list of landmarks, and that of sources if any are known."""
    with new_folder(out) as folder:
        targets = copy_photos(copies, folder)
        with writing_to(out):
            write_gazetteer(folder / FILE_NAME, landmarks)
            if any(sources.values()):
                _write_sources(folder / SOURCES, targets, sources)


def _write_sources(path: Path, targets: Iterable[tuple[Path, Path]], sources: Mapping[Path, str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(("photo", "source"))
        for photo, target in targets:
            name, is_altered = path_text(f"{target.parent.name}/{target.name}")
            if not is_altered and sources[photo]:
                rows.writerow((name, path_text(sources[photo])[0]))
