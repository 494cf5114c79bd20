"""The files of Google Landmarks v2 as they are published: lists in CSV, and tar archives with their MD5 checksums.

Archives are streamed: nothing is unpacked, and each is read once, for its checksum too.
"""

import csv
import hashlib
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar
from urllib.parse import unquote

import numpy as np
import numpy.typing as npt

from trainer.data.folders import MAX_BYTES, open_csv
from trainer.errors import DataFileInvalid

CLEAN_LIST, FULL_LIST = "train_clean.csv", "train.csv"
CATEGORIES = "train_label_to_category.csv"
USAGES = ("Public", "Private")
"""The two parts of the test photos. A row of the solution with any other usage does not count."""
ID_LENGTH = 16
DOWNLOAD_AGAIN = "It has to be one of Google Landmarks v2: download it again"
Row = TypeVar("Row")
PhotoIds = npt.NDArray[np.bytes_]  # S16 (N,)
Solution = dict[str, frozenset[int]]
"""The landmarks that each photo shows, by photo id; none for ordinary photos."""

_LONGEST_CELL = 1 << 24
"""Characters. A landmark's photos may need more than the 131,072 that csv reads by default."""
_PHOTO = re.compile(r"(?:\./)?(.)/(.)/(.)/(\1\2\3[0-9A-Za-z]{13})\.jpg")
"""Matches the path of a photo in an archive, a/b/c/ID.jpg, where a, b and c are the first characters of ID."""
_PART_BYTES = 1 << 20


@dataclass(frozen=True)
class PhotoLabels:
    """The photos for training, in the order of their ids, and the landmark that each shows."""

    ids: PhotoIds
    landmark_ids: npt.NDArray[np.int32]  # (N,)

    @property
    def digest(self) -> str:
        """Identifies the list."""
        return hashlib.sha256(self.ids.tobytes() + self.landmark_ids.tobytes()).hexdigest()

    def has(self, photo_id: bytes) -> bool:
        """Whether the photo is listed."""
        row = int(np.searchsorted(self.ids, photo_id))
        return row < len(self.ids) and bool(self.ids[row] == photo_id)

    def landmarks_of(self, ids: PhotoIds) -> npt.NDArray[np.int32]:
        """The landmarks (N,) of listed photos."""
        return self.landmark_ids[np.searchsorted(self.ids, ids)]


class ArchiveDamaged(Exception):
    """The reason why the photos of an archive cannot be used, as the end of a sentence."""


def read_labels(folder: Path) -> PhotoLabels:
    """Read the cleaned list of training photos, or the full one if `folder` has no cleaned one.

    Raises:
        DataFileInvalid: neither is there, or it is damaged.
    """
    path = folder / CLEAN_LIST
    if path.is_file():
        rows = _read_rows(path, lambda row: (np.int32(row["landmark_id"]), row["images"].split()))
    else:
        path = folder / FULL_LIST
        rows = _read_rows(path, lambda row: (np.int32(row["landmark_id"]), [row["id"]]))
    ids, landmarks = list[str](), list[np.int32]()
    for landmark_id, photo_ids in rows:
        ids += photo_ids
        landmarks += [landmark_id] * len(photo_ids)
    if not ids or any(len(photo_id) != ID_LENGTH or not photo_id.isascii() for photo_id in ids):
        raise DataFileInvalid(
            remedy=DOWNLOAD_AGAIN, path=path, reason=f"its photo ids do not all have {ID_LENGTH} characters"
        )
    return _ordered(ids, landmarks)


def listed_photos(photo_ids: Iterable[str]) -> PhotoLabels:
    """Photos of unknown landmarks."""
    ids = list(photo_ids)
    return _ordered(ids, [np.int32(-1)] * len(ids))


def _ordered(photo_ids: Sequence[str], landmark_ids: Sequence[np.int32]) -> PhotoLabels:
    ids = np.array(photo_ids, dtype=f"S{ID_LENGTH}")
    order = ids.argsort(kind="stable")
    return PhotoLabels(ids[order], np.array(landmark_ids, dtype=np.int32)[order])


