"""Labelled photos in folders, `F/{train,val,test}/LABEL/photo.jpg`: finding them and saying what is missing.

Knows nothing of pixels (see decoding) or of what a label stands for (see gazetteer).
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from tagger.errors import FolderNotFound
from tagger.photos import FolderProblem, find_photos
from trainer.errors import DataIncomplete, LabelEmpty

log = logging.getLogger("trainer")


@dataclass(frozen=True)
class LabelledPhoto:
    """A photo and the label it was put under; None: an ordinary photo."""

    path: Path
    label: str | None


@dataclass(frozen=True)
class TrainingFolder:
    """The photos to learn from. `val` is empty where the folder has none of its own, and is split off `train` later."""

    labels: tuple[str, ...]
    train: tuple[LabelledPhoto, ...]
    val: tuple[LabelledPhoto, ...]


def read_training_folder(folder: Path) -> TrainingFolder:
    """Find the labels and photos of `folder`; the order is by label, then by path.

    Raises:
        FolderNotFound, DataIncomplete, LabelEmpty: with what to change in the folder.
    """
    if not folder.is_dir():
        raise FolderNotFound(path=folder)
    if not (folder / "train").is_dir():
        raise DataIncomplete(path=folder, reason="it has no folder train/")
    labels = tuple(entry.name for entry in label_folders(folder / "train"))
    if len(labels) < 2:
        raise DataIncomplete(path=folder, reason=f"train/ has {len(labels)} label folders")
    train = find_labelled_photos(folder / "train")
    _require_photos(folder / "train", labels, train)
    val = tuple(photo for photo in find_labelled_photos(folder / "val") if photo.label in labels)
    return TrainingFolder(labels, train, val)


def label_folders(split: Path) -> list[Path]:
    """The folders directly in `split`, hidden ones and those of file servers left out."""
    if not split.is_dir():
        return []
    return sorted(entry for entry in split.iterdir() if entry.is_dir() and entry.name[0] not in ".@")


def find_labelled_photos(split: Path) -> tuple[LabelledPhoto, ...]:
    """Every photo under the label folders of `split`."""
    return tuple(
        LabelledPhoto(path, folder.name) for folder in label_folders(split) for path in photo_paths(folder)
    )


def find_ordinary_photos(folder: Path) -> tuple[LabelledPhoto, ...]:
    """Every photo under `folder`, at any depth, as one that shows none of the landmarks."""
    if not folder.is_dir():
        raise FolderNotFound(path=folder)
    return tuple(LabelledPhoto(path, None) for path in photo_paths(folder))


def photo_paths(folder: Path) -> list[Path]:
    """The photos under `folder` at any depth, in path order."""
    paths = []
    for found in find_photos(folder):
        if isinstance(found, FolderProblem):
            log.warning("left out: %s (%s)", found.path, found.text)
        else:
            paths.append(found.path)
    return paths


def _require_photos(split: Path, labels: tuple[str, ...], photos: tuple[LabelledPhoto, ...]) -> None:
    seen = {photo.label for photo in photos}
    for label in labels:
        if label not in seen:
            raise LabelEmpty(path=split / label)
