"""Photos on disk: finding them, reading them within limits, knowing them again.

Knows nothing of pixels (see images) or of what was recognised (see results).
"""

import errno
import fnmatch
import importlib.util
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from blake3 import blake3

from tagger.containers import read_container
from tagger.errors import FailureKind, FolderNotFound, PhotoFailed

PHOTO_EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".tif", ".tiff", ".gif", ".bmp", ".avif")
)
"""What is a photo by its name, in any case. EPS and PDF never are: their readers start other programs."""
HEIC_EXTENSIONS = frozenset((".heic", ".heif", ".hif"))
"""Photos too, where the extra that reads them is installed."""


@dataclass(frozen=True)
class FoundPhoto:
    """A photo as the folder lists it. A link that leads nowhere has no size and no time, and fails when it is read."""

    path: Path
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class FolderProblem:
    """Something that could not be looked into; whatever was known below `path` may still be there."""

    path: Path
    text: str


@dataclass(frozen=True)
class PhotoBytes:
    """A whole photo, and the size and time that belong to these very bytes."""

    data: bytes
    size_bytes: int
    mtime_ns: int


def find_photos(
    root: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = ()
) -> Iterator[FoundPhoto | FolderProblem]:
    """Yield every photo under the folder `root`, each real file once, in ascending order of the text of its relative path.

    Hidden files and folders and the places where systems keep thumbnails and deleted files are passed over. Folders
    are not entered through links. A pattern has `*`, `?` and `[...]`, in any case, and is held against the relative
    path and against the name alone, where `*` reaches across folders: `exclude` keeps out photos and whole folders,
    `include`, when there is one, lets in only the photos that match.

    Raises:
        FolderNotFound: there is no `root`. Folders below it that cannot be read are yielded as problems, not raised.
    """
    if not root.exists():
        raise FolderNotFound(path=root)
    return _Walk(root, _pattern(include), _pattern(exclude)).photos()


def found_photo(path: Path) -> FoundPhoto:
    """One file that a person named, whatever its extension.

    Raises:
        FolderNotFound: there is nothing at `path`.
    """
    if not os.path.lexists(path):
        raise FolderNotFound(path=path)
    return _found(os.path.abspath(path))  # noqa: PTH100 - a link stays the link that was named


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is taken for a photo when a folder is searched."""
    extension = os.path.splitext(name)[1].lower()  # noqa: PTH122 - a Path for each name costs more than the rest
    return extension in PHOTO_EXTENSIONS or (extension in HEIC_EXTENSIONS and _reads_heic())


def path_text(path: str | Path) -> tuple[str, bytes]:
    """The path as text, and its bytes if they are not UTF-8 (then the text is only for people); else no bytes."""
    text = str(path)
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = os.fsencode(text)
        return raw.decode(errors="backslashreplace"), raw
    return text, b""


def path_from_text(text: str, raw: bytes) -> str:
    """The path that `path_text` was given."""
    return os.fsdecode(raw) if raw else text


def read_photo(path: Path, *, max_bytes: int) -> PhotoBytes:
    """Read one whole photo, or fail it alone.

    Raises:
        PhotoFailed: gone, unreadable, empty, too large, or still being written.
    """
    try:
        for attempt in range(_READ_ATTEMPTS):
            time.sleep(attempt * _SETTLE_S)
            photo = _read_once(path, max_bytes)
            if photo is not None:
                return photo
    except (FileNotFoundError, NotADirectoryError) as error:
        raise PhotoFailed(FailureKind.GONE, "The file is no longer there. Scan its folder again.") from error
    except OSError as error:
        raise PhotoFailed(FailureKind.UNREADABLE, _os_text("The file", error)) from error
    raise PhotoFailed(
        FailureKind.UNREADABLE, "The file changes while being read. Try again when copying has finished."
    )


def digest_photo(data: bytes) -> str:
    """Know a picture again: the digest of its image data and orientation, without other metadata.

    Where the container cannot be taken apart it is the digest of the whole file, which no picture's can equal.
    """
    container = read_container(data)
    if container is None:
        return f"{_DIGEST_VERSION}-{blake3(b'file').update(data).hexdigest()}"
    hasher = blake3(b"picture" + bytes([container.orientation]))
    for part in container.parts:
        hasher.update(part)
    return f"{_DIGEST_VERSION}-{hasher.hexdigest()}"


_READ_ATTEMPTS = 3
_SETTLE_S = 0.1
_DIGEST_VERSION = 1
_PASSED_OVER = {
    "@eadir",
    "$recycle.bin",
    "#recycle",
    "@recycle",
    "#snapshot",
    "lost+found",
    "system volume information",
}


class _Walk:
    """One walk through one folder; holds one sorted listing per depth."""

    def __init__(self, root: Path, include: re.Pattern[str] | None, exclude: re.Pattern[str] | None) -> None:
        self.root = str(root)
        self.real_root = os.path.realpath(root)
        self.include = include
        self.exclude = exclude

    def photos(self) -> Iterator[FoundPhoto | FolderProblem]:
        """Go down and along with a stack of listings, so that no depth is too deep."""
        listings = [self._listing("")]
        while listings:
            step = next(listings[-1], None)
            if step is None:
                listings.pop()
            elif isinstance(step, str):
                listings.append(self._listing(step))
            else:
                yield step

    def _listing(self, folder: str) -> Iterator[FoundPhoto | FolderProblem | str]:
        """Yield what is in a folder in order: photos, problems, and folders to enter as relative paths ending in a slash."""
        entries, problem = _entries(os.path.join(self.root, folder))  # noqa: PTH118 - see is_photo_name
        if problem:
            yield problem
        previous = None
        for text, entry, is_folder in entries:
            relative = folder + entry.name
            if not (self._enters(relative) if is_folder else self._takes(relative)):
                continue
            if text == previous:
                yield FolderProblem(Path(entry.path), "Its name reads the same as another's. Rename it.")
            elif is_folder:
                yield relative + "/"
            else:
                yield from self._photo(entry)
            previous = text

    def _enters(self, relative: str) -> bool:
        name = relative.rpartition("/")[2]
        hidden = name.startswith(".") or name.lower() in _PASSED_OVER
        return not hidden and not _matches(self.exclude, relative)

    def _takes(self, relative: str) -> bool:
        name = relative.rpartition("/")[2]
        if name.startswith(".") or not is_photo_name(name) or _matches(self.exclude, relative):
            return False
        return self.include is None or _matches(self.include, relative)

    def _photo(self, entry: os.DirEntry[str]) -> Iterator[FoundPhoto | FolderProblem]:
        if entry.is_symlink():
            target = os.path.realpath(entry.path)
            if os.path.isdir(target) or self._finds(target):  # noqa: PTH112 - see is_photo_name
                return
        try:
            mode = entry.stat().st_mode
        except FileNotFoundError:
            if not entry.is_symlink():
                return  # Deleted since the folder was listed.
        except OSError:
            pass
        else:
            if not stat.S_ISREG(mode):
                yield FolderProblem(
                    Path(entry.path), "It is a pipe, socket or device and not a file. Rename or remove it."
                )
                return
        yield _found(entry.path)

    def _finds(self, target: str) -> bool:
        """Whether the walk comes to a link's target by itself."""
        if not target.startswith(os.path.join(self.real_root, "")) or not os.path.isfile(target):  # noqa: PTH113, PTH118
            return False
        *folders, _ = parts = target[len(self.real_root) :].strip("/").split("/")
        return self._takes("/".join(parts)) and all(
            self._enters("/".join(parts[: i + 1])) for i in range(len(folders))
        )


