"""Which files are one photo: a RAW file, and the JPEG or HEIC of the same name in its folder.

Cameras write both of one shot, and programs develop one from the other. Names alone decide, without the case of the extension:
`IMG_1.CR3` and `IMG_1.jpg` are one photo, `IMG_1-edited.jpg` is another one. Nothing but RAW files is ever joined with another
file: two JPEGs, a JPEG and a HEIC, or two RAW files without either are photos of their own.
"""

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from tagger.photos.photo_names import HEIC_EXTENSIONS, RAW_EXTENSIONS, is_raw_name

_JPEG_EXTENSIONS = frozenset((".jpg", ".jpeg", ".jpe"))
_PAIRED = frozenset(extension[1:] for extension in _JPEG_EXTENSIONS | HEIC_EXTENSIONS | RAW_EXTENSIONS)

T = TypeVar("T")


def stem_of(path: str) -> str | None:
    """The path without its extension; None if no file of this extension is in a pair."""
    stem, _, extension = path.rpartition(".")
    # Like os.path.splitext, several times as fast: a name that begins with its only dots has no extension.
    return stem if extension.lower() in _PAIRED and stem.rpartition("/")[2].strip(".") else None


def primary_files(paths: Collection[str]) -> Mapping[str, str]:
    """The file that stands for each RAW file, among the files of one stem: the first JPEG by name, else the first HEIC."""
    raw_files = [path for path in paths if is_raw_name(path)]
    others = [path for path in paths if not is_raw_name(path)]
    if not others:
        return {}
    primary = min(others, key=lambda path: (_extension(path) not in _JPEG_EXTENSIONS, path))
    return dict.fromkeys(raw_files, primary)


class StemGroups(Generic[T]):
    """Groups the files of each stem, from photos in the order of their paths.

    Files of one stem are almost neighbours: between `a.cr3` and `a.jpg` come `a.edit.jpg` and the folder `a.d`. Only the stems that
    begin the current path are kept, so memory stays flat.
    """

    def __init__(self, path_of: Callable[[T], str]) -> None:
        self._path_of = path_of
        self._open: list[tuple[str, list[T]]] = []

    def of(self, photos: Iterable[T]) -> Iterator[list[T]]:
        """Yield the groups of these photos."""
        yield from self.add(photos)
        yield from self.rest()

    def add(self, photos: Iterable[T]) -> Iterator[list[T]]:
        """Yield the groups to which neither these photos nor later ones belong, and each photo with which nothing pairs."""
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
        """Yield the groups that are left after the last photo, or before one of another folder."""
        while self._open:
            yield self._open.pop()[1]


def _extension(path: str) -> str:
    return os.path.splitext(path)[1].lower()  # noqa: PTH122 - see photo_names.is_photo_name
