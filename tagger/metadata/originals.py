"""The file that is to be replaced: read whole, and known again afterwards."""

import fcntl
import os
import signal
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tagger.metadata.refusals import RefusalKind, WriteRefused
from tagger.metadata.trouble import WriteFailed, explained


@dataclass(frozen=True)
class Original:
    """A file as it was read before writing; `data` and `status` are None where there was none."""

    path: Path
    data: bytes | None
    status: os.stat_result | None


def read_for_writing(path: Path, *, max_bytes: int) -> Original:
    """Read a file that is to be replaced, or find that there is none yet.

    Raises:
        WriteRefused: a link or one of several names, no regular file, write-protected (whoever asks), too large, or
            just being changed.
        WriteFailed: it cannot be read.
    """
    with explained(path):
        try:
            status = path.lstat()
        except FileNotFoundError:
            return Original(path, None, None)
        _check_writable(path, status, max_bytes)
        descriptor = os.open(path, _READ)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - it is open already
            before = os.fstat(descriptor)
            _check_writable(path, before, max_bytes)
            data = file.read(before.st_size + 1)
            after = os.fstat(descriptor)
    if _identity(before) != _identity(after) or len(data) != before.st_size:
        raise busy(path)
    return Original(path, data, before)


@contextmanager
def still_the_same(path: Path, known: os.stat_result | None) -> Iterator[int | None]:
    """The file at `path`, open, if it is still the one that was `known` when it was read, and nobody has it open for writing.

    Raises:
        WriteRefused: it was changed, or is being changed.
        WriteFailed: it is gone.
    """
    descriptor = _open_if_there(path)
    try:
        if descriptor is not None:
            _check_same(path, known, descriptor)
        elif known is not None:
            raise WriteFailed("gone", f"{path.name!r} is not there any more. Scan the folder again.")
        yield descriptor
    finally:
        if descriptor is not None:
            os.close(descriptor)


def busy(path: Path) -> WriteRefused:
    """What is raised where another program has the file in hand."""
    return WriteRefused(
        RefusalKind.BUSY,
        f"{path.name!r} is being written by another program. Try again when it has finished.",
    )


_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ANY_WRITER = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_SHARES = ("nfs", "cifs", "smb")


def _check_writable(path: Path, status: os.stat_result, max_bytes: int) -> None:
    name = path.name
    if stat.S_ISLNK(status.st_mode):
        raise WriteRefused(RefusalKind.LINK, f"{name!r} is a link. Name the file that it leads to.")
    if not stat.S_ISREG(status.st_mode):
        raise WriteRefused(RefusalKind.FORMAT, f"{name!r} is not a file. Rename or remove it.")
    if status.st_nlink > 1:
        raise WriteRefused(
            RefusalKind.LINK,
            f"The file {name!r} has {status.st_nlink} names (hard links), which writing would part. "
            "Copy it, or write a sidecar.",
        )
    # Root may write everything; who protects a file means it all the same.
    if not status.st_mode & _ANY_WRITER or not _may_write(path):
        raise WriteRefused(
            RefusalKind.READ_ONLY,
            f"{name!r} is write-protected. Give this user the right to write it, or write a sidecar.",
        )
    if status.st_size > max_bytes:
        raise WriteRefused(
            RefusalKind.TOO_LARGE,
            f"{name!r} has {status.st_size} bytes, more than the limit of {max_bytes}. "
            "Write a sidecar, or raise the limit if this machine has the memory for it.",
        )


def _may_write(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=os.access in os.supports_effective_ids)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """What differs when a file was exchanged, written to, or given other rights or attributes."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _open_if_there(path: Path) -> int | None:
    try:
        return os.open(path, _READ)
    except FileNotFoundError:
        return None


def _check_same(path: Path, known: os.stat_result | None, descriptor: int) -> None:
    status = os.fstat(descriptor)
    if known is None or _identity(status) != _identity(known):
        raise WriteRefused(
            RefusalKind.CHANGED,
            f"{path.name!r} was changed since it was read. Tag it again, then write.",
        )
    if _is_being_written(descriptor, status):
        raise busy(path)


def _is_being_written(descriptor: int, status: os.stat_result) -> bool:
    """Whether a program on this machine has the file open for writing; only Linux says so, by refusing a lease."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Whoever opens the file at this very moment breaks the lease: by default with a signal that ends this process.
        fcntl.fcntl(descriptor, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except BlockingIOError:
        return not _is_on_share(status)
    except OSError:
        pass  # Not this user's file, or a file system without leases.
    return False


def _is_on_share(status: os.stat_result) -> bool:
    """Whether a file comes over the network, where a lease is refused for reasons of the server's too."""
    device = f"{os.major(status.st_dev)}:{os.minor(status.st_dev)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_bytes().splitlines()
    except OSError:
        return False
    for mount in mounts:
        fields, _, kind = mount.decode(errors="replace").partition(" - ")
        if fields.split()[2:3] == [device]:
            return kind.startswith(_SHARES)
    return False
