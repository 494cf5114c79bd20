"""Decides by names which files are photos, which RAW files, and which one photo; counts other files.

A RAW file and the JPEG or HEIC of the same name in its folder are one photo: cameras write both of one shot,
and programs develop one from the other. The case of the extension does not matter: `IMG_1.CR3` and
`IMG_1.jpg` are one photo, `IMG_1-edited.jpg` is another one. Only RAW files have partners: two JPEGs, a JPEG
and a HEIC, or two RAW files without either are separate photos.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from tagger.photos.formats import HEIC, PHOTO_FORMATS, RAW
from tagger.photos.paths import printable_path
from tagger.photos.program_folders import LeftOutPaths

# How many extensions are counted: any text may follow the last dot of a name.
MOST_EXTENSIONS = 1000
LONGEST_EXTENSION = 10
NAMED_EXTENSIONS = 8


_PHOTO_EXTENSIONS = frozenset(extension for each in PHOTO_FORMATS for extension in each.extensions)
# The extras that have to be installed to read files with these extensions.
_EXTRAS = {
    extension: each.extra for each in PHOTO_FORMATS if each.extra for extension in each.extensions_of_extra
}
# Extensions of cameras' RAW files that are read.
RAW_EXTENSIONS = frozenset(RAW.extensions + RAW.extensions_of_extra)
# Extensions of RAW files that are not read, but have sidecars of other programs.
_OTHER_RAW_EXTENSIONS = frozenset(
    (
        *(".ari", ".bay", ".braw", ".cap", ".cs1", ".dcr", ".dcs", ".drf", ".eip", ".erf", ".gpr", ".k25"),
        *(".kc2", ".kdc", ".mdc", ".mef", ".mos", ".ptx", ".pxn", ".r3d", ".raw", ".rwz", ".srf", ".sti"),
    )
)
# Those of images that are not read.
_OTHER_EXTENSIONS = _OTHER_RAW_EXTENSIONS | {".jp2", ".jxl", ".jxr"}
# The extension of sidecars, in lower case.
SIDECAR_EXTENSION = ".xmp"
JPEG_EXTENSIONS = frozenset((".jpg", ".jpeg", ".jpe"))
_PAIRED = {extension[1:] for extension in (*JPEG_EXTENSIONS, *HEIC.extensions_of_extra, *RAW.extensions)}
T = TypeVar("T")


def is_photo_name(name: str) -> bool:
    """Whether a file of this name is listed as a photo."""
    extension = extension_of(name)
    return extension in _PHOTO_EXTENSIONS or (extension in _EXTRAS and _EXTRAS[extension].is_installed)


def is_raw_name(name: str) -> bool:
    """Whether a file of this name is a camera's RAW file."""
    return extension_of(name) in RAW_EXTENSIONS


def may_have_stem_sidecar(name: str) -> bool:
    """Whether a file may have the sidecar of its stem: `IMG_1.xmp` for `IMG_1.heic`, read or not.

    They do for images and RAW files. Videos, project files, edits (`.aae`, `.dop`), backups (`.jpg_original`)
    and texts have no such sidecar.
    """
    extension = extension_of(name)
    return extension in _PHOTO_EXTENSIONS or extension in _EXTRAS or extension in _OTHER_EXTENSIONS


def is_any_raw_name(name: str) -> bool:
    """Whether a file of this name is a RAW file, of a kind that is read or of another one."""
    return is_raw_name(name) or extension_of(name) in _OTHER_RAW_EXTENSIONS


def extension_of(path: str) -> str:
    """The extension in lower case, with its dot; empty if there is none."""
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - a Path for each is slow


def needed_extra(extension: str) -> str | None:
    """The extra that has to be installed to read files with this extension; None if none is missing."""
    extra = _EXTRAS.get(extension)
    return None if extra is None or extra.is_installed else extra.name


