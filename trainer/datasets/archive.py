"""Photos out of a zip archive that nobody vouches for: only what is a photo, only below the folder, only so much.

An archive that tries anything else (paths that lead out, links, encryption, bombs) is refused as a whole, before
anything of it is written; a broken one when that shows, as each file is checked against its checksum on the way.
"""

import stat
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path, PurePosixPath

from tagger.photos import is_photo_name
from trainer.errors import writing_to
from trainer.progress import photo_progress

MOST_ENTRIES = 200_000
MOST_BYTES = 20 * 2**30
MOST_RATIO = 50
"""Photos are compressed already; what unpacks to so many times its size is no archive of photos."""
LONGEST_PATH = 240
_KNOWN_NAMES = {"landmarks.csv"}
_JUNK_FOLDERS = {"__macosx"}
_ENCRYPTED = 0x1
_PART_BYTES = 1 << 20


class ArchiveUnsound(Exception):
    """Why an archive is not unpacked, in words that end a sentence."""


@dataclass(frozen=True)
class Entry:
    """A file to unpack and where to, below the folder."""

    info: zipfile.ZipInfo
    path: PurePosixPath


def unpack_photos(archive: Path, folder: Path, *, check_room: Callable[[int], None]) -> int:
    """Unpack the photos of `archive` into `folder`, without a folder that holds all of them; returns how many.

    `check_room` is called with the bytes that will be written.

    Raises:
        ArchiveUnsound: it is broken, or holds what no archive of photos does. OutputUnwritable, or what `check_room` raises.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = _without_common_folder(photo_entries(opened.infolist()))
            check_room(sum(entry.info.file_size for entry in entries))
            with photo_progress("unpacking photos", len(entries)) as advance:
                for entry in entries:
                    _unpack(opened, entry, folder)
                    advance(1)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise ArchiveUnsound(f"the archive is broken ({str(error).rstrip('.')})") from error
    return len(entries)


def photo_entries(infos: list[zipfile.ZipInfo]) -> list[Entry]:
    """The photos (and landmarks.csv) among an archive's entries; all other files are passed over.

    Raises:
        ArchiveUnsound: an entry that no honest archive has, or more than is reasonable.
    """
    if len(infos) > MOST_ENTRIES:
        raise ArchiveUnsound(f"it has {len(infos)} entries, more than {MOST_ENTRIES}")
    entries, seen = [], set()
    for info in infos:
        path = _checked_path(info)
        if info.is_dir() or _is_junk(path):
            continue
        if str(path).casefold() in seen:
            raise ArchiveUnsound(f"it has two entries called {_shown(info)}")
        seen.add(str(path).casefold())
        entries.append(Entry(info, path))
    _check_sizes(entries)
    return entries


def _checked_path(info: zipfile.ZipInfo) -> PurePosixPath:
    name = info.filename
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise ArchiveUnsound(f"{_shown(info)} is a link or device")
    if info.flag_bits & _ENCRYPTED:
        raise ArchiveUnsound(f"{_shown(info)} is encrypted")
    if not name.isprintable() or "\\" in name or ":" in name or len(name) > LONGEST_PATH:
        raise ArchiveUnsound(f"{_shown(info)} is no name for a file everywhere")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ArchiveUnsound(f"{_shown(info)} leads out of the folder")
    return path


def _is_junk(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part.casefold() in _JUNK_FOLDERS for part in path.parts)
    return hidden or not (is_photo_name(path.name) or path.name in _KNOWN_NAMES)


def _check_sizes(entries: list[Entry]) -> None:
    size = sum(entry.info.file_size for entry in entries)
    packed = sum(entry.info.compress_size for entry in entries)
    if size > MOST_BYTES:
        raise ArchiveUnsound(f"it would unpack to {size} bytes, more than {MOST_BYTES}")
    if size > MOST_RATIO * max(packed, 1):
        raise ArchiveUnsound(f"it would unpack to {size // max(packed, 1)} times its size, as no photos do")


def _without_common_folder(entries: list[Entry]) -> list[Entry]:
    """`landmark_images/train/…` is `train/…`, if everything lies in that one folder."""
    tops = {entry.path.parts[0] for entry in entries}
    if (
        len(tops) != 1
        or any(len(entry.path.parts) < 3 for entry in entries)
        or tops <= {"train", "val", "test"}
    ):
        return entries
    return [Entry(entry.info, PurePosixPath(*entry.path.parts[1:])) for entry in entries]


def _unpack(opened: zipfile.ZipFile, entry: Entry, folder: Path) -> None:
    """Write one file; no more comes out than the size named, and the checksum is looked at where it ends."""
    target = folder / entry.path
    with opened.open(entry.info) as packed:
        parts = iter(lambda: packed.read(_PART_BYTES), b"")
        first = next(parts, b"")  # what is broken shows here or below, and is no trouble of the disk's
        with writing_to(folder):
            target.parent.mkdir(parents=True, exist_ok=True)
            out = target.open("xb")
        with out:
            for part in chain([first], parts):
                with writing_to(folder):
                    out.write(part)


def _shown(info: zipfile.ZipInfo) -> str:
    return repr(info.filename[:80])