def read_names(folder: Path) -> dict[int, str]:
    """Read the names of the landmarks, by landmark id: their categories in Wikimedia Commons.

    Raises:
        DataFileInvalid: the file is missing or damaged.
    """
    return dict(
        _read_rows(
            folder / CATEGORIES,
            lambda row: (int(row["landmark_id"]), _name_of(row["category"])),
        )
    )


def _name_of(category: str) -> str:
    """`http://commons.wikimedia.org/wiki/Category:Ch%C3%A2teau_de_Chillon` → `Château de Chillon`."""
    return unquote(category).rpartition("Category:")[2].replace("_", " ").strip()


def read_solution(path: Path) -> dict[str, Solution]:
    """Read the landmarks of the test photos from `recognition_solution_v2.1.csv`, for each usage.

    Raises:
        DataFileInvalid: the file is missing or damaged.
    """
    rows = list(
        _read_rows(path, lambda row: (row["Usage"], row["id"], frozenset(map(int, row["landmarks"].split()))))
    )
    return {usage: {photo_id: shown for each, photo_id, shown in rows if each == usage} for usage in USAGES}


def _read_rows(path: Path, parse: Callable[[dict[str, str]], Row]) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    with open_csv(path, DOWNLOAD_AGAIN) as rows:
        for number, row in enumerate(rows, start=2):
            try:
                yield parse(row)
            except (KeyError, AttributeError, ValueError, OverflowError) as error:
                raise DataFileInvalid(
                    remedy=DOWNLOAD_AGAIN, path=path, reason=f"row {number} is damaged ({error})"
                ) from error


def find_archives(folder: Path) -> list[Path]:
    """The archives in `folder`, images_000.tar and so on, in order."""
    return sorted(folder.glob("images_[0-9][0-9][0-9].tar"))


def published_checksum(archive: Path) -> str:
    """The MD5 that `md5.images_000.txt` beside `images_000.tar` names.

    Raises:
        ArchiveDamaged: there is no such file, or it names none.
    """
    file = archive.with_name(f"md5.{archive.stem}.txt")
    try:
        checksum = file.read_text(encoding="ascii").partition(" ")[0].strip().lower()
    except (OSError, ValueError):
        checksum = ""
    if not re.fullmatch("[0-9a-f]{32}", checksum):
        raise ArchiveDamaged(f"{file.name} with its checksum is not beside it")
    return checksum


def read_archive(archive: Path, is_needed: Callable[[bytes], bool]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the id and the content of each needed photo, in the order of the archive.

    Links, other files, and photos that are larger than the tagger reads are left out.

    Raises:
        ArchiveDamaged: the archive is damaged or has another checksum, perhaps after the last photo: forget all of them.
        OSError: it cannot be read.
    """
    expected = published_checksum(archive)
    with archive.open("rb") as file:
        hashed = _HashedFile(file)
        try:
            with tarfile.open(fileobj=hashed, mode="r|", bufsize=_PART_BYTES) as entries:  # type: ignore[call-overload]
                for entry in entries:
                    photo = (
                        _PHOTO.fullmatch(entry.name) if entry.isreg() and entry.size <= MAX_BYTES else None
                    )
                    content = entries.extractfile(entry) if photo and is_needed(photo[4].encode()) else None
                    if photo and content:
                        yield photo[4].encode(), content.read()
        except tarfile.TarError as error:
            raise ArchiveDamaged(f"it is damaged or incomplete ({error})") from error
        while hashed.read(_PART_BYTES):  # what follows the last entry
            pass
    if (checksum := hashed.md5.hexdigest()) != expected:
        raise ArchiveDamaged(f"its MD5 is {checksum} and not {expected}")


class _HashedFile:
    """Reads a file, and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.md5 = hashlib.md5(usedforsecurity=False)

    def read(self, size_bytes: int) -> bytes:
        part = self._file.read(size_bytes)
        self.md5.update(part)
        return part