def _entries(folder: str) -> tuple[list[tuple[str, os.DirEntry[str], bool]], FolderProblem | None]:
    """A folder's entries with their texts, in the order of whole paths: a folder sorts with its slash."""
    entries = []
    problem = None
    try:
        with os.scandir(folder) as listing:
            for entry in listing:
                is_folder = entry.is_dir(follow_symlinks=False)
                entries.append((path_text(entry.name)[0] + "/" * is_folder, entry, is_folder))
    except OSError as error:
        problem = FolderProblem(Path(folder), _os_text("The folder", error))
    entries.sort(key=lambda known: (known[0], known[1].name))
    return entries, problem


def _found(path: str) -> FoundPhoto:
    try:
        known = os.stat(path)  # noqa: PTH116 - see is_photo_name
    except OSError:
        return FoundPhoto(Path(path), 0, 0)
    return FoundPhoto(Path(path), known.st_size, known.st_mtime_ns)


def _pattern(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(fnmatch.translate(pattern.strip("/").casefold()) for pattern in patterns)
    return re.compile(joined) if joined else None


def _matches(pattern: re.Pattern[str] | None, relative: str) -> bool:
    if pattern is None:
        return False
    folded = path_text(relative)[0].casefold()
    return bool(pattern.match(folded) or pattern.match(folded.rpartition("/")[2]))


@cache
def _reads_heic() -> bool:
    return importlib.util.find_spec("pillow_heif") is not None


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
    return PhotoBytes(data, before.st_size, before.st_mtime_ns)


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


def _os_text(what: str, error: OSError) -> str:
    remedy = {
        errno.EACCES: "Give this user the right to read it.",
        errno.EPERM: "Give this user the right to read it.",
        errno.ELOOP: "It is a link that leads back to itself; remove it.",
        errno.EIO: "Check the disk or the network share it is on.",
    }.get(error.errno or 0, "Check the disk or share it is on and try again.")
    return f"{what} cannot be read ({(error.strerror or str(error)).lower()}). {remedy}"
