"""Reads whole files within limits. A file that cannot be read fails alone."""

import errno
import io
import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from tagger.errors import BUSY_ERRNOS, UNREACHABLE_ERRNOS, FailureKind, PhotoFailed
from tagger.photos.folders import LinkRefused, open_photo

READ_ATTEMPTS = 3
RETRY_PAUSE_S = 0.1
# The largest time that SQL stores. File systems can report later ones (after the year 2262).
MAX_TIME_NS = 2**63 - 1


@dataclass(frozen=True)
class PhotoVersion:
    """Identifies the content of a file without reading it: if the file changes, so does its version."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class PhotoBytes:
    """A whole photo, with the size and modification time of exactly these bytes."""

    data: bytes
    size_bytes: int
    mtime_ns: int

    @property
    def version(self) -> PhotoVersion:
        return PhotoVersion(self.size_bytes, self.mtime_ns)


_GONE_TEXT = "There is no such file any more. If it was moved, tag the folder it is in now."
_NEVER_TEXT = "There is no such file. Check the name, and that its disk or share is there."


def read_photo(path: Path, *, max_bytes: int, settle_s: float = 0.0, root: Path | None = None) -> PhotoBytes:
    """Read one whole file, unless it changed less than `settle_s` ago.

    In a `root`, links are followed as by `open_photo`; without one, all are: the user named the file.

    Raises:
        PhotoFailed: it is gone, unreadable or unreachable, empty, too large, or still being written
        (`settling`).
    """
    try:
        for attempt in range(READ_ATTEMPTS):
            if attempt:
                time.sleep(attempt * RETRY_PAUSE_S)
            photo = _read_once(path, max_bytes, settle_s, root)
            if photo is not None:
                return photo
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PhotoFailed(FailureKind.GONE, _NEVER_TEXT if root is None else _GONE_TEXT) from error
    except OSError as error:
        can_pass = error.errno in UNREACHABLE_ERRNOS | BUSY_ERRNOS
        kind = FailureKind.UNREACHABLE if can_pass else FailureKind.UNREADABLE
        raise PhotoFailed(kind, os_error_text("The file", error)) from error
    raise PhotoFailed(FailureKind.SETTLING, _SETTLING_TEXT)


def file_version(path: Path) -> PhotoVersion | None:
    """Return the version of a file; None if the file cannot be accessed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return PhotoVersion(status.st_size, stored_time_ns(status))


def stored_time_ns(status: os.stat_result) -> int:
    """Return a file's modification time, limited to the range that SQL stores."""
    return max(-MAX_TIME_NS, min(MAX_TIME_NS, status.st_mtime_ns))


def os_error_text(subject: str, error: OSError) -> str:
    """Describe an error of the operating system and what to do about it."""
    if isinstance(error, LinkRefused):
        return str(error.strerror)
    remedy = {
        errno.EACCES: "Give this user the right to read it.",
        errno.EPERM: "Give this user the right to read it.",
        errno.ELOOP: "It is a link that leads back to itself; remove it.",
        errno.EISDIR: "Name the folder to `tagger tag` instead.",
    }.get(error.errno or 0, "Check the disk or share it is on and try again.")
    if error.errno in UNREACHABLE_ERRNOS:
        remedy = "Its disk fails, or its share or server does not answer: check it, and mount it again."
    elif error.errno in BUSY_ERRNOS:
        remedy = "Another program uses it, or the system is short of memory, files or disk space. Try again."
    return f"{subject} cannot be read ({(error.strerror or str(error)).lower()}). {remedy}"


_SETTLING_TEXT = (
    "The file is still being written: it kept changing while it was to be read. "
    "When copying has finished, tag its folder again, or run: tagger job retry --kind settling."
)


def open_at_once(name: str, flags: int) -> int:
    """Open a file for `open`. Without O_NONBLOCK, opening a pipe would wait for a writer."""
    return os.open(name, flags | os.O_NONBLOCK)


def open_regular(path: Path) -> io.BufferedReader:
    """Open a file to read its bytes.

    Raises:
        OSError: it cannot be opened, or is a pipe or a device, which could be read for ever.
    """
    file = open(path, "rb", opener=open_at_once)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is a pipe or a device, and not a file", str(path))
    return file


def _read_once(path: Path, max_bytes: int, settle_s: float, root: Path | None) -> PhotoBytes | None:
    """Read the file; None if it changed or was replaced meanwhile."""

    def open_inside(name: str, flags: int) -> int:
        return open_at_once(name, flags) if root is None else open_photo(path, root)

    with open(path, "rb", buffering=0, opener=open_inside) as file:
        descriptor = file.fileno()
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            what = "a folder" if stat.S_ISDIR(before.st_mode) else "a pipe, socket or device"
            raise PhotoFailed(FailureKind.UNREADABLE, f"It is {what} and not a file. Rename or remove it.")
        if _changed_within(before, settle_s):
            raise PhotoFailed(FailureKind.SETTLING, _SETTLING_TEXT)
        check_size(before.st_size, max_bytes)
        data = file.read(before.st_size + 1) or b""
        while len(data) < before.st_size and (part := file.read(before.st_size - len(data))):
            data += part
        after = os.fstat(descriptor)
    # By path too: another file may have taken the name, and a share can report the old state of an open file.
    now_there = os.stat(path)  # noqa: PTH116 - like the calls around it
    version = (before.st_size, before.st_mtime_ns)
    if len(data) != before.st_size or any(
        version != (status.st_size, status.st_mtime_ns) for status in (after, now_there)
    ):
        return None
    return PhotoBytes(data, before.st_size, stored_time_ns(before))


def _changed_within(status: os.stat_result, seconds: float) -> bool:
    """Whether the file changed in the last seconds.

    The change time counts too: programs that copy a file with its modification time set that at the end.
    Times further in the future than `seconds` do not count: they come from a wrong clock, and waiting for it
    could take years.
    """
    now_ns = time.time_ns()
    return any(abs(now_ns - time_ns) < seconds * 1e9 for time_ns in (status.st_mtime_ns, status.st_ctime_ns))


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Raises:
    PhotoFailed: a photo of this size is not read.
    """
    if size_bytes == 0:
        raise PhotoFailed(
            FailureKind.EMPTY, "The file has no content (0 bytes). Copy it again from where it came from."
        )
    if size_bytes > max_bytes:
        raise PhotoFailed(
            FailureKind.TOO_LARGE,
            f"The file has {size_bytes} bytes, more than the limit of {max_bytes}. "
            "Save it smaller, or raise the limit (of photos: TAGGER_MAX_BYTES) if there is memory for it.",
        )
