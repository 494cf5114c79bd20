"""Index scans: ways to read photos along an index, page by page, each page by the key at which the previous one ended.

A scan may return photos that do not match the query, but never misses one that does. No page uses OFFSET, so a page
costs no more than the rows it reads. Knows nothing of query options (see filters).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    exists,
    func,
    select,
    tuple_,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tagger.database.statements import among
from tagger.database.tables import photos
from tagger.library.query.tagged_photos import select_photos

Condition = ColumnElement[bool]
Key = tuple[Any, ...]
CANDIDATES = 2
"""Photos that PostgreSQL looks up for each row of a page: about every second one matches."""


class IndexScan(Protocol):
    """Photos along one index. `landmark_id` is set if the scan returns the photos of one landmark."""

    @property
    def landmark_id(self) -> int | None: ...

    def page(self, connection: Connection, request: "PageRequest") -> "ScanPage":
        """Read a page of photos."""
        ...

    def key(self, row: Row[Any]) -> Key:
        """The key of a photo of this scan."""
        ...

    def contains(self, connection: Connection, row: Row[Any]) -> bool:
        """Whether the scan can return the photo, so that the photo has a key."""
        ...

    def size(self, connection: Connection, limit: int) -> int:
        """The number of rows to read, counted up to `limit`."""
        ...

    def photo_ids(self) -> Select[Any]:
        """The ids of all its photos, for sorting; perhaps of others that do not match the query."""
        ...

    def accepts(self, key: Key) -> bool:
        """Whether `key` has the form of this scan's keys."""
        ...


@dataclass(frozen=True)
class PageRequest:
    """About `rows` photos that meet the conditions, after the key `after`; with `backwards`, those before it, the nearest first."""

    conditions: Sequence[Condition]
    after: Key | None
    rows: int
    backwards: bool

    def select(self, order: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """The statement for photos from the key on, in this order."""
        return self.in_order(select_photos().where(*self.conditions), order)

    def in_order(self, query: Select[Any], order: Sequence[ColumnElement[Any]]) -> Select[Any]:
        """The query from the key on, in this order."""
        if self.after is not None:
            key, bound = tuple_(*order), tuple_(*self.after)
            query = query.where(key < bound if self.backwards else key > bound)
        return query.order_by(*(column.desc() if self.backwards else column for column in order))


@dataclass(frozen=True)
class ScanPage:
    """Rows of photos, and the key after which the next page starts; None at the end of the scan."""

    photos: Sequence[Row[Any]]
    after: Key | None


@dataclass(frozen=True)
class PhotoScan:
    """Photos in the order of `keys`, columns of `photos` that have an index and are unique together; the conditions are on `photos`, too."""

    keys: tuple[Column[Any], ...]
    conditions: tuple[Condition, ...] = ()
    landmark_id: None = None

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        return page_along_index(connection, request, photos.c.id, self.keys, self.conditions)

    def key(self, row: Row[Any]) -> Key:
        return _key_of(row, self.keys)

    def contains(self, connection: Connection, row: Row[Any]) -> bool:
        return bool(connection.scalar(select(exists().where(photos.c.id == row.id, *self.conditions))))

    def size(self, connection: Connection, limit: int) -> int:
        return count_rows(connection, select(self.keys[0]).where(*self.conditions), limit)

    def photo_ids(self) -> Select[Any]:
        return select(photos.c.id).where(*self.conditions)

    def accepts(self, key: Key) -> bool:
        types = [column.type.python_type for column in self.keys]
        return len(key) == len(types) and all(
            is_id(part) if type_ is int else isinstance(part, type_)
            for part, type_ in zip(key, types, strict=True)
        )


def page_along_index(
    connection: Connection,
    request: PageRequest,
    photo_id: Column[int],
    keys: Sequence[Column[Any]],
    conditions: Sequence[Condition],
) -> ScanPage:
    """A page of photos in the order of `keys`, columns of one index; the conditions are on the same table.

    SQLite reads along the index, and checks each photo. PostgreSQL would not where it expects few photos, often wrongly: it is
    asked for the keys of candidates alone, then for these photos. Its page may be short, and larger pages read more candidates.
    """
    if connection.dialect.name == "sqlite":
        rows = connection.execute(request.select(keys).where(*conditions).limit(request.rows)).all()
        return ScanPage(rows, _key_of(rows[-1], keys) if len(rows) == request.rows else None)
    labelled = (key.label(f"key_{number}") for number, key in enumerate(keys))
    candidates = request.in_order(select(photo_id.label("photo"), *labelled).where(*conditions), keys)
    key_of = {
        row.photo: tuple(row[1:]) for row in connection.execute(candidates.limit(CANDIDATES * request.rows))
    }
    photos_of = select_photos().where(among(photos.c.id, key_of), *request.conditions)
    found = {row.id: row for row in connection.execute(photos_of)}
    page = [found[photo] for photo in key_of if photo in found][: request.rows]
    if len(page) == request.rows:
        return ScanPage(page, key_of[page[-1].id])
    is_last = len(key_of) < CANDIDATES * request.rows
    return ScanPage(page, None if is_last else list(key_of.values())[-1])


def _key_of(row: Row[Any], keys: Sequence[Column[Any]]) -> Key:
    return tuple(getattr(row, key.key or "") for key in keys)


def camera_scans(camera_id: int) -> tuple[PhotoScan, PhotoScan]:
    """Photos of a camera, in order of time; then those without a date, which have no place in that order."""
    of_camera = photos.c.camera_id == camera_id
    dated = PhotoScan((photos.c.taken_at, photos.c.id), (of_camera, photos.c.taken_at >= datetime.min))  # noqa: DTZ901 - local time
    return dated, PhotoScan((photos.c.id,), (of_camera, photos.c.taken_at.is_(None)))


class off_index(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function where it is used
    """The same column, hidden from SQLite's planner: a filter must not make SQLite scan another index."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(off_index)
def _compile_unchanged(element: off_index, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **options)


@compiles(off_index, "sqlite")
def _compile_with_plus(element: off_index, compiler: SQLCompiler, **options: Any) -> str:
    return "+" + compiler.process(next(iter(element.clauses)), **options)


def count_rows(connection: Connection, query: Select[Any], limit: int) -> int:
    """The number of rows of the query, counted up to `limit`."""
    return connection.scalar(select(counted_rows(query, limit))) or 0


def counted_rows(query: Select[Any], limit: int) -> ColumnElement[int]:
    """The number of rows of the query, counted up to `limit`, as a part of a statement."""
    return select(func.count()).select_from(query.limit(limit).subquery()).scalar_subquery()


def is_id(part: object) -> bool:
    """Whether a part of a key can be an id."""
    return type(part) is int and 0 <= part < 2**63
