"""Files and folders of a file system: reading whole files, opening them in their root, whether they respond.

A file that cannot be read fails alone. Files are read within limits.

A scan does not enter links to folders. Everyone who may write to a folder can replace a folder in it by a
link after the scan, or between two system calls: a path would follow it. `open_folder` follows the links on
the way to the root, which the operator named, and none below it. What is then done relative to its descriptor
stays in this folder.

An unavailable share may hang instead of failing, so it is checked in a thread.
"""

import errno
import fcntl
import io
import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import BinaryIO, NamedTuple, Self

from tagger.errors import BUSY_ERRNOS, UNREACHABLE_ERRNOS, FailureKind, PhotoFailed

READ_ATTEMPTS = 3
RETRY_PAUSE_S = 0.1
# The largest time that SQL stores. File systems can report later ones (after the year 2262).
MAX_TIME_NS = 2**63 - 1


class PhotoVersion(NamedTuple):
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


_GONE_TEXT = (
    "There is no such file any more. If it was moved, tag the folder it is in now."
)
_NEVER_TEXT = (
    "There is no such file. Check the name, and that its disk or share is there."
)


def read_photo(
    path: Path, *, max_bytes: int, settle_s: float = 0.0, root: Path | None = None
) -> PhotoBytes:
    """Read one whole file, unless it changed less than `settle_s` ago.

    In a `root`, links are followed as by `open_photo`; without one, all are: the user named the file.

    Raises:
        PhotoFailed: it is gone, unreadable or unreachable, empty, too large, or still being written
        (`settling`).
    """
    with _failing_alone(_NEVER_TEXT if root is None else _GONE_TEXT):
        for attempt in range(READ_ATTEMPTS):
            if attempt:
                time.sleep(attempt * RETRY_PAUSE_S)
            photo = _read_once(path, max_bytes, settle_s, root)
            if photo is not None:
                return photo
    raise PhotoFailed(FailureKind.SETTLING, _SETTLING_TEXT)


@contextmanager
def _failing_alone(gone_text: str) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PhotoFailed(FailureKind.GONE, gone_text) from error
    except OSError as error:
        can_pass = error.errno in UNREACHABLE_ERRNOS | BUSY_ERRNOS
        kind = FailureKind.UNREACHABLE if can_pass else FailureKind.UNREADABLE
        raise PhotoFailed(kind, os_error_text("The file", error)) from error
    except ValueError as error:
        raise PhotoFailed(
            FailureKind.UNREADABLE, "The file's name is not valid."
        ) from error


BLOCK_BYTES = 2**18


@dataclass(frozen=True)
class OpenFile:
    """An open file, its size and time. The caller closes it."""

    file: BinaryIO
    size_bytes: int
    mtime_ns: int

    def blocks(self) -> Iterator[bytes]:
        """Yield `size_bytes` of content, then close the file."""
        remaining_bytes = self.size_bytes
        with self.file as file:
            while block := file.read(min(BLOCK_BYTES, remaining_bytes)):
                remaining_bytes -= len(block)
                yield block


def open_scanned(path: Path, root: Path, scanned: PhotoVersion) -> OpenFile:
    """Open the file of a root that a scan found.

    A link that has replaced a folder is not followed. One that leads out of the root is followed only as by
    `open_photo`, to the very file that was scanned.

    Raises:
        PhotoFailed: it is gone, unreadable or unreachable, or another file.
    """
    with _failing_alone(
        "The file no longer exists. If it was moved, tag the folder it is in now."
    ):
        descriptor = open_photo(path, root)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            os.close(descriptor)
            raise FileNotFoundError(path)
    file = open(descriptor, "rb", buffering=0)  # noqa: PTH123, SIM115 - the caller closes it
    # The same version is also that of a link, if the scan recorded it.
    if version_of(status) != scanned and not _is_inside(path, root, status):
        file.close()
        text = "The file was replaced by a link to a file that was not tagged. Tag it again."
        raise PhotoFailed(FailureKind.UNREADABLE, text)
    return OpenFile(file, *version_of(status))


def _is_inside(path: Path, root: Path, status: os.stat_result) -> bool:
    # Whether this is the status of the file to which the path leads, and that file is in the root.
    try:
        real = path.resolve(strict=True)
        return os.path.samestat(real.stat(), status) and real.is_relative_to(
            root.resolve()
        )
    except (OSError, RuntimeError):
        return False


