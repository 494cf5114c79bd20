"""Index scans: ways to read photos along an index, page by page, each page by the key at which the previous one ended.

A scan may return photos that do not match the query, but never misses one that does. No page uses OFFSET, so a page
costs no more than the rows it reads. Knows nothing of query options (see filters).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import reduce
from math import ceil
from operator import add
from typing import Any, Protocol

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Row,
    Select,
    exists,
    func,
    literal,
    select,
    true,
    tuple_,
    union,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tagger.database.statements import among
from tagger.database.tables import contents, dismissals, photos, tags, taught_tags, verdicts
from tagger.query.tagged_photos import select_photos

Condition = ColumnElement[bool]
Key = tuple[Any, ...]
BLOCK = 64
"""A content scan reads blocks of this many consecutive content ids. Within a block, photos are in the order of their own ids."""
CANDIDATES = 2
"""Photos that PostgreSQL looks up for each row of a page: about every second one matches."""
_LAST_ID = 2**63 - 1


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
class ContentSource:
    """Content ids in the order of an index: the column, and the conditions on its table that the index answers.

    `row_conditions` are checked row by row; they shorten the pages, not the scan. `cost` weighs a row of this source
    against the rows of other scans.
    """

    content_id: ColumnElement[int]
    conditions: tuple[Condition, ...]
    row_conditions: tuple[Condition, ...] = ()
    cost: int = 1


@dataclass(frozen=True)
class ContentScan:
    """The contents of all `sources`, block by block, and the photos of each block in the order of their ids.

    A key is a block number and a photo id. `of_matches`: few of the contents have a photo that matches, so the others are left out
    where the sources are read.
    """

    sources: Iterable[ContentSource]
    landmark_id: int | None = None
    of_matches: bool = False

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        ids, next_block = self._content_ids(connection, request)
        order = (photos.c.content_id // BLOCK, photos.c.id)
        query = request.select(order).where(photos.c.content_id.in_(ids))
        found = connection.execute(query).all() if ids else ()
        first_id = _LAST_ID if request.backwards else 0
        return ScanPage(found, None if next_block is None else (next_block, first_id))

    def key(self, row: Row[Any]) -> Key:
        return row.content_id // BLOCK, row.id

    def contains(self, connection: Connection, row: Row[Any]) -> bool:  # noqa: ARG002 - the row is enough
        return row.content_id is not None

    def size(self, connection: Connection, limit: int) -> int:
        # One statement for all sources: most have few rows or none, and a statement costs more than these.
        counts = [
            source.cost
            * counted_rows(select(source.content_id).where(*source.conditions), ceil(limit / source.cost))
            for source in self.sources
        ]
        return connection.scalar(select(reduce(add, counts))) or 0 if counts else 0

    def photo_ids(self) -> Select[Any]:
        ids = (
            select(source.content_id.label("id")).where(*source.conditions, *source.row_conditions)
            for source in self.sources
        )
        return select(photos.c.id).where(photos.c.content_id.in_(union(*ids)))

    def accepts(self, key: Key) -> bool:
        return len(key) == 2 and all(is_id(part) for part in key) and key[0] <= _LAST_ID // BLOCK

    def _content_ids(self, connection: Connection, request: PageRequest) -> tuple[Sequence[int], int | None]:
        """About `rows` ids from all sources, in whole blocks starting with that of the key; and the block to continue with."""
        count = max(request.rows, BLOCK)
        nearest = connection.scalars(self._nearest(request, count)).all()
        if len(nearest) < count:
            return nearest, None
        last_block = nearest[-1] // BLOCK
        whole_blocks = [number for number in nearest if number // BLOCK != last_block]
        if whole_blocks:
            return whole_blocks, last_block
        following = last_block + (-1 if request.backwards else 1)
        return nearest, following  # all ids are of one block, which is full

    def _nearest(self, request: PageRequest, count: int) -> Select[Any]:
        """The next ids of all sources, each once and in order: one statement, since most sources have few or none."""
        parts = [select(self._next_of(source, request, count).subquery().c.id) for source in self.sources]
        found = union(*parts).subquery()
        return (
            select(found.c.id).order_by(found.c.id.desc() if request.backwards else found.c.id).limit(count)
        )

    def _next_of(self, source: ContentSource, request: PageRequest, count: int) -> Select[Any]:
        column = source.content_id
        query = select(column.label("id")).distinct().where(*source.conditions, *source.row_conditions)
        if self.of_matches:
            query = query.where(has_photo(column, request.conditions))
        if request.after is not None:
            first = request.after[0] * BLOCK
            query = query.where(column < first + BLOCK if request.backwards else column >= first)
        return query.order_by(column.desc() if request.backwards else column).limit(count)


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


def has_photo(content_id: ColumnElement[int], conditions: Sequence[Condition]) -> Condition:
    """Whether the content has a photo with these conditions, which may be on its position."""
    of_content = select_photos().with_only_columns(literal(1), maintain_column_froms=True)
    return of_content.where(photos.c.content_id == content_id, *conditions).exists()


def outcome_source(
    outcome: str | None, *, min_score: float | None = None, any_rank: bool = False
) -> ContentSource:
    """Contents by outcome; None: contents that no model has classified."""
    has_outcome = contents.c.outcome.is_(None) if outcome is None else contents.c.outcome == outcome
    if min_score is None:
        return ContentSource(contents.c.id, (has_outcome,))
    scored = exists().where(tags.c.content_id == contents.c.id, tags.c.score >= min_score)
    row_condition = scored if any_rank else scored.where(tags.c.accepted == true())
    return ContentSource(contents.c.id, (has_outcome,), (row_condition,))


def score_source(min_score: float) -> ContentSource:
    """Contents with an accepted tag of at least `min_score`. The index is ordered by score, so each page is sorted."""
    # Without off_index, SQLite scans all contents in order rather than sort these few.
    content_id = off_index(tags.c.content_id)
    return ContentSource(content_id, (tags.c.accepted == true(), tags.c.score >= min_score), cost=4)


def taught_source(*, min_score: float | None = None, any_rank: bool = False) -> ContentSource:
    """Contents with a taught tag, accepted or (with `any_rank`) not."""
    accepted = () if any_rank else (taught_tags.c.accepted == true(),)
    scored = () if min_score is None else (taught_tags.c.score >= min_score,)
    return ContentSource(taught_tags.c.content_id, accepted, scored)


def verdict_source(verdict: str | None = None) -> ContentSource:
    """Contents with at least one such verdict; None: with any."""
    return ContentSource(verdicts.c.content_id, () if verdict is None else (verdicts.c.verdict == verdict,))


def camera_scans(camera_id: int) -> tuple[PhotoScan, PhotoScan]:
    """Photos of a camera, in order of time; then those without a date, which have no place in that order."""
    of_camera = photos.c.camera_id == camera_id
    dated = PhotoScan((photos.c.taken_at, photos.c.id), (of_camera, photos.c.taken_at >= datetime.min))  # noqa: DTZ901 - local time
    return dated, PhotoScan((photos.c.id,), (of_camera, photos.c.taken_at.is_(None)))


def dismissal_source() -> ContentSource:
    """Contents that were put away as not a landmark."""
    return ContentSource(dismissals.c.content_id, ())


def model_source(model_id: int) -> ContentSource:
    """Contents that this model classified last."""
    return ContentSource(contents.c.id, (contents.c.model_id == model_id,))


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
