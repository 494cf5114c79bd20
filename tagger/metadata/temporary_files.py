"""Hidden temporary files beside the files that they will replace: created, locked, checked and removed.

Every writer of a file uses the same temporary name, so writers find each other, and the leftovers of writers
that died. A lock belongs to a file, not to its name. A name may be removed or renamed only by the process
that holds the lock of the file it refers to, and a lock counts only while the name refers to its file. Where
a share has no locks, creating the name takes their place, and a leftover is removed when it is old.
"""

import errno
import fcntl
import hashlib
import os
import re
import stat
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tagger.metadata.errors import RefusalKind, WriteFailed, WriteRefused, translated_os_errors
from tagger.photos.files import OpenFolder, open_folder


@dataclass(frozen=True)
class TemporaryFile:
    """A hidden file, held open and locked even if its name refers to another file meanwhile."""

    folder: OpenFolder
    name: str
    descriptor: int

    def is_at(self, name: str) -> bool:
        """Whether a name in its folder refers to this file."""
        return _refers_to(self.folder, name, self.descriptor)

    def remove(self) -> None:
        """Remove the name if it still refers to this file, and close the file."""
        with suppress(OSError):
            if self.is_at(self.name):
                self.folder.unlink(self.name)
        with suppress(OSError):
            os.close(self.descriptor)


def create_locked(folder: OpenFolder, name: str) -> TemporaryFile:
    """Create the temporary file for a file of a folder; it replaces the leftover of a writer that died.

    Raises:
        WriteRefused: another process is writing the file.
    """
    temporary = temporary_name(name)
    for _ in range(_ATTEMPTS):
        descriptor = _create(folder, temporary)
        if descriptor is not None:
            return TemporaryFile(folder, temporary, descriptor)
        _remove_unlocked(folder, temporary)
    raise WriteRefused(
        RefusalKind.BUSY,
        f"{name!r} is being written by another process of this program. Try again when it has finished.",
    )


def temporary_name(name: str) -> str:
    """The name of the temporary file, which is the same for every writer of the file `name`."""
    return f".tagger-{hashlib.blake2b(os.fsencode(name), digest_size=16).hexdigest()}.part"


def is_being_replaced(descriptor: int) -> bool:
    """Whether another process has just renamed the open file, whose lock it holds until it has checked it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # a share without locks
        return False
    return False


def write_whole(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def check_written(temporary: TemporaryFile, data: bytes) -> None:
    """Read the file back, bypassing the page cache where the system allows this, and compare it.

    Raises:
        WriteFailed: the file differs.
    """
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(temporary.descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    at = 0
    view = memoryview(data)
    descriptor = temporary.folder.open(temporary.name, _READ)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - it is open already
        while piece := file.read(_PIECE_BYTES):
            if piece != view[at : at + len(piece)]:
                break
            at += len(piece)
        has_size = at == len(data) == os.fstat(file.fileno()).st_size
        is_equal = has_size and _refers_to(temporary.folder, temporary.name, file.fileno())
    if not is_equal:
        raise WriteFailed(
            "unreadable",
            "The new file reads back differently, so the photo was left unchanged. Check its disk or share.",
        )


def remove_leftovers(path: Path, root: Path | None = None) -> int:
    """Remove the files that writers left in a folder when they died; return their number. Locked ones stay.

    Raises:
        WriteRefused, WriteFailed: the folder cannot be read.
    """
    with translated_os_errors(path), open_folder(path, root) as folder:
        leftovers = [entry.name for entry in folder.entries() if _LEFTOVER.fullmatch(entry.name)]
        removed = 0
        for leftover in leftovers:
            with suppress(OSError, WriteRefused):
                removed += _remove_unlocked(folder, leftover)
    return removed


def remove_leftover(path: Path, root: Path | None = None) -> None:
    """Remove the temporary file that a writer of `path` left when it died."""
    with suppress(OSError, WriteRefused), open_folder(path.parent, root) as folder:
        _remove_unlocked(folder, temporary_name(path.name))


_READ = os.O_RDONLY | os.O_NONBLOCK
_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL
_EXISTING = os.O_RDWR | os.O_NONBLOCK
_LEFTOVER = re.compile(r"\.tagger-[0-9a-f]{32}\.part")
_ATTEMPTS = 10
_PIECE_BYTES = 1 << 20
# What network shares without locks answer: NFS without lockd, CIFS with `nobrl`, gvfs.
_NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)
# On a share without locks, an older temporary file is a leftover. A slower process finds its file
# gone, and leaves the photo as it is.
_OLD_S = 600.0


def _create(folder: OpenFolder, temporary: str) -> int | None:
    """Create and lock a file. None if it exists, or if another process removes it as a leftover now."""
    try:
        descriptor = folder.open(temporary, _NEW, 0o600)
    except FileExistsError:
        return None
    try:
        if _lock(descriptor) is not False and _refers_to(folder, temporary, descriptor):
            return descriptor
    except OSError:
        with suppress(FileNotFoundError):
            folder.unlink(temporary)
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _remove_unlocked(folder: OpenFolder, leftover: str) -> bool:
    path = folder.path / leftover
    try:
        if not stat.S_ISREG(folder.status(leftover).st_mode):
            raise WriteRefused(
                RefusalKind.BUSY, f"{path} is not a regular file and blocks the write. Remove it."
            )
        descriptor = folder.open(leftover, _EXISTING)
    except FileNotFoundError:
        return False
    except PermissionError as error:
        raise WriteRefused(
            RefusalKind.BUSY,
            f"Another user is writing it, or died while writing. Try again; if {path} remains, remove it.",
        ) from error
    try:
        if _is_abandoned(descriptor) and _refers_to(folder, leftover, descriptor):
            folder.unlink(leftover)
            return True
        return False
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file. False if another process has locked it, None if its share has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):  # some shares raise the latter for a file that is locked
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True


def _is_abandoned(descriptor: int) -> bool:
    """Whether the process that wrote a temporary file has died."""
    is_locked = _lock(descriptor)
    return time.time() - os.fstat(descriptor).st_mtime > _OLD_S if is_locked is None else is_locked


def _refers_to(folder: OpenFolder, name: str, descriptor: int) -> bool:
    try:
        status = folder.status(name)
    except FileNotFoundError:
        return False
    return os.path.samestat(status, os.fstat(descriptor))
