"""Side files: XMP sidecars and the JSON files of Google Takeout, and to which photos of their folder they belong. Only names are read.

Sidecars are `photo.jpg.xmp` and `photo.xmp`; the latter belongs to the RAW file of its stem, else to the only photo of it.

Takeout names the JSON file of `IMG_1.jpg` `IMG_1.jpg.json` or `IMG_1.jpg.supplemental-metadata.json`, cut to 51 characters with `.json`. A number
moves behind the extension: `IMG_1.jpg(1).json` is that of `IMG_1(1).jpg`. An edited copy, `IMG_1-edited.jpg` in the language of the account, has
the file of its original.
"""

import json
import os
import re
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any

from tagger.photos.photo_names import SIDECAR_EXTENSION, extension_of, is_photo_name, is_raw_name

TAKEOUT_EXTENSION = ".json"


@dataclass(frozen=True)
class SideFile:
    """A side file by its name in the photo's folder, with its size and modification time, by which a change is seen."""

    name: str
    size_bytes: int
    mtime_ns: int

    @property
    def is_sidecar(self) -> bool:
        return extension_of(self.name) == SIDECAR_EXTENSION


def is_side_file_name(name: str) -> bool:
    """Whether a file of this name may be a side file of a photo in its folder."""
    return extension_of(name) in (SIDECAR_EXTENSION, TAKEOUT_EXTENSION)


def side_files_to_text(files: Iterable[SideFile]) -> str | None:
    """The side files of a photo as they are stored; None if there are none."""
    rows = [list(astuple(file)) for file in files]
    return json.dumps(rows) if rows else None


def side_files_from_text(text: str | None) -> tuple[SideFile, ...]:
    """The inverse of `side_files_to_text`.

    Raises:
        ValueError: the text has another form, or a name that is not of a file in the photo's folder.
    """
    rows = json.loads(text) if text else []
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise ValueError("the side files of a photo are stored as name, size and time")
    return tuple(SideFile(*row) for row in rows)


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or [type(each) for each in row] != [str, int, int]:
        return False
    return is_side_file_name(row[0]) and not {"/", "\0"} & set(row[0])


def side_files_of(photos: Collection[str], others: Iterable[str]) -> Mapping[str, tuple[str, ...]]:
    """The names of the side files of each photo in a folder that has some, the one that counts first."""
    sidecars: list[str] = []
    takeout: list[str] = []
    for name in others:
        (sidecars if extension_of(name) == SIDECAR_EXTENSION else takeout).append(name)
    found: dict[str, list[str]] = {}
    for photo, name in [*_sidecars(photos, sidecars), *_takeout_files(photos, takeout)]:
        found.setdefault(photo, []).append(name)
    return {photo: tuple(names) for photo, names in found.items()}


def _sidecars(photos: Collection[str], sidecars: Collection[str]) -> Iterator[tuple[str, str]]:
    """Pairs of photos and their sidecars: for each photo, `photo.jpg.xmp` comes before `photo.xmp`."""
    if not sidecars:
        return
    by_name = _grouped(photos, _folded)
    by_stem = _grouped(photos, lambda photo: _folded(_stem(photo)))
    of_stem = []
    for sidecar in sorted(sidecars):
        base = sidecar[: -len(SIDECAR_EXTENSION)]
        named = by_name.get(_folded(base), ())
        same_stem = by_stem.get(_folded(base), ())
        candidates = [photo for photo in same_stem if is_raw_name(photo)] or same_stem
        if named:
            yield (base if base in named else named[0]), sidecar
        elif len(candidates) == 1:
            of_stem.append((candidates[0], sidecar))
    yield from of_stem


