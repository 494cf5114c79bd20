"""The hidden files in which new bytes wait beside the file they are to replace: made, locked, checked, cleared away."""

import fcntl
import hashlib
import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.trouble import WriteFailed, explained


@dataclass(frozen=True)
class Temporary:
    """A hidden file, open and locked by this process, whatever its name leads to meanwhile."""

    path: Path
    descriptor: int

    def is_at(self, path: Path) -> bool:
        """Whether a name leads to this very file."""
        return _leads_to(path, self.descriptor)

    def remove(self) -> None:
        """Take the name away if it still leads here, and let go of the file."""
        with suppress(OSError):
            if self.is_at(self.path):
                self.path.unlink()
        with suppress(OSError):
            os.close(self.descriptor)


def temporary_of(path: Path) -> Path:
    """The same for every writer of a file, so that they find each other and what those left that died."""
    name = hashlib.blake2b(os.fsencode(path.name), digest_size=16).hexdigest()
    return path.with_name(f".tagger-{name}.part")


def locked_new(path: Path) -> Temporary:
    """A new temporary file for the file `path`, in place of what a writer that died may have left.

    A lock is of the file, not of its name: a name may be removed or renamed only by who holds the lock of the file it
    leads to, and a lock counts only while the name leads to its file.
    """
    temporary = temporary_of(path)
    for _ in range(_ATTEMPTS):
        descriptor = _new_or_none(temporary)
        if descriptor is not None:
            return Temporary(temporary, descriptor)
        _remove_leftover(temporary)
    raise WriteRefused(
        RefusalKind.BUSY,
        f"{path.name!r} is being written by another process of this program. Try again when that has finished.",
    )


def write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def to_disk(descriptor: int) -> None:
    # On macOS fsync leaves it in the disk's own cache.
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    os.fsync(descriptor)


def check_written(temporary: Temporary, data: bytes) -> None:
    """Read it back from the disk, not from memory where the system lets one choose."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(temporary.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    at = 0
    view = memoryview(data)
    with open(os.open(temporary.path, _READ), "rb", buffering=0) as file:  # noqa: PTH123 - it must be no link
        while piece := file.read(_PIECE_BYTES):
            if piece != view[at : at + len(piece)]:
                break
            at += len(piece)
        whole = at == len(data) == os.fstat(file.fileno()).st_size and _leads_to(
            temporary.path, file.fileno()
        )
    if not whole:
        raise WriteFailed(
            "unreadable",
            "What was written reads back differently, so the file was left as it is. Check the disk or share it is on.",
        )


def clear_leftovers(folder: Path) -> int:
    """Remove what writers that died left in a folder, and say how many files that were; those at work are let be.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be looked into.
    """
    with explained(folder), os.scandir(folder) as entries:
        found = [Path(entry) for entry in entries if _LEFTOVER.fullmatch(entry.name)]
    removed = 0
    for leftover in found:
        with suppress(OSError, WriteRefused):
            removed += _remove_leftover(leftover)
    return removed


def clear_leftover(path: Path) -> None:
    """Remove what a writer of this one file that died left beside it."""
    with suppress(OSError, WriteRefused):
        _remove_leftover(temporary_of(path))


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_EXISTING = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_LEFTOVER = re.compile(r"\.tagger-[0-9a-f]{32}\.part")
_ATTEMPTS = 10
_PIECE_BYTES = 1 << 20


def _new_or_none(temporary: Path) -> int | None:
    """A new locked file; None if there is one, or if another process took this one for a leftover just now."""
    try:
        descriptor = os.open(temporary, _NEW, 0o600)
    except FileExistsError:
        return None
    try:
        if _lock(descriptor) and _leads_to(temporary, descriptor):
            return descriptor
    except OSError:
        temporary.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_leftover(leftover: Path) -> bool:
    try:
        if not stat.S_ISREG(leftover.lstat().st_mode):
            raise WriteRefused(RefusalKind.BUSY, f"What is at {leftover} is in the way. Remove it.")
        descriptor = os.open(leftover, _EXISTING)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise WriteRefused(
            RefusalKind.BUSY,
            f"Another user is writing it, or died at that. Try again; if {leftover} stays, remove it.",
        ) from error
    try:
        if _lock(descriptor) and _leads_to(leftover, descriptor):
            leftover.unlink()
            return True
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # the latter is how some shares say it
        return False
    return True


def _leads_to(path: Path, descriptor: int) -> bool:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(descriptor))