def version_of(status: os.stat_result) -> PhotoVersion:
    """Return the version of a file, its time limited to the range that SQL stores."""
    return PhotoVersion(
        status.st_size, max(-MAX_TIME_NS, min(MAX_TIME_NS, status.st_mtime_ns))
    )


def os_error_text(subject: str, error: OSError) -> str:
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
    return (
        f"{subject} cannot be read ({(error.strerror or str(error)).lower()}). {remedy}"
    )


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
        raise OSError(
            errno.EINVAL, "it is a pipe or a device, and not a file", str(path)
        )
    return file


def _read_once(
    path: Path, max_bytes: int, settle_s: float, root: Path | None
) -> PhotoBytes | None:
    # Read the file; None if it changed or was replaced meanwhile.
    def open_inside(name: str, flags: int) -> int:
        return open_at_once(name, flags) if root is None else open_photo(path, root)

    with open(path, "rb", opener=open_inside) as file:
        descriptor = file.fileno()
        before = os.fstat(descriptor)
        if not stat.S_ISREG(before.st_mode):
            what = (
                "a folder"
                if stat.S_ISDIR(before.st_mode)
                else "a pipe, socket or device"
            )
            raise PhotoFailed(
                FailureKind.UNREADABLE,
                f"It is {what} and not a file. Rename or remove it.",
            )
        # The change time counts too: programs that copy a file with its modification time set that at the
        # end. Times further in the future do not count: they come from a wrong clock, and waiting for it
        # could take years.
        now_ns = time.time_ns()
        if any(
            abs(now_ns - time_ns) < settle_s * 1e9
            for time_ns in (before.st_mtime_ns, before.st_ctime_ns)
        ):
            raise PhotoFailed(FailureKind.SETTLING, _SETTLING_TEXT)
        check_size(before.st_size, max_bytes)
        data = file.read(before.st_size + 1)
        after = os.fstat(descriptor)
    # By path too: another file may have taken the name, and a share can report the old state of an open file.
    now_there = os.stat(path)  # noqa: PTH116 - like the calls around it
    version = (before.st_size, before.st_mtime_ns)
    if len(data) != before.st_size or any(
        version != (status.st_size, status.st_mtime_ns) for status in (after, now_there)
    ):
        return None
    return PhotoBytes(data, *version_of(before))


def check_size(size_bytes: int, max_bytes: int) -> None:
    """Raises:
    PhotoFailed: a photo of this size is not read.
    """
    if size_bytes == 0:
        raise PhotoFailed(
            FailureKind.EMPTY,
            "The file has no content (0 bytes). Copy it again from where it came from.",
        )
    if size_bytes > max_bytes:
        raise PhotoFailed(
            FailureKind.TOO_LARGE,
            f"The file has {size_bytes} bytes, more than the limit of {max_bytes}. "
            "Save it smaller, or raise the limit (of photos: TAGGER_MAX_BYTES) if there is memory for it.",
        )


TIMEOUT_S = 5.0
# A folder whose check hangs counts as silent for so long; then it is checked anew.
RETRY_S = 60.0


class MountState(Enum):
    """The result of listing a folder. SILENT: it did not respond in time.

    Of a folder that was mounted, UNMOUNTED: nothing is mounted there any more; LINK: it is a link.
    """

    FILLED = "filled"
    EMPTY = "empty"
    MISSING = "missing"
    SILENT = "silent"
    UNMOUNTED = "unmounted"
    LINK = "link"


class Mount(NamedTuple):
    """The answer of a source of photos, and why it cannot be listed: of a bucket with a remedy."""

    state: MountState
    problem: str | None = None


def check_mount(folder: Path) -> Mount:
    """List a folder's first entry; SILENT if that takes longer than TIMEOUT_S.

    Only the first call waits for a folder that hangs; later ones return at once until it answers.
    """
    check = _finished_check(folder)
    return Mount(check.state, check.problem)


def check_folder(folder: Path, *, was_mounted: bool) -> Mount:
    """Like `check_mount`, of a folder below a root: whether it is a link, or no longer mounted."""
    check = _finished_check(folder)
    if check.is_link:
        return Mount(MountState.LINK)
    is_listed = check.state in {MountState.FILLED, MountState.EMPTY}
    is_unmounted = was_mounted and is_listed and not check.is_mount_point
    return Mount(MountState.UNMOUNTED if is_unmounted else check.state, check.problem)