class OtherFiles:
    """The files that a listing leaves out by extension, without sidecars, and the copies of photos."""

    def __init__(self) -> None:
        self.count = 0
        # Without rare and long extensions: its sum may be less than `count`.
        self.by_extension: Counter[str] = Counter()
        # By reason (see program_folders).
        self.folders: defaultdict[str, LeftOutPaths] = defaultdict(LeftOutPaths)
        # Links to folders elsewhere, each with its target.
        self.outward_links = LeftOutPaths()
        # All links that are not photos: folders may have been in their place.
        self.links: set[str] = set()
        # The folders on which another file system is mounted.
        self.mounts: set[str] = set()

    def add(self, extension: str) -> None:
        """Count one more file; the extension begins with a dot, or is empty."""
        self.count += 1
        known = self.by_extension
        if extension in known or (1 < len(extension) <= LONGEST_EXTENSION and len(known) < MOST_EXTENSIONS):
            known[extension] += 1

    def extensions_text(self) -> str:
        """The extensions, the most frequent first: ` (3 .mp4, .jp2)`; empty if none is counted."""
        known = sorted(self.by_extension.items(), key=lambda item: (-item[1], item[0]))
        frequent = known[:NAMED_EXTENSIONS]
        others = self.count - sum(number for _, number in frequent)
        parts = [f"{number} {extension}" if number > 1 else extension for extension, number in frequent]
        if len(frequent) == 1 and not others:
            parts = [frequent[0][0]]
        return f" ({', '.join((*parts, *([f'{others} others'] if others else ())))})" if parts else ""

    def copies_lines(self) -> list[str]:
        """A line for each reason for which folders were left out."""
        lines = [
            f"left out: {_paths_text(paths, 'folder')} with {reason}"
            for reason, paths in sorted(self.folders.items())
        ]
        if self.outward_links.count:
            links = _paths_text(self.outward_links, "link")
            lines.append(f"left out: {links}; links are not followed, so tag the folders they lead to")
        return lines


def _paths_text(paths: LeftOutPaths, noun: str) -> str:
    """`2 folders (a, b)`"""
    more = [f"{paths.count - len(paths.first)} more"] if paths.count > len(paths.first) else []
    named = ", ".join((*map(printable_path, paths.first), *more))
    return f"{paths.count} {noun}{'s' if paths.count > 1 else ''} ({named})"


def stem_of(path: str) -> str | None:
    """The path without its extension; None if no file of this extension is in a pair."""
    stem, _, extension = path.rpartition(".")
    # Like os.path.splitext, several times as fast: a name that begins with its only dots has no extension.
    return stem if extension.lower() in _PAIRED and stem.rpartition("/")[2].strip(".") else None


def primary_files(paths: Collection[str]) -> Mapping[str, str]:
    """The file that stands for each RAW file of one stem: the first JPEG by name, else the first HEIC."""
    raw_files = [path for path in paths if is_raw_name(path)]
    others = [path for path in paths if not is_raw_name(path)]
    if not others:
        return {}
    primary = min(others, key=lambda path: (extension_of(path) not in JPEG_EXTENSIONS, path))
    return dict.fromkeys(raw_files, primary)


class StemGroups(Generic[T]):
    """Groups the files of each stem, from photos in the order of their paths.

    Files of one stem are almost neighbours: between `a.cr3` and `a.jpg` come `a.edit.jpg` and the folder
    `a.d`. Only the stems that begin the current path are kept, so memory stays flat.
    """

    def __init__(self, path_of: Callable[[T], str]) -> None:
        self._path_of = path_of
        self._open: list[tuple[str, list[T]]] = []

    def of(self, photos: Iterable[T]) -> Iterator[list[T]]:
        """Yield the groups of these photos."""
        yield from self.add(photos)
        yield from self.rest()

    def add(self, photos: Iterable[T]) -> Iterator[list[T]]:
        """Add photos. Yields the groups that they complete, and each photo that is in no pair."""
        for photo in photos:
            path = self._path_of(photo)
            while self._open and not path.startswith(self._open[-1][0] + "."):
                yield self._open.pop()[1]
            stem = stem_of(path)
            if stem is None:
                yield [photo]
            elif self._open and self._open[-1][0] == stem:
                self._open[-1][1].append(photo)
            else:
                self._open.append((stem, [photo]))

    def rest(self) -> Iterator[list[T]]:
        """Yield the groups that are still open, after the last photo of all or of a folder."""
        while self._open:
            yield self._open.pop()[1]
