"""Results in an order. A sorted scan reads along an index, or sorts the few photos that a filter leaves.

No page uses OFFSET: each begins after the key at which the previous one ended.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Subquery,
    and_,
    exists,
    func,
    or_,
    select,
    true,
    tuple_,
)

from tagger.database.enums import TagState
from tagger.database.statements import unindexed
from tagger.database.tables import FAILING, UNTAGGED, effective_tags, is_candidate, photos, tags
from tagger.errors import QueryOptionInvalid
from tagger.query.filters import ResolvedQuery
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import Condition, best_accepted_score
from tagger.query.tagged_photos import select_photos

MOST_CANDIDATES = 10_000
"""The most photos that PostgreSQL looks up for a page along an index, of which one in a hundred matches."""

MOST_COUNTED = 100_000
"""Photos of a filter are counted up to this number where no index has the order."""
FEWEST_TO_WALK = 20_000
"""Sorting more photos takes longer than reading as many along an index until a page is full."""

NO_MONTH = "none"
"""The month of photos without a date, in addresses."""

Key = tuple[Any, ...]


@dataclass(frozen=True)
class PageRequest:
    """About `rows` photos with these conditions after the key; `backwards`: before it, nearest first."""

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
class SortedScan:
    """Photos in the order of `keys`, unique together. `among`: those to sort; None: an index has it."""

    keys: tuple[ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool = False
    conditions: tuple[Condition, ...] = ()
    among: Condition | None = field(default=None, compare=False)

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        """Read a page of photos."""
        if self.among is None and connection.dialect.name != "sqlite":
            return self._page_of_candidates(connection, request)
        found = connection.execute(self.statement(request).limit(request.rows)).all()
        return ScanPage(found, self.key(found[-1]) if len(found) == request.rows else None)

    def _page_of_candidates(self, connection: Connection, request: PageRequest) -> ScanPage:
        """The photos of a page among the next MOST_CANDIDATES; it may be short.

        PostgreSQL would look up all photos of a landmark, or sort a month, before it reads along an index.
        If it is asked for few photos in this order, and then for those of them that match, it reads along it.
        """
        statement = self._lazy_statement(request, MOST_CANDIDATES)
        found = connection.execute(statement.limit(request.rows)).all()
        if len(found) == request.rows:
            return ScanPage(found, self.key(found[-1]))
        candidates = self._ordered_ids(self._directed(request), MOST_CANDIDATES)
        last = connection.execute(select(candidates).offset(MOST_CANDIDATES - 1)).one_or_none()
        return ScanPage(found, None if last is None else self.key(last))

    def key(self, row: Row[Any]) -> Key:
        """The key of a photo of this scan."""
        return tuple(getattr(row, f"key_{number}") for number in range(len(self.keys)))

    def accepts(self, key: Key) -> bool:
        """Whether `key` has the form of this scan's keys."""
        return len(key) == len(self.types) and all(
            is_id(part) if type_ is int else isinstance(part, type_)
            for part, type_ in zip(key, self.types, strict=True)
        )

    def ids(self, connection: Connection, request: PageRequest, skip: int) -> Sequence[Row[Any]]:
        """The ids and keys alone of a page after `skip` photos."""
        statement = self.statement(request)
        names = ("id", *(f"key_{number}" for number in range(len(self.keys))))
        columns = (statement.selected_columns[name] for name in names)
        ids = statement.with_only_columns(*columns, maintain_column_froms=True)
        return connection.execute(ids.offset(skip).limit(request.rows)).all()

    def count(self, connection: Connection, request: PageRequest) -> int:
        """How many photos there are from the request's key on."""
        every = (
            self.statement(request).order_by(None).with_only_columns(func.count(), maintain_column_froms=True)
        )
        return connection.scalar(every) or 0

    def row(self, connection: Connection, photo_id: int) -> Row[Any] | None:
        """The photo as a row of this scan, though not one to sort; None: the scan has no place for it."""
        request = PageRequest((photos.c.id == photo_id,), None, 1, backwards=False)
        return connection.execute(replace(self, among=None).statement(request)).one_or_none()

    def statement(self, request: PageRequest) -> Select[Any]:
        """The query for photos of a page, in order, with their keys."""
        if self.among is not None:
            return self._lazy_statement(request)
        in_order = self._directed(request)
        return in_order.select(self.keys).add_columns(*self._labelled_keys()).where(*self.conditions)

    def _lazy_statement(self, request: PageRequest, candidates: int | None = None) -> Select[Any]:
        """As `statement`, but the first `candidates` are checked in order until the page is full."""
        in_order = self._directed(request)
        photo_id, *keys = self._ordered_ids(in_order, candidates).c
        found = select_photos().add_columns(*keys).where(photos.c.id == photo_id, *request.conditions)
        return found.order_by(*(key.desc() if in_order.backwards else key for key in keys))

    def _directed(self, request: PageRequest) -> PageRequest:
        return replace(request, backwards=request.backwards != self.descending)

    def _ordered_ids(self, request: PageRequest, limit: int | None = None) -> Subquery:
        """The ids and keys of photos, in order. The offset keeps PostgreSQL from checking all before."""
        keys = tuple(unindexed(key) for key in self.keys)
        among = () if self.among is None else (self.among,)
        # With the sum, PostgreSQL does not know that ids are in order: it would merge them with all photos.
        ids = select((photos.c.id + 0).label("id"), *self._labelled_keys()).where(*among, *self.conditions)
        return request.in_order(ids, keys).offset(0).limit(limit).subquery("in_order")

    def _labelled_keys(self) -> Iterator[ColumnElement[Any]]:
        return (key.label(f"key_{number}") for number, key in enumerate(self.keys))


