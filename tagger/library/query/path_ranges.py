"""Ranges of stored paths and names: photos that are below folders, are named, or whose file's name begins so; reads only."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import ColumnElement, Connection, and_, select

from tagger.database.column_parts import name_of
from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.library.catalog.roots import Root, RootPaths, list_roots
from tagger.library.query.photo_conditions import Condition, off_index
from tagger.photos.paths import ObjectPath, parse_path, path_text
from tagger.photos.photo_names import is_raw_name

_ROWS = 100
"""Rows of the index to read. If the files of all of them are gone, none is found."""
_LAST_CHARACTER = "\U0010ffff"


@dataclass(frozen=True)
class NamedFile:
    """A file and its photo; `path` is relative to its root."""

    photo_id: int
    name: str
    path: str


def files_by_name(database: Database, start: str, limit: int) -> Sequence[NamedFile]:
    """Photos whose file's name starts with a text, in order of the names. The case of ASCII letters does not matter."""
    low = _in_lower_case(start)
    name = name_of(photos.c.path)
    query = (
        select(photos.c.id, photos.c.path, photos.c.gone_since, photos.c.primary_id)
        .where(name >= low, name < low + _LAST_CHARACTER)
        .order_by(name)
        .limit(_ROWS)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
    present = [row for row in rows if row.gone_since is None]
    return [
        NamedFile(row.primary_id or row.id, row.path.rpartition("/")[2], row.path) for row in present[:limit]
    ]


def _in_lower_case(text: str) -> str:
    """As `name_of` on both databases."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


_FIRST_CHARACTER = "\x01"  # names have no \x00, so only the name itself sorts before name + this
_AFTER_SLASH = chr(ord("/") + 1)


@dataclass(frozen=True, order=True)
class PathRange:
    """Paths of a root from `low` to before `high`, as text that compares by bytes; if both are empty, the whole root."""

    root_id: int
    low: str = ""
    high: str = ""

    @property
    def condition(self) -> Condition:
        """For the scan along paths, which uses the index."""
        return self._inside(photos.c.root_id)

    @property
    def filter(self) -> Condition:
        """For other scans."""
        return self._inside(off_index(photos.c.root_id))

    def contains(self, other: "PathRange") -> bool:
        """Whether this range includes `other`, which does not start before this one."""
        return self.root_id == other.root_id and (
            not self.high or (other.low != "" and other.low < self.high)
        )

    def _inside(self, root_id: ColumnElement[int]) -> Condition:
        inside = root_id == self.root_id
        return and_(inside, photos.c.path >= self.low, photos.c.path < self.high) if self.high else inside


def path_ranges(connection: Connection, folders: Iterable[Path], root_paths: RootPaths) -> list[PathRange]:
    """The ranges of paths below `folders`; the ranges do not overlap."""
    roots = list_roots(connection, root_paths)
    named = {range_ for folder in folders for root in roots for range_ in _ranges_in(root, folder)}
    candidates = sorted(named | set(_primary_ranges(connection, named)))
    ranges: list[PathRange] = []
    for candidate in candidates:  # sorted by low end, so a range comes before those that it contains
        if not (ranges and ranges[-1].contains(candidate)):
            ranges.append(candidate)
    return ranges


def _primary_ranges(connection: Connection, ranges: Iterable[PathRange]) -> Iterator[PathRange]:
    """The ranges of the photos of RAW files that are named."""
    primary = photos.alias("primary")
    query = select(primary.c.path).join(photos, photos.c.primary_id == primary.c.id)
    for range_ in ranges:
        if is_raw_name(range_.low):
            path = connection.scalar(query.where(range_.condition))
            if path is not None:
                yield PathRange(range_.root_id, path, path + _FIRST_CHARACTER)


def _ranges_in(root: Root, folder: Path) -> Iterator[PathRange]:
    # The folder may be named through a link. Roots are stored resolved, but settings may map them to a link.
    for path in _spellings(folder):
        if root.folder.is_relative_to(path):
            yield PathRange(root.id)
        elif path.is_relative_to(root.folder):
            # The text of a name that is not UTF-8 has escapes; a folder's text is still a prefix of its photos' texts.
            text, _ = path_text(path.relative_to(root.folder))
            yield PathRange(root.id, text, text + _FIRST_CHARACTER)
            yield PathRange(root.id, text + "/", text + _AFTER_SLASH)


def _spellings(folder: Path) -> set[Path]:
    path = parse_path(folder)
    if isinstance(path, ObjectPath):
        return {path}
    return {Path(os.path.abspath(folder)), Path(os.path.realpath(folder))}  # noqa: PTH100 - keeps links, drops ..
