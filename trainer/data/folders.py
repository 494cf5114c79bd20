"""Labelled photos in folders, F/{train,val,test}/LABEL/photo.jpg or F/LABEL/photo.jpg, and their facts.

sources.csv says for photos, by FOLDER/NAME, where they come from.

Knows nothing of the landmarks that labels stand for (see gazetteer). Does not import torch.
"""

import csv
import io
import logging
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tagger.errors import PathNotFound, PhotoFailed, PhotoFailure
from tagger.photos.containers import digest_photo
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.folders import FolderProblem, find_photos
from tagger.photos.names import OtherFiles, find_program_folder, is_photo_name
from tagger.photos.paths import path_text
from tagger.photos.source import read_named
from tagger.settings import Settings
from tagger.texts.text_encoding import decoded_text
from trainer.data.duplicates import Sketch, sketch_of
from trainer.errors import DataUnusable
from trainer.progress import photo_progress
from trainer.threads import compute_ahead

MAX_BYTES: int = Settings.model_fields["max_bytes"].default
MAX_PIXELS: int = Settings.model_fields["max_pixels"].default
SPLITS = ("train", "val", "test")
# The file in a training folder that says where its photos come from.
SOURCES = "sources.csv"
# Large enough to compare photos; JPEGs are decoded at an eighth of their size for it.
SKETCH_SIZE = Resize(short_side=64, size=64)
PHOTOS_AHEAD = 64

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
        """The path relative to the folder, for output and JSON."""
        return path_text(path.relative_to(self.folder).as_posix())[0]


@dataclass(frozen=True)
class PhotoFacts:
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
    facts: tuple[PhotoFacts, ...]
    unreadable: tuple[dict[str, str], ...]


def layout_error(folder: Path, reason: str) -> DataUnusable:
    """The error of a folder in which there are no photos with labels."""
    remedy = (
        f"Lay out photos as {folder}/train/LABEL/photo.jpg, or without splits as {folder}/LABEL/photo.jpg"
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
        log.warning("skipped: photos outside label folders (%d), such as %s", len(outside), outside[0])
    return photos


def unlabelled_photos(folder: Path) -> list[Path]:
    """The photos directly in `folder`."""
    if not folder.is_dir():
        return []
    return sorted(entry for entry in folder.iterdir() if entry.is_file() and is_photo_name(entry.name))


def warn_of_label_conflicts(photos: Iterable[tuple[str | None, LabelledPhoto]]) -> int:
    """Warn of images with several labels, or with one and none; return their number.

    Photos come with their digests.
    """
    by_image: dict[str, list[LabelledPhoto]] = defaultdict(list)
    for digest, photo in photos:
        if digest is not None:
            by_image[digest].append(photo)
    conflicts = [same for same in by_image.values() if len({photo.label for photo in same}) > 1]
    if conflicts:
        paths = ", ".join(path_text(str(photo.path))[0] for photo in conflicts[0])
        log.warning("images with several labels, or one and none: %d; the first: %s", len(conflicts), paths)
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
        LabelledPhoto(path, kind=path.relative_to(folder).parts[0] if path.parent != folder else "")
        for path in paths
    )


def find_other_landmarks(folder: Path) -> tuple[LabelledPhoto, ...]:
    """Every photo in the folders of `folder`, each of which is a landmark without a label.

    Raises:
        PathNotFound: there is no such folder.
    """
    if not folder.is_dir():
        raise PathNotFound(path=folder)
    return tuple(LabelledPhoto(photo.path, place=photo.label) for photo in find_labelled_photos(folder))


def photo_paths(folder: Path, other_files: OtherFiles) -> list[Path]:
    """The photos in `folder` at any depth, in path order. Counts what is left out in `other_files`.

    Logs a warning for each unreadable subfolder.
    """
    paths = []
    for entry in find_photos(folder, other_files=other_files):
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
        log.info("files in %s that are no photos: %d%s", folder, other_files.count, extensions)