def sorted_scans(
    connection: Connection, resolved: ResolvedQuery, month: str | None = None
) -> tuple[SortedScan, ...]:
    """The scans for the order of the query; with `month`, for that month alone.

    The photos that a filter leaves are sorted if they are few; otherwise an index has the order.
    """
    query = resolved.query
    is_by_score = query.sort == "score" and not query.unknown  # no index has this order
    limit = MOST_COUNTED if is_by_score else FEWEST_TO_WALK
    narrowest, is_small = resolved.narrowest(connection, limit)
    found = true() if narrowest is None else narrowest.among
    if query.sort == "score" and query.unknown:
        return tuple(_scans_by_candidate(found, is_small=is_small))
    among = found if is_by_score or is_small else None
    return tuple(_scans_in_order(query, resolved.landmark_ids, among, month))


def _scans_in_order(
    query: PhotoQuery, landmark_ids: Sequence[int], among: Condition | None, month: str | None = None
) -> Iterator[SortedScan]:
    """The scans for the order of the query; `month`: of that alone, `2024-06`, or `none` without a date."""
    if query.sort is None and query.trip is None:
        yield SortedScan((photos.c.id,), (int,), conditions=tuple(_waiting(query)), among=among)
        return
    if query.sort == "name":
        yield SortedScan(
            (photos.c.root_id, photos.c.path, photos.c.path_bytes), (int, str, bytes), among=among
        )
        return
    if query.sort == "score":
        yield SortedScan(
            (best_accepted_score(landmark_ids), photos.c.id), (float, int), descending=True, among=among
        )
        return
    dates = (query.taken_after, query.taken_before, query.trip)
    is_dated = bool(query.year) or any(each is not None for each in dates)
    if month != NO_MONTH:
        during = (*_during(query, month), *_waiting(query))
        by_date = (photos.c.taken_at, photos.c.id), (datetime, int)
        yield SortedScan(*by_date, query.sort == "newest", during, among)
    if month == NO_MONTH or (month is None and not is_dated):
        # Photos that wait have no date yet, so their own index is to be read instead of that of dates.
        taken_at = unindexed(photos.c.taken_at) if _waiting(query) else photos.c.taken_at
        undated = (taken_at.is_(None), *_waiting(query))
        yield SortedScan((photos.c.id,), (int,), conditions=undated, among=among)


def _waiting(query: PhotoQuery) -> tuple[Condition, ...]:
    """The condition of the index that has only the photos that wait or fail, in order of time."""
    if query.untagged:
        return (UNTAGGED,)
    return (FAILING,) if query.failed else ()


def _scans_by_candidate(among: Condition, *, is_small: bool) -> Iterator[SortedScan]:
    """The scans for unknown photos in the order of the model's best predictions, unless these were rejected.

    Those without a candidate come last. Few photos are sorted; otherwise an index has those with a candidate.
    The scans and keys are the same, since the photos can become few or many between two pages.
    """
    # Under its own name: conditions of the query are about other tags of the photo.
    tag = tags.alias("candidate")
    is_rejected = exists().where(
        effective_tags.c.content_id == tag.c.content_id,
        effective_tags.c.landmark_id == tag.c.landmark_id,
        effective_tags.c.state == TagState.REJECTED,
    )
    other = tags.alias("other_candidate")
    is_better = or_(
        other.c.score > tag.c.score, and_(other.c.score == tag.c.score, other.c.model_id < tag.c.model_id)
    )
    # Of several models, the best score of all counts.
    has_better = exists().where(
        other.c.content_id == tag.c.content_id, other.c.rank == 1, other.c.counts == true(), is_better
    )
    is_best = and_(tag.c.counts == true(), ~has_better)
    candidate = and_(is_candidate(tag), tag.c.content_id == photos.c.content_id, is_best, ~is_rejected)
    has_candidate = exists().where(candidate)
    types = (float, int, int)
    if is_small:
        score = select(tag.c.score).where(candidate).scalar_subquery()
        yield SortedScan(
            (score, photos.c.content_id, photos.c.id),
            types,
            descending=True,
            conditions=(has_candidate,),
            among=among,
        )
    else:
        # With a range of scores, SQLite reads along their index rather than sort all photos.
        along_index = (candidate, tag.c.score.between(0, 1))
        keys = (tag.c.score, tag.c.content_id, photos.c.id)
        yield SortedScan(keys, types, descending=True, conditions=along_index)
    yield SortedScan((photos.c.id,), (int,), conditions=(~has_candidate,), among=among)


def _during(query: PhotoQuery, month: str | None) -> Iterator[Condition]:
    # The first condition also keeps photos without a date out of the scan, and so out of its keys.
    first, end = query.taken_between
    yield photos.c.taken_at >= first
    if end is not None:
        yield photos.c.taken_at < end
    if month is not None:
        first_of_month, end_of_month = _limits(month)
        yield photos.c.taken_at >= first_of_month
        if end_of_month is not None:
            yield photos.c.taken_at < end_of_month


def _limits(month: str) -> tuple[datetime, datetime | None]:
    try:
        first = datetime.strptime(month, "%Y-%m")  # noqa: DTZ007 - local time
    except ValueError:
        reason = f"{month!r} is not a month. Write it like 2024-06, or {NO_MONTH} for photos without a date"
        raise QueryOptionInvalid(option="month", reason=reason) from None
    if (first.year, first.month) == (9999, 12):
        return first, None
    return first, first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def is_id(part: object) -> bool:
    """Whether a part of a cursor can be the number of a row."""
    return type(part) is int and 0 <= part < 2**63
