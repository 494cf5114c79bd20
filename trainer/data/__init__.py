"""Labelled photos in folders, F/{train,val,test}/LABEL/photo.jpg or F/LABEL/photo.jpg: their facts,
near-duplicates among them, and the landmarks that labels stand for.

sources.csv says for photos, by FOLDER/NAME, where they come from. Does not import torch.
"""

from __future__ import annotations

import csv
import io
import logging
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from tagger.errors import PathNotFound, PhotoFailed, PhotoFailure
from tagger.model.artifact import Label, LandmarkFacts
from tagger.photos.decoding import Pixels, Resize, decode_photo
from tagger.photos.folders import FolderProblem, FolderSource
from tagger.photos.formats import digest_photo
from tagger.photos.names import OtherFiles, find_program_folder, is_photo_name
from tagger.photos.paths import path_text
from tagger.photos.source import read_named
from tagger.settings import Settings
from tagger.texts import decoded_text
from tagger.texts.names import digest_slug, slug_of_name
from trainer import DataUnusable, compute_ahead, photo_progress

MAX_BYTES: int = Settings.model_fields["max_bytes"].default
MAX_PIXELS: int = Settings.model_fields["max_pixels"].default
SPLITS = ("train", "val", "test")
# The file in a training folder that says where its photos come from.
SOURCES = "sources.csv"
# Large enough to compare photos; JPEGs are decoded at an eighth of their size for it.

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and its label, and the split whose folder has it.

    Without a label, `place` is the other landmark that it shows, or it is an ordinary photo of a `kind`.
    """

    path: Path
    label: str = ""
    place: str | None = None
    kind: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Dataset:
    """The content of a folder. `splits` is empty if label folders are directly in it."""

    folder: Path
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    photos: tuple[LabelledPhoto, ...]
    other_files: tuple[Path, ...]
    # Photos outside label folders.
    unlabelled: tuple[Path, ...]
    # Folders beside the splits.
    ignored_folders: tuple[Path, ...]

    def name_of(self, path: Path) -> str:
        return path_text(path.relative_to(self.folder).as_posix())[0]


@dataclass(frozen=True)
class ExaminedPhoto:
    """Facts about a readable photo. `digest` identifies its image; the size is that of the upright image."""

    digest: str
    width: int
    height: int
    sketch: Sketch


@dataclass(frozen=True)
class ExaminedPhotos:
    """The photos of a dataset. `photos` and `facts` have the same order and exclude unreadable photos.

    `unreadable` has path, kind and text of each failure, as JSON.
    """

    dataset: Dataset
    photos: tuple[LabelledPhoto, ...]
    facts: tuple[ExaminedPhoto, ...]
    unreadable: tuple[dict[str, str], ...]


def layout_error(folder: Path, reason: str) -> DataUnusable:
    remedy = (
        f"Lay out photos as {folder}/train/LABEL/photo.jpg, or without splits as "
        f"{folder}/LABEL/photo.jpg"
    )
    return DataUnusable(path=folder, reason=reason, remedy=remedy)


def label_of(text: str) -> str:
    """The label of a folder's name or a cell. Programs that copy folders change how accents are encoded."""
    return unicodedata.normalize("NFC", text).strip()


def label_folders(split: Path, other_files: OtherFiles | None = None) -> list[Path]:
    """The folders directly in `split`, without hidden folders and those of file servers.

    Folders in which other programs keep copies are left out, and counted in `other_files`.
    """
    folders = []
    for entry in sorted(split.iterdir()) if split.is_dir() else ():
        if not entry.is_dir():
            continue
        owner = find_program_folder(str(entry.absolute()), os.path.lexists)
        if owner is not None and owner.content:
            if other_files is not None:
                other_files.folders[owner.reason].add(str(entry))
        elif entry.name[0] not in ".@":
            folders.append(entry)
    return folders


def find_labelled_photos(split: Path) -> tuple[LabelledPhoto, ...]:
    """Every photo in the label folders of `split`. Logs what is left out."""
    other_files = OtherFiles()
    photos = tuple(
        LabelledPhoto(path, label_of(folder.name))
        for folder in label_folders(split, other_files)
        for path in photo_paths(folder, other_files)
    )
    _log_left_out(split, other_files)
    if outside := unlabelled_photos(split):
        log.warning(
            "skipped: photos outside label folders (%d), such as %s",
            len(outside),
            outside[0],
        )
    return photos


def unlabelled_photos(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_file() and is_photo_name(entry.name)
    )