def _grouped(names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(key(name), []).append(name)
    return groups


def _stem(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122 - see photo_names.extension_of


def _folded(name: str) -> str:
    """The name without case. Programs that copy files also change how accents are encoded."""
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name).casefold()


_SUPPLEMENT = "supplemental-metadata"
_NUMBER = re.compile(r"(?P<before>.*)\((?P<number>\d{1,6})\)(?P<after>.*)", re.DOTALL)
_EDITED = re.compile(r"(?P<original>.+)-[^\W\d_]{2,}(?: [^\W\d_]+)*")
_MOTION = ".mp"
_CUT_BYTES = 44
"""Names that Takeout cuts have at least this many bytes without number and extension: 46 UTF-16 units, some less where a character does not fit."""
_SHORTEST_CUT = 11

_Key = tuple[str, str]
"""The folded title of a photo, and the number that tells equal titles apart, or an empty text."""


class _TakeoutFiles:
    """The JSON files of a folder by the titles of their photos."""

    def __init__(self, names: Iterable[str]) -> None:
        self._by_title: dict[_Key, list[str]] = {}
        self._by_stem: dict[_Key, list[str]] = {}
        self._cut: dict[_Key, str] = {}
        for name in sorted(names):
            base, number = name[: -len(TAKEOUT_EXTENSION)], ""
            if base.endswith(")") and (match := _NUMBER.fullmatch(base)):
                base, number = match["before"], match["number"]
            title, dot, supplement = base.rpartition(".")
            is_title = not dot or not title or not _SUPPLEMENT.startswith(supplement.lower())
            key = _folded(base if is_title else title), number
            self._by_title.setdefault(key, []).append(name)
            if is_photo_name(key[0]) or key[0].endswith((_MOTION, ".mp4", ".mov")):
                self._by_stem.setdefault((_stem(key[0]), number), []).append(name)
            if len(os.fsencode(base)) >= _CUT_BYTES:
                self._cut[_folded(base), number] = name

    def of_title(self, title: str, number: str) -> str | None:
        """The file of a photo with this title. Where only their case differs, that in the same case."""
        names = self._by_title.get((_folded(title), number), ())
        return next((name for name in names if name.startswith(title)), names[0] if names else None)

    def of_stem(self, stem: str, number: str) -> str | None:
        """The only file of a title with this stem, whatever its extension."""
        names = self._by_stem.get((_folded(stem), number), ())
        return names[0] if len(names) == 1 else None

    def of_cut_title(self, title: str, number: str) -> str | None:
        """The file whose name is the longest beginning of a long title."""
        folded = _folded(title)
        for end in range(len(folded) - 1, _SHORTEST_CUT - 1, -1) if self._cut else ():
            if (name := self._cut.get((folded[:end], number))) is not None:
                return name
        return None


def _takeout_files(photos: Collection[str], names: Collection[str]) -> Iterator[tuple[str, str]]:
    """Pairs of photos and their JSON files. A file of a cut name or of a stem that would be that of several photos is that of none."""
    if not names:
        return
    files = _TakeoutFiles(names)
    stems = _grouped(photos, lambda photo: _folded(_stem(photo)))
    guessed: dict[str, list[str]] = {}
    for photo in photos:
        if (name := _file_of(photo, files)) is not None:
            yield photo, name
        elif (name := _guessed_file(photo, files)) is not None and len(stems[_folded(_stem(photo))]) == 1:
            guessed.setdefault(name, []).append(photo)
    for name, candidates in guessed.items():
        originals = [photo for photo in candidates if not _EDITED.fullmatch(_stem(photo))] or candidates
        if len(originals) == 1:
            yield from ((photo, name) for photo in candidates)


def _titles(photo: str) -> Iterator[tuple[str, str]]:
    """The titles that a photo of this name may have, each with its number: `IMG_1(1).jpg` may be the second `IMG_1.jpg`."""
    yield photo, ""
    if ("(" in photo) and (match := _NUMBER.fullmatch(_stem(photo))):
        yield match["before"] + match["after"] + photo[len(_stem(photo)) :], match["number"]


def _file_of(photo: str, files: _TakeoutFiles) -> str | None:
    """The file of the photo itself, else that of its original."""
    for title, number in _titles(photo):
        if (name := files.of_title(title, number)) is not None:
            return name
    for title, number in _titles(photo):
        stem = _stem(title)
        match = _EDITED.fullmatch(unicodedata.normalize("NFC", stem))
        if match and (name := files.of_title(match["original"] + title[len(stem) :], number)) is not None:
            return name
        if match and (name := files.of_stem(match["original"], number)) is not None:
            return name
    return None


def _guessed_file(photo: str, files: _TakeoutFiles) -> str | None:
    """The file by a cut name, by the name of a motion photo, or by a title without extension."""
    for title, number in _titles(photo):
        stem = _stem(title)
        match = _EDITED.fullmatch(unicodedata.normalize("NFC", stem))
        still = stem[: -len(_MOTION)] if stem.lower().endswith(_MOTION) else None
        found = (
            files.of_cut_title(title, number)
            or (files.of_cut_title(match["original"], number) if match else None)
            or files.of_title(stem, number)
            or files.of_title(f"{stem}{_MOTION}", number)
            or (files.of_stem(f"{stem}{_MOTION}", number))
            or (files.of_stem(still, number) if still else None)
        )
        if found is not None:
            return found
    return None
