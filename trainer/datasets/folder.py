"""A folder of labelled photos as it lies on disk, with whatever else is in it: F/{train,val,test}/LABEL or F/LABEL.

Knows nothing of pixels (see looking). Training itself reads folders with `trainer.photos.data`.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tagger.errors import FolderNotFound
from tagger.photos import is_photo_name, path_text
from trainer.errors import DatasetEmpty
from trainer.photos.data import label_folders, photo_paths

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Member:
    """A photo of the folder; `split` is None where label folders lie in the folder itself."""

    path: Path
    split: str | None
    label: str


@dataclass(frozen=True)
class Dataset:
    """What lies in a folder. `splits` is empty where label folders lie in the folder itself; `labels` may have no photos."""

    folder: Path
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    members: tuple[Member, ...]
    not_photos: tuple[Path, ...]
    outside: tuple[Path, ...]
    """Photos in no label's folder."""
    passed_over: tuple[Path, ...]
    """Folders beside the splits."""

    def name_of(self, path: Path) -> str:
        """The path within the folder, for people and for JSON."""
        return path_text(path.relative_to(self.folder).as_posix())[0]


def read_dataset(folder: Path) -> Dataset:
    """Find what is there, label by label, photos in path order; nothing is opened.

    Raises:
        FolderNotFound, DatasetEmpty: there are no photos in label folders.
    """
    if not folder.is_dir():
        raise FolderNotFound(path=folder)
    splits = tuple(split for split in SPLITS if (folder / split).is_dir())
    tops: list[tuple[str | None, Path]] = [(split, folder / split) for split in splits]
    tops = tops or [(None, folder)]
    members = tuple(
        Member(path, split, label.name)
        for split, top in tops
        for label in label_folders(top)
        for path in photo_paths(label)
    )
    if not members:
        raise DatasetEmpty(path=folder, reason="no folder in it holds photos")
    return Dataset(
        folder=folder,
        splits=splits,
        labels=tuple(sorted({label.name for _, top in tops for label in label_folders(top)})),
        members=members,
        not_photos=tuple(
            path for _, top in tops for label in label_folders(top) for path in _not_photos(label)
        ),
        outside=tuple(_photos_in({folder, *(top for _, top in tops)})),
        passed_over=tuple(entry for entry in label_folders(folder) if entry.name not in splits)
        if splits
        else (),
    )


def _not_photos(label: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(label):
        folders[:] = sorted(name for name in folders if name[0] not in ".@")
        yield from (
            Path(parent, name) for name in sorted(names) if name[0] != "." and not is_photo_name(name)
        )


def _photos_in(folders: set[Path]) -> Iterator[Path]:
    for folder in sorted(folders):
        yield from sorted(
            entry for entry in folder.iterdir() if entry.is_file() and is_photo_name(entry.name)
        )