def warn_of_label_conflicts(photos: Iterable[tuple[str | None, LabelledPhoto]]) -> int:
    """Warn of images with several labels, or with one and none; return their number.

    Photos come with their digests.
    """
    by_image: dict[str, list[LabelledPhoto]] = defaultdict(list)
    for digest, photo in photos:
        if digest is not None:
            by_image[digest].append(photo)
    conflicts = [
        same for same in by_image.values() if len({photo.label for photo in same}) > 1
    ]
    if conflicts:
        paths = ", ".join(path_text(str(photo.path))[0] for photo in conflicts[0])
        log.warning(
            "images with several labels, or one and none: %d; the first: %s",
            len(conflicts),
            paths,
        )
    return len(conflicts)


def find_ordinary_photos(folder: Path) -> tuple[LabelledPhoto, ...]:
    """Every photo in `folder`, at any depth, without a label. Its kind is the folder directly in `folder`.

    Raises:
        PathNotFound: there is no such folder.
    """
    if not folder.is_dir():
        raise PathNotFound(path=folder)
    other_files = OtherFiles()
    paths = photo_paths(folder, other_files)
    _log_left_out(folder, other_files)
    return tuple(
        LabelledPhoto(
            path,
            kind=path.relative_to(folder).parts[0] if path.parent != folder else "",
        )
        for path in paths
    )


def find_other_landmarks(folder: Path) -> tuple[LabelledPhoto, ...]:
    """Every photo in the folders of `folder`, each of which is a landmark without a label.

    Raises:
        PathNotFound: there is no such folder.
    """
    if not folder.is_dir():
        raise PathNotFound(path=folder)
    return tuple(
        LabelledPhoto(photo.path, place=photo.label)
        for photo in find_labelled_photos(folder)
    )


def photo_paths(folder: Path, other_files: OtherFiles) -> list[Path]:
    """The photos in `folder` at any depth, in path order. Counts what is left out in `other_files`.

    Logs a warning for each unreadable subfolder.
    """
    paths = []
    for entry in FolderSource(folder).photos(other_files=other_files):
        if isinstance(entry, FolderProblem):
            log.warning("skipped: %s (%s)", entry.path, entry.text)
        else:
            paths.append(entry.path)
    return paths


def _log_left_out(folder: Path, other_files: OtherFiles) -> None:
    for line in other_files.copies_lines():
        log.warning("%s", line)
    if other_files.count:
        extensions = other_files.extensions_text()
        log.info(
            "files in %s that are no photos: %d%s",
            folder,
            other_files.count,
            extensions,
        )


@contextmanager
def open_csv(
    path: Path,
    remedy: str,
    *,
    strict: bool = True,
) -> Iterator[csv.DictReader[str]]:
    """The rows of a CSV file. Blanks around the names of columns do not count.

    `strict`: text after a quoted value is an error.

    Raises:
        DataUnusable: it is no CSV file in UTF-8 or UTF-16, or cannot be read.
    """
    try:
        text = io.StringIO(decoded_text(path.read_bytes()), newline="")
        rows = csv.DictReader(text, strict=strict, skipinitialspace=True)
        rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
        yield rows
    except (UnicodeDecodeError, csv.Error) as error:
        reason = f"it is not a CSV file in UTF-8 or UTF-16 ({error})"
        raise DataUnusable(path=path, reason=reason, remedy=remedy) from error
    except OSError as error:
        raise DataUnusable(
            path=path,
            reason=error.strerror or str(error),
            remedy=remedy,
        ) from error


def sources_of(paths: Iterable[Path], folder: Path) -> list[str]:
    """Where each photo comes from, as listed in `folder`'s sources.csv; empty if it does not say.

    Raises:
        DataUnusable: the list cannot be used.
    """
    listed: dict[str, str] = {}
    table = folder / SOURCES
    if table.is_file():
        remedy = "It is a CSV file with the columns photo and source"
        with open_csv(table, remedy) as rows:
            listed = {
                label_of(row.get("photo") or ""): (row.get("source") or "").strip()
                for row in rows
            }
        if not all("/" in photo and source for photo, source in listed.items()):
            reason = "each row needs a photo, FOLDER/NAME, and a source"
            raise DataUnusable(path=table, reason=reason, remedy=remedy)
    return [
        listed.get(label_of(f"{path.parent.name}/{path.name}"), "") for path in paths
    ]