def is_mount_point(folder: Path | str) -> bool:
    """Whether another file system than that of the folder around it is mounted there.

    Bind mounts of the same file system do not count. Numbers of devices are only compared with each other:
    some file systems have another one after each start of the machine.
    """
    try:
        return os.stat(folder).st_dev != os.stat(os.path.join(folder, os.pardir)).st_dev  # noqa: PTH116, PTH118
    except OSError:
        return False


def _finished_check(folder: Path) -> "_MountCheck":
    with _lock:
        check = _checks.get(folder)
        if (
            check is None or not check.is_alive() or check.age_s > RETRY_S
        ):  # it may be mounted anew
            check = _checks[folder] = _MountCheck(folder)
            check.start()
    check.join(max(0.0, TIMEOUT_S - check.age_s))
    return check


class _MountCheck(threading.Thread):
    # Lists a folder in a thread of its own, which may hang for ever.
    def __init__(self, folder: Path) -> None:
        super().__init__(name="mount", daemon=True)
        self._folder = folder
        self._started_at = time.monotonic()
        self.state = MountState.SILENT
        self.problem: str | None = None
        self.is_link = self.is_mount_point = False

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    def run(self) -> None:
        try:
            with os.scandir(
                self._folder
            ) as entries:  # mounts what is mounted on demand
                is_empty = next(entries, None) is None
                self.is_link = self._folder.is_symlink()
                self.is_mount_point = is_mount_point(self._folder)
                self.state = MountState.EMPTY if is_empty else MountState.FILLED
        except OSError as error:
            if not isinstance(error, FileNotFoundError | NotADirectoryError):
                self.problem = (error.strerror or str(error)).lower()
            self.is_link = os.path.islink(self._folder)  # noqa: PTH114 - unlike its method, it does not raise
            self.state = MountState.MISSING


_lock = threading.Lock()
_checks: dict[Path, _MountCheck] = {}


_FOLDER_IS_LINK = (
    "A folder on its path has become a link, which is not followed. Tag the folder that the "
    "link leads to."
)
_LEADS_OUT = (
    "It is a link out of its root, to a file that is not the link owner's. Tag that file's folder, or make "
    "the link as the file's owner."
)


