"""Finding photos: a walk through a folder in the order of its paths' text.

What is a photo is decided by its name here; whether it can be read shows when it is read.
"""

import fnmatch
import importlib.util
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tagger.errors import FolderNotFound
from tagger.photos.paths import path_text
from tagger.photos.reading import os_text, stored_time_ns

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
        problem = FolderProblem(Path(folder), os_text("The folder", error))
    entries.sort(key=lambda known: (known[0], known[1].name))
    return entries, problem


def _found(path: str) -> FoundPhoto:
    try:
        known = os.stat(path)  # noqa: PTH116 - see is_photo_name
    except OSError:
        return FoundPhoto(Path(path), 0, 0)
    return FoundPhoto(Path(path), known.st_size, stored_time_ns(known))


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