def read_dataset(folder: Path) -> Dataset:
    """List the photos of `folder` by label and path, and all other files. Opens no files.

    Raises:
        PathNotFound, DataUnusable: there are no photos in label folders.
    """
    if not folder.is_dir():
        raise PathNotFound(path=folder)
    splits = tuple(split for split in SPLITS if (folder / split).is_dir())
    tops: list[tuple[str | None, Path]] = [(split, folder / split) for split in splits]
    tops = tops or [(None, folder)]
    photos = tuple(
        replace(photo, split=split)
        for split, top in tops
        for photo in find_labelled_photos(top)
    )
    if not photos:
        raise layout_error(folder, "none of its folders has photos")
    top_folders = [top for _, top in tops]
    labels = [label for top in top_folders for label in label_folders(top)]
    beside = folders_beside_splits(folder) if splits else []
    if beside:
        log.warning(
            "skipped: folders beside the splits: %s",
            ", ".join(entry.name for entry in beside),
        )
    return Dataset(
        folder=folder,
        splits=splits,
        labels=tuple(sorted({label_of(label.name) for label in labels})),
        photos=photos,
        other_files=tuple(path for label in labels for path in _other_files(label)),
        unlabelled=tuple(
            photo
            for parent in sorted({folder, *top_folders})
            for photo in unlabelled_photos(parent)
        ),
        ignored_folders=tuple(beside),
    )


def folders_beside_splits(folder: Path) -> list[Path]:
    return [entry for entry in label_folders(folder) if entry.name not in SPLITS]