@contextmanager
def open_csv(path: Path, remedy: str, *, strict: bool = True) -> Iterator["csv.DictReader[str]"]:
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
        raise DataUnusable(path=path, reason=error.strerror or str(error), remedy=remedy) from error


def sources_of(paths: Iterable[Path], folder: Path) -> list[str]:
    """Where each photo comes from, as listed in `folder`'s sources.csv; empty if it does not say.

    Raises:
        DataUnusable: the list cannot be used.
    """
    listed = _read_sources(folder / SOURCES) if (folder / SOURCES).is_file() else {}
    return [listed.get(label_of(f"{path.parent.name}/{path.name}"), "") for path in paths]


def _read_sources(path: Path) -> dict[str, str]:
    """The source of each photo, FOLDER/NAME."""
    remedy = "It is a CSV file with the columns photo and source"
    with open_csv(path, remedy) as rows:
        sources = {label_of(row.get("photo") or ""): (row.get("source") or "").strip() for row in rows}
    if not all("/" in photo and source for photo, source in sources.items()):
        reason = "each row needs a photo, FOLDER/NAME, and a source"
        raise DataUnusable(path=path, reason=reason, remedy=remedy)
    return sources


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
    photos = tuple(replace(photo, split=split) for split, top in tops for photo in find_labelled_photos(top))
    if not photos:
        raise layout_error(folder, "none of its folders has photos")
    labels = [label for _, top in tops for label in label_folders(top)]
    beside = folders_beside_splits(folder) if splits else []
    if beside:
        log.warning("skipped: folders beside the splits: %s", ", ".join(entry.name for entry in beside))
    return Dataset(
        folder=folder,
        splits=splits,
        labels=tuple(sorted({label_of(label.name) for label in labels})),
        photos=photos,
        other_files=tuple(path for label in labels for path in _other_files(label)),
        unlabelled=tuple(
            entry
            for parent in sorted({folder, *(top for _, top in tops)})
            for entry in unlabelled_photos(parent)
        ),
        ignored_folders=tuple(beside),
    )


def folders_beside_splits(folder: Path) -> list[Path]:
    """The folders of a training folder that no split is in."""
    return [entry for entry in label_folders(folder) if entry.name not in SPLITS]


def _other_files(label: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(label):
        folders[:] = sorted(name for name in folders if name[0] not in ".@")
        yield from (
            Path(parent, name) for name in sorted(names) if name[0] != "." and not is_photo_name(name)
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
    results = examine_photos([photo.path for photo in dataset.photos])
    pairs = list(zip(dataset.photos, results, strict=True))
    readable = [(photo, result) for photo, result in pairs if isinstance(result, PhotoFacts)]
    return ExaminedPhotos(
        dataset,
        tuple(photo for photo, _ in readable),
        tuple(facts for _, facts in readable),
        tuple(
            {"path": dataset.name_of(photo.path), "kind": result.kind, "text": result.text}
            for photo, result in pairs
            if isinstance(result, PhotoFailure)
        ),
    )


def examine_photos(paths: Sequence[Path]) -> list[PhotoFacts | PhotoFailure]:
    """The facts about each photo, or why it cannot be read, in order. Decodes in threads."""
    results = []
    with photo_progress("examining photos", len(paths)) as advance:
        for result in compute_ahead(examine_photo, paths, ahead=PHOTOS_AHEAD, name="examine"):
            results.append(result)
            advance(1)
    return results


def examine_photo(path: Path) -> PhotoFacts | PhotoFailure:
    """The facts about a file or an object, or why it cannot be read."""
    try:
        photo = read_named(path, max_bytes=MAX_BYTES)
        image = decode_photo(photo.data, SKETCH_SIZE, max_pixels=MAX_PIXELS)
        return PhotoFacts(
            digest=digest_photo(photo.data),
            width=image.width,
            height=image.height,
            sketch=sketch_of(image.pixels),
        )
    except PhotoFailed as error:
        return error.failure
