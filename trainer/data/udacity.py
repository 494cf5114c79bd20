"""Udacity's landmark photos, a subset of Google Landmarks v2 with 50 labels: download and unpack the archive.

The archive is not trusted: only photos are unpacked, only below the folder, and only up to a size. An archive with anything
suspicious (paths outside the folder, links, encryption, bombs) is refused before anything is written. A damaged file is detected by
its checksum.
"""

import errno
import hashlib
import json
import logging
import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from itertools import chain
from pathlib import Path, PurePosixPath

from tagger.model.artifact import file_digest
from tagger.photos.photo_names import is_photo_name
from trainer.data.download import RemoteFile, download
from trainer.data.folders import find_labelled_photos
from trainer.data.gazetteer import FILE_NAME
from trainer.data.output_folder import new_folder, require_free_folder, require_space
from trainer.errors import ArchiveRefused, writing_to
from trainer.progress import photo_progress

URL = "https://udacity-dlnfd.s3-us-west-1.amazonaws.com/datasets/landmark_images.zip"
RECORD = "source.json"
GAZETTEER = "udacity-landmarks.csv"

log = logging.getLogger("trainer")

MOST_ENTRIES = 200_000
MOST_BYTES = 20 * 2**30
MOST_RATIO = 50
"""The highest compression ratio. Photos are compressed already, so a higher one means something else."""
LONGEST_PATH = 240
_OTHER_FILES = {"landmarks.csv"}
_JUNK_FOLDERS = {"__macosx"}
_ENCRYPTED = 0x1
_PART_BYTES = 1 << 20
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class ArchiveUnsound(Exception):
    """The reason why an archive is not unpacked, as the end of a sentence."""


@dataclass(frozen=True)
class UdacityFolder:
    """The content of the folder; `existed` tells whether it was complete before."""

    folder: Path
    train: int
    test: int
    labels: int
    existed: bool


@dataclass(frozen=True)
class ArchiveEntry:
    """An archive entry and its path below the folder."""

    info: zipfile.ZipInfo
    path: PurePosixPath


def fetch_udacity(
    out: Path, url: str = URL, *, sha256: str | None = None, waits_s: tuple[float, ...] | None = None
) -> UdacityFolder:
    """Download and unpack the archive to OUT/{train,test}/LABEL, with a landmarks.csv. Does nothing if `out` is complete.

    An archive with another digest than `sha256` is refused.

    Raises:
        DownloadFailed, ArchiveRefused, FolderNotEmpty, NotEnoughSpace, OutputUnwritable: with what to do.
    """
    if (out / RECORD).is_file():
        return _describe(out, existed=True)
    require_free_folder(out)
    archive = out.absolute().with_name(f".{out.name}.download.zip")
    with writing_to(out):
        archive.parent.mkdir(parents=True, exist_ok=True)
    source = _fetch_archive(url, archive, waits_s)
    try:
        digest = _checked_sha256(archive, sha256)
        with new_folder(out) as folder:
            unpack_photos(archive, folder, check_space=lambda needed: require_space(out, needed))
            _check_layout(folder)
            _add_records(folder, source, archive, digest)
    except ArchiveUnsound as error:
        archive.unlink()
        raise ArchiveRefused(url=url, reason=error) from error
    archive.unlink()
    return _describe(out, existed=False)


def _fetch_archive(url: str, archive: Path, waits_s: tuple[float, ...] | None) -> RemoteFile:
    """Download the archive, unless an earlier attempt completed it."""
    if archive.is_file():
        return RemoteFile(url, None, archive.stat().st_size)
    options = {} if waits_s is None else {"waits_s": waits_s}
    # Unpacked photos are about as large as the archive, so twice the space is needed.
    return download(
        url, archive, check_space=lambda size_bytes: require_space(archive.parent, 2 * size_bytes), **options
    )


def _checked_sha256(archive: Path, expected: str | None) -> str:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if expected is None:
        log.info("the archive's SHA-256 is %s; to accept only this one, use --sha256", digest)
    elif digest != expected.lower():
        raise ArchiveUnsound(f"its SHA-256 is {digest}, not {expected.lower()}")
    return digest