class LinkRefused(OSError):
    """A link is not followed; the text says why, and what to do."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(errno.ELOOP, text, str(path))

    def __reduce__(self) -> tuple[type[Self], tuple[Path, str]]:
        return type(self), (Path(self.filename), str(self.strerror))


class OpenFolder:
    """A folder by its descriptor, in which no function follows a link. `path` is for messages only."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.descriptor = descriptor

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        os.close(self.descriptor)

    def open(self, name: str, flags: int, mode: int = 0o600) -> int:
        return os.open(
            name,
            flags | os.O_NOFOLLOW | os.O_CLOEXEC,
            mode,
            dir_fd=self.descriptor,
        )

    def status(self, name: str) -> os.stat_result:
        return os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        try:
            self.status(name)
        except OSError:
            return False
        return True

    def may_write(self, name: str) -> bool:
        with_effective_user = os.access in os.supports_effective_ids
        return os.access(
            name,
            os.W_OK,
            dir_fd=self.descriptor,
            effective_ids=with_effective_user,
        )

    def replace(self, name: str, by: str) -> None:
        os.replace(
            by,
            name,
            src_dir_fd=self.descriptor,
            dst_dir_fd=self.descriptor,
        )

    def unlink(self, name: str) -> None:
        os.unlink(name, dir_fd=self.descriptor)

    def entries(self) -> Iterator[os.DirEntry[str]]:
        with self._listing() as descriptor, os.scandir(descriptor) as entries:
            yield from entries

    def file_names(self) -> list[str]:
        """The names of all that is no folder."""
        return [
            entry.name
            for entry in self.entries()
            if not entry.is_dir(follow_symlinks=False)
        ]

    def flush(self) -> None:
        """Flush changed names to disk, where file system and rights allow it."""
        with suppress(PermissionError), self._listing() as descriptor:
            try:
                os.fsync(descriptor)
            except OSError as error:
                if error.errno not in _FLUSH_UNSUPPORTED:
                    raise

    @contextmanager
    def _listing(self) -> Iterator[int]:
        # Open the folder itself, for which the right to enter it does not suffice.
        descriptor = self.open(".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)


def open_folder(folder: Path, root: Path | None = None) -> OpenFolder:
    """Open a folder in a root. Without `root`, the folder itself is the one that the user named.

    Raises:
        LinkRefused: a folder below the root is a link, or the path leads out of the root.
        OSError: it cannot be opened.
    """
    start = root or folder
    names = folder.parts[len(start.parts) :]
    if folder.parts[: len(start.parts)] != start.parts or ".." in names:
        raise LinkRefused(folder, _FOLDER_IS_LINK)
    descriptor = os.open(start, _FOLDER)
    for name in names:
        outer = descriptor
        try:
            descriptor = os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
        except OSError as error:
            if error.errno in _IS_NO_FOLDER and _is_link(name, outer):
                raise LinkRefused(folder, _FOLDER_IS_LINK) from error
            raise
        finally:
            os.close(outer)
    return OpenFolder(folder, descriptor)


def replace_file(path: Path, by: Path) -> None:
    """Flush the file `by` to disk and rename it to `path`: a power cut leaves the old file or the new one.

    Raises:
        OSError: the disk is full or fails.
    """
    with open_folder(path.parent) as folder:
        descriptor = folder.open(by.name, os.O_RDONLY)
        try:
            flush_to_disk(descriptor)
        finally:
            os.close(descriptor)
        folder.replace(path.name, by=by.name)
        folder.flush()


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """The path of a file to write, which replaces `path` at the end. After an error, `path` is the old file.

    Raises:
        OSError: the disk is full or fails.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        replace_file(path, by=partial)
    finally:
        partial.unlink(missing_ok=True)


def flush_to_disk(descriptor: int) -> None:
    # On macOS, fsync leaves the data in the disk's own cache.
    if hasattr(fcntl, "F_FULLFSYNC"):
        with suppress(OSError):
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    os.fsync(descriptor)


def open_photo(path: Path, root: Path) -> int:
    """Open a photo in a root for reading. Pipes are opened without waiting for a writer.

    The photo itself may be a link: to a file below the root; or to one elsewhere, if the link belongs to this
    user, to root or to the file's owner. Otherwise everyone who can write to a shared folder could show each
    file that this user may read.

    Raises:
        LinkRefused: a link that is not followed.
        OSError: it cannot be opened.
    """
    with open_folder(path.parent, root) as folder:
        try:
            return folder.open(path.name, _READ)
        except OSError as error:
            if error.errno not in _IS_LINK:
                raise
        return _open_linked(folder, path, root)


_FLUSH_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# With O_PATH, the right to list the folder is not needed, just as for a folder within a path.
_FOLDER = os.O_DIRECTORY | os.O_CLOEXEC | getattr(os, "O_PATH", 0)
_READ = os.O_RDONLY | os.O_NONBLOCK
_IS_LINK = (errno.ELOOP, errno.EMLINK)
_IS_NO_FOLDER = (errno.ENOTDIR, *_IS_LINK)


def _is_link(name: str, folder: int) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


def _open_linked(folder: OpenFolder, path: Path, root: Path) -> int:
    link = folder.status(path.name)
    text = os.readlink(path.name, dir_fd=folder.descriptor)
    if _version(folder.status(path.name)) != _version(link):
        raise LinkRefused(
            path, _LEADS_OUT
        )  # another link, whose owner is unknown, was read
    target = Path(os.path.realpath(path.parent / text, strict=True))
    real_root = Path(os.path.realpath(root))
    is_inside = target.is_relative_to(real_root)
    # Links that were put on the resolved path since then are not followed.
    with open_folder(
        target.parent, real_root if is_inside else Path(target.anchor)
    ) as target_folder:
        descriptor = target_folder.open(target.name, _READ)
    if is_inside or link.st_uid in (0, os.geteuid(), os.fstat(descriptor).st_uid):
        return descriptor
    os.close(descriptor)
    raise LinkRefused(path, _LEADS_OUT)


def _version(link: os.stat_result) -> tuple[int, int, int]:
    # What changes when a link is replaced, or renamed to another name and back.
    return link.st_dev, link.st_ino, link.st_ctime_ns
