"""Reading a whole photo within limits, or failing it alone."""

import errno
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from tagger.errors import FailureKind, PhotoFailed

READ_ATTEMPTS = 3
SETTLE_S = 0.1
LATEST_NS = 2**63 - 1
"""What SQL holds; a file system can say a later time (it would be after the year 2262)."""


@dataclass(frozen=True)
class PhotoBytes:
    """A whole photo, and the size and time that belong to these very bytes."""

    data: bytes
    size_bytes: int
    mtime_ns: int


def read_photo(path: Path, *, max_bytes: int) -> PhotoBytes:
    """Read one whole photo, or fail it alone.

    Raises:
        PhotoFailed: gone, unreadable, empty, too large, or still being written.
    """
    try:
        for attempt in range(READ_ATTEMPTS):
            if attempt:
                time.sleep(attempt * SETTLE_S)
            photo = _read_once(path, max_bytes)
            if photo is not None:
                return photo
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PhotoFailed(
            FailureKind.GONE, "There is no such file any more. If it was moved, tag the folder it is in now."
        ) from error
    except OSError as error:
        raise PhotoFailed(FailureKind.UNREADABLE, os_text("The file", error)) from error
    raise PhotoFailed(
        FailureKind.UNREADABLE, "The file changes while being read. Try again when copying has finished."
    )


def _read_once(path: Path, max_bytes: int) -> PhotoBytes | None:
    """Read the file; None if it was changed meanwhile."""
    # A pipe must not hold up a reader until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - it is open already
        before = os.fstat(descriptor)
        _check_readable(before, max_bytes)
        data = file.read(before.st_size + 1) or b""
        while len(data) < before.st_size and (more := file.read(before.st_size - len(data))):
            data += more
        after = os.fstat(descriptor)
    if (len(data), after.st_size, after.st_mtime_ns) != (before.st_size, before.st_size, before.st_mtime_ns):
        return None
    return PhotoBytes(data, before.st_size, stored_time_ns(before))


def stored_time_ns(status: os.stat_result) -> int:
    """A file's time of change as it is kept and compared."""
    return max(-LATEST_NS, min(LATEST_NS, status.st_mtime_ns))


def _check_readable(known: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(known.st_mode):
        what = "a folder" if stat.S_ISDIR(known.st_mode) else "a pipe, socket or device"
        raise PhotoFailed(FailureKind.UNREADABLE, f"It is {what} and not a file. Rename or remove it.")
    if known.st_size == 0:
        raise PhotoFailed(
            FailureKind.EMPTY, "The file has no content (0 bytes). Copy it again from where it came from."
        )
    if known.st_size > max_bytes:
        raise PhotoFailed(
            FailureKind.TOO_LARGE,
            f"The file has {known.st_size} bytes, more than the limit of {max_bytes}. "
            "Save it smaller, or raise the limit if this machine has the memory for it.",
        )


def os_text(what: str, error: OSError) -> str:
    """What the system says of an error, and what a person can do about it."""
    remedy = {
        errno.EACCES: "Give this user the right to read it.",
        errno.EPERM: "Give this user the right to read it.",
        errno.ELOOP: "It is a link that leads back to itself; remove it.",
        errno.EISDIR: "Name the folder to `tagger tag` instead.",
        errno.EIO: "Check the disk or the network share it is on.",
    }.get(error.errno or 0, "Check the disk or share it is on and try again.")
    return f"{what} cannot be read ({(error.strerror or str(error)).lower()}). {remedy}"