def unpack_photos(archive: Path, folder: Path, *, check_space: Callable[[int], None]) -> int:
    """Unpack the photos of `archive` into `folder`, without a top folder that holds everything; returns their number.

    `check_space` is called with the number of bytes that will be written.

    Raises:
        ArchiveUnsound: it is damaged or suspicious. OutputUnwritable, or what `check_space` raises.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            entries = _without_common_folder(photo_entries(file.infolist()))
            check_space(sum(entry.info.file_size for entry in entries))
            with photo_progress("unpacking photos", len(entries)) as advance:
                for entry in entries:
                    _unpack(file, entry, folder)
                    advance(1)
    except _DAMAGE as error:
        raise ArchiveUnsound(f"the archive is damaged ({str(error).rstrip('.')})") from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # EINVAL: zipfile looked for an entry outside the file
            raise
        raise ArchiveUnsound("the archive is damaged (an entry is outside the file)") from error
    return len(entries)


def photo_entries(infos: list[zipfile.ZipInfo]) -> list[ArchiveEntry]:
    """The photos (and landmarks.csv) among an archive's entries; other files are skipped.

    Raises:
        ArchiveUnsound: an entry is suspicious, or there are too many.
    """
    if len(infos) > MOST_ENTRIES:
        raise ArchiveUnsound(f"it has {len(infos)} entries, more than {MOST_ENTRIES}")
    entries, names = [], set()
    for info in infos:
        path = _checked_path(info)
        if info.is_dir() or _is_junk(path):
            continue
        if str(path).casefold() in names:
            raise ArchiveUnsound(f"it has two entries called {_quoted(info)}")
        names.add(str(path).casefold())
        entries.append(ArchiveEntry(info, path))
    _check_sizes(entries)
    return entries


def _checked_path(info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ArchiveUnsound(f"{_quoted(info)} is a link or device")
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveUnsound(f"{_quoted(info)} is encrypted")
    if not name.isprintable() or "\\" in name or ":" in name or len(name) > LONGEST_PATH:
        raise ArchiveUnsound(f"{_quoted(info)} is not a portable file name")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArchiveUnsound(f"{_quoted(info)} is outside the folder")
    return path


def _is_junk(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part.casefold() in _JUNK_FOLDERS for part in path.parts)
    return hidden or not (is_photo_name(path.name) or path.name in _OTHER_FILES)


def _check_sizes(entries: list[ArchiveEntry]) -> None:
    size = sum(entry.info.file_size for entry in entries)
    packed = sum(entry.info.compress_size for entry in entries)
    if size > MOST_BYTES:
        raise ArchiveUnsound(f"it would unpack to {size} bytes, more than {MOST_BYTES}")
    if size > MOST_RATIO * max(packed, 1):
        raise ArchiveUnsound(
            f"it would unpack to {size // max(packed, 1)} times its size, which photos never do"
        )


def _without_common_folder(entries: list[ArchiveEntry]) -> list[ArchiveEntry]:
    """Remove a top folder that holds everything: `landmark_images/train/…` becomes `train/…`."""
    tops = {entry.path.parts[0] for entry in entries}
    if (
        len(tops) != 1
        or any(len(entry.path.parts) < 3 for entry in entries)
        or tops <= {"train", "val", "test"}
    ):
        return entries
    return [ArchiveEntry(entry.info, PurePosixPath(*entry.path.parts[1:])) for entry in entries]


def _unpack(archive: zipfile.ZipFile, entry: ArchiveEntry, folder: Path) -> None:
    """Write one file. zipfile limits it to the declared size and verifies the checksum at its end."""
    target = folder / entry.path
    with archive.open(entry.info) as packed:
        parts = iter(lambda: packed.read(_PART_BYTES), b"")
        first = next(parts, b"")  # errors of the archive occur outside `writing_to`
        with writing_to(folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("xb")
        with out:
            for part in chain([first], parts):
                with writing_to(folder):
                    out.write(part)


def _quoted(info: zipfile.ZipInfo) -> str:
    return repr(info.filename[:80])


def _check_layout(folder: Path) -> None:
    if not find_labelled_photos(folder / "train"):
        raise ArchiveUnsound("it has no train/LABEL/photo.jpg")


def _add_records(folder: Path, source: RemoteFile, archive: Path, sha256: str) -> None:
    """Write the gazetteer, unless the archive has one, and a record of the source."""
    record = {
        "url": source.url,
        "size_bytes": archive.stat().st_size,
        "digest": file_digest(archive),
        "sha256": sha256,
    }
    with writing_to(folder):
        if not (folder / FILE_NAME).exists():
            (folder / FILE_NAME).write_bytes(files("trainer.data").joinpath(GAZETTEER).read_bytes())
        (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def _describe(out: Path, *, existed: bool) -> UdacityFolder:
    train, test = find_labelled_photos(out / "train"), find_labelled_photos(out / "test")
    labels = {photo.label for photo in (*train, *test)}
    return UdacityFolder(out, len(train), len(test), len(labels), existed)