def _other_files(label: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(label):
        folders[:] = sorted(name for name in folders if name[0] not in ".@")
        yield from (
            Path(parent, name)
            for name in sorted(names)
            if name[0] != "." and not is_photo_name(name)
        )


def image_digest(path: Path) -> str | None:
    """The digest of a photo's image, without its metadata; None if it cannot be read."""
    try:
        return digest_photo(read_named(path, max_bytes=MAX_BYTES).data)
    except PhotoFailed:
        return None


def examine_dataset(folder: Path) -> ExaminedPhotos:
    """Read every photo in the label folders of `folder`.

    Raises:
        PathNotFound, DataUnusable: there are no photos in label folders.
    """
    dataset = read_dataset(folder)

    # The facts about each photo, or why it cannot be read, in order. Decodes in threads.
    paths = [photo.path for photo in dataset.photos]
    results = []
    with photo_progress("examining photos", len(paths)) as advance:
        for result in compute_ahead(examine_photo, paths, ahead=64, name="examine"):
            results.append(result)
            advance(1)

    pairs = list(zip(dataset.photos, results, strict=True))
    readable = [
        (photo, result) for photo, result in pairs if isinstance(result, ExaminedPhoto)
    ]
    return ExaminedPhotos(
        dataset,
        tuple(photo for photo, _ in readable),
        tuple(facts for _, facts in readable),
        tuple(
            {
                "path": dataset.name_of(photo.path),
                "kind": result.kind,
                "text": result.text,
            }
            for photo, result in pairs
            if isinstance(result, PhotoFailure)
        ),
    )


def examine_photo(path: Path) -> ExaminedPhoto | PhotoFailure:
    try:
        photo = read_named(path, max_bytes=MAX_BYTES)
        resize = Resize(short_side=64, size=64)
        image = decode_photo(photo.data, resize, max_pixels=MAX_PIXELS)
        return ExaminedPhoto(
            digest=digest_photo(photo.data),
            width=image.width,
            height=image.height,
            sketch=sketch_of(image.pixels),
        )
    except PhotoFailed as error:
        return error.failure


# Near-duplicates: photos of one scene, which must stay on one side of a split.
#
# Two photos are near-duplicates if their difference hashes (64 bits of "is it brighter to the
# right?") are close and their thumbnails correlate. Hashes alone are not enough: plain skies and
# towers have close hashes.

HASH_ROWS, HASH_COLUMNS = 8, 8
# Hashes are near if at most this many of their 64 bits differ. The usual choice is stricter.
NEAR_BITS = 10
THUMBNAIL_SIDE = 16
# The lowest correlation of the thumbnails of near-duplicates. Among 4,876 photos of 61 landmarks,
# 677 pairs had near hashes, 503 of them with different labels; 18 pairs also had this correlation,
# all with equal labels. Scaled, recompressed, relit and slightly cropped (2 %) copies pass in 99 %
# of cases.
ALIKE = 0.9
# The highest standard deviation of a blank image's thumbnail, in grey levels.
BLANK = 1.0

_Array = npt.NDArray[Any]
_TILE_ROWS, _TILE_COLUMNS = 1024, 4096
_PAIRS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Sketch:
    difference_hash: int
    thumbnail: npt.NDArray[np.uint8]  # (16, 16) grey

    @property
    def is_blank(self) -> bool:
        """Whether the whole image has a single shade, within one grey level."""
        return bool(self.thumbnail.std() < BLANK)


def sketch_of(pixels: Pixels) -> Sketch:
    grey = pixels.mean(axis=2, dtype=np.float32)  # float32 (H, W)
    thumbnail = _pooled(grey, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    small = _pooled(grey, HASH_ROWS, HASH_COLUMNS + 1)
    brighter = np.diff(small, axis=1) > 1e-3  # smaller differences are rounding errors
    difference_hash = int.from_bytes(np.packbits(brighter).tobytes(), "big")
    return Sketch(difference_hash, thumbnail.round().astype(np.uint8))


def group_near_duplicates(sketches: Sequence[Sketch]) -> list[int]:
    """The group of each photo, as the position of its first photo. Chains of near-duplicates are one group.

    Compares all pairs, block by block: 100,000 photos take less than a minute.
    """
    if not sketches:
        return []
    hashes = np.array([sketch.difference_hash for sketch in sketches], dtype=np.uint64)
    # One thumbnail in each row: uint8, N x 256.
    thumbnails = np.stack([sketch.thumbnail for sketch in sketches]).reshape(
        len(sketches), -1
    )
    roots: _Array = np.arange(len(sketches))
    for rows, columns in _near_pairs(hashes):
        for first in range(0, len(rows), _PAIRS_AT_ONCE):
            block = slice(first, first + _PAIRS_AT_ONCE)
            one, other = rows[block], columns[block]
            apart = roots[one] != roots[other]
            one, other = one[apart], other[apart]
            products = _standardised(thumbnails[one]) * _standardised(thumbnails[other])
            alike = products.sum(axis=1) >= ALIKE  # their correlations
            for pair in zip(
                one[alike].tolist(),
                other[alike].tolist(),
                strict=True,
            ):
                root, merged = sorted(roots[list(pair)])
                if root != merged:
                    roots[roots == merged] = root
    return [int(root) for root in roots]


def _pooled(grey: _Array, rows: int, columns: int) -> _Array:
    # Means over a grid of areas, float32 (rows, columns), which share pixels if the sizes do not divide.
    height, width = grey.shape
    pooled: _Array = _areas(height, rows) @ grey @ _areas(width, columns).T
    return pooled


@cache
def _areas(size: int, bins: int) -> _Array:
    areas = np.zeros((bins, size), dtype=np.float32)
    for number in range(bins):
        first, end = number * size // bins, -(-(number + 1) * size // bins)
        areas[number, first:end] = 1 / (end - first)
    return areas


def _near_pairs(hashes: _Array) -> Iterator[tuple[_Array, _Array]]:
    # Yield positions of near pairs, the smaller first, one tile of the matrix of all pairs at a time.
    for top in range(0, len(hashes), _TILE_ROWS):
        for left in range(top, len(hashes), _TILE_COLUMNS):
            tile_rows = hashes[top : top + _TILE_ROWS, None]
            tile_columns = hashes[None, left : left + _TILE_COLUMNS]
            bits = np.bitwise_count(tile_rows ^ tile_columns)
            rows, columns = np.nonzero(bits <= NEAR_BITS)
            rows, columns = rows + top, columns + left
            upper = rows < columns  # each pair once
            if upper.any():
                yield rows[upper], columns[upper]


def _standardised(thumbnails: _Array) -> _Array:
    centred = thumbnails - thumbnails.mean(axis=1, keepdims=True, dtype=np.float32)
    deviations = centred.std(axis=1)
    centred[deviations < BLANK] = 1  # blank images are all alike
    standardised: _Array = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    return standardised


# The landmarks that labels stand for: rows of `landmarks.csv`, or names derived from the labels.

FILE_NAME = "landmarks.csv"
COLUMNS = ("label", *LandmarkFacts.model_fields)
# Between two names of a cell, as in OpenStreetMap's tags.
_SEPARATOR = ";"


def labels_with_landmarks(labels: Iterable[str], folder: Path) -> tuple[Label, ...]:
    """Each label with its landmark from `folder`'s landmarks.csv, or a name derived from itself.

    Raises:
        DataUnusable: a row is invalid, or two labels share a slug.
    """
    path = folder / FILE_NAME
    listed = read_gazetteer(path) if path.is_file() else {}
    labels = list(labels)
    if unused := sorted(set(listed) - set(labels)):
        log.info(
            "%s: rows of other labels: %d, such as %s",
            path.name,
            len(unused),
            unused[0],
        )
    slugs = {landmark.slug for landmark in listed.values()}
    result = []
    for label in labels:
        if listed and label not in listed:
            log.warning(
                "%s has no row for the label %s; using the label as its name",
                path.name,
                label,
            )
        slug = own = slug_of(label)
        number = 1
        while slug in slugs:
            number += 1
            slug = f"{own}-{number}"
        landmark = listed.get(label) or Label(
            label=label,
            slug=slug,
            name=name_of(label),
        )
        slugs.add(landmark.slug)
        result.append(landmark)
    _refuse_shared_slugs(path, result)
    return tuple(result)


def read_gazetteer(path: Path) -> dict[str, Label]:
    """The landmarks of a CSV file with a column `label`, by label.

    Raises:
        DataUnusable: the file cannot be read, a row is invalid, or two labels share a slug.
    """
    # The rows by label. Logs a warning for columns and rows that are left out.
    rows: dict[str, dict[str, str]] = {}
    with open_csv(path, _REMEDY, strict=False) as table:
        columns = table.fieldnames or ()
        if "label" not in columns:
            raise _invalid(path, "its first line has no column `label`")
        if unknown := [each for each in columns if each and each not in COLUMNS]:
            log.warning(
                "%s: these columns are not used: %s", path.name, ", ".join(unknown)
            )
        for row in table:
            cells = {column: (row[column] or "").strip() for column in columns}
            label = label_of(cells["label"])
            if label in rows:
                log.warning(
                    "%s has several rows for the label %s; the last one counts",
                    path.name,
                    label,
                )
            if label:
                rows[label] = cells | {"label": label}
            elif any(cells.values()):
                log.warning(
                    "%s, line %d: the row has no label and is skipped",
                    path.name,
                    table.line_num,
                )

    landmarks = {label: _from_row(path, row) for label, row in rows.items()}
    _refuse_shared_slugs(path, landmarks.values())
    return landmarks


def write_gazetteer(path: Path, landmarks: Iterable[Label]) -> None:
    """Write the landmarks, ordered by label. Those with a label that is not UTF-8 are left out."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for landmark in sorted(landmarks, key=lambda landmark: landmark.label):
            if not path_text(landmark.label)[1]:
                names = _SEPARATOR.join(
                    f"{language}={name}" for language, name in landmark.names.items()
                )
                aliases = _SEPARATOR.join(landmark.aliases)
                facts = landmark.model_dump(exclude={"parent"})
                writer.writerow(facts | {"names": names, "aliases": aliases})


def name_of(label: str) -> str:
    """A readable name for the label: `16.Eiffel_Tower` → `Eiffel Tower`."""
    return re.sub(r"^\d+\.", "", label).replace("_", " ").strip() or label


def slug_of(label: str) -> str:
    """An ASCII identifier for the label: `16.Eiffel_Tower` → `eiffel-tower`."""
    return slug_of_name(name_of(label)) or digest_slug("label", label)


_REMEDY = "Correct it, or remove it to name landmarks after their labels"


def _from_row(path: Path, row: dict[str, str]) -> Label:
    label = row["label"]
    values: dict[str, object] = {
        column: row[column] for column in COLUMNS if row.get(column)
    }
    names = (entry.partition("=") for entry in _entries(row.get("names")))
    values["names"] = {language.strip(): name.strip() for language, _, name in names}
    values["aliases"] = _entries(row.get("aliases"))
    try:
        return Label.model_validate(
            {"slug": slug_of(label), "name": name_of(label), **values}
        )
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"label {label}, column {first['loc'][0]}: {first['msg'].lower()}"
        raise _invalid(path, reason) from error


def _entries(cell: str | None) -> tuple[str, ...]:
    return tuple(
        entry.strip() for entry in (cell or "").split(_SEPARATOR) if entry.strip()
    )


def _refuse_shared_slugs(path: Path, labels: Iterable[Label]) -> None:
    labels_by_slug: dict[str, str] = {}
    for label in labels:
        other = labels_by_slug.setdefault(label.slug, label.label)
        if other != label.label:
            raise _invalid(
                path, f"{other} and {label.label} share the slug {label.slug}"
            )


def _invalid(path: Path, reason: str) -> DataUnusable:
    return DataUnusable(path=path, reason=reason, remedy=_REMEDY)
