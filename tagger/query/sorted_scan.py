"""Results in an order. A page is read along an index, or sorts the few photos that a filter leaves.

No page uses OFFSET: each begins after the key at which the previous one ended. Where few photos along an
index match, a page is short, and all that follow are found at once (see find).

Cursors are positions in a scan as opaque texts for addresses. One is of one query, and is not trusted.
"""

import base64
import binascii
import json
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from hashlib import blake2b
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
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

from tagger.database import TagState
from tagger.database.statements import unindexed
from tagger.database.tables import (
    FAILING,
    UNTAGGED,
    effective_tags,
    is_candidate,
    photos,
    tags,
)
from tagger.errors import CursorInvalid, QueryOptionInvalid
from tagger.query.filters import ResolvedQuery
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import Condition, is_of_landmarks
from tagger.query.tagged_photos import select_photos

# The most photos that are looked up for a page along an index: it is short if few of them match.
MOST_CANDIDATES = 10_000
# Sorting more photos takes longer than reading as many along an index until a page is full.
FEWEST_TO_WALK = 20_000

# The month of photos without a date, in addresses.
NO_MONTH = "none"

Key = tuple[Any, ...]


@dataclass(frozen=True)
class PageRequest:
    """About `rows` photos with these conditions after the key.

    `last`: the key at which they end; None: that of the last photo.
    """

    conditions: Sequence[Condition]
    after: Key | None
    rows: int
    last: Key | None = None

    def in_order(
        self,
        query: Select[Any],
        order: Sequence[ColumnElement[Any]],
        *,
        descending: bool,
    ) -> Select[Any]:
        key = tuple_(*order)
        if self.after is not None:
            bound = tuple_(*self.after)
            query = query.where(key < bound if descending else key > bound)
        if self.last is not None:
            bound = tuple_(*self.last)
            query = query.where(key >= bound if descending else key <= bound)
        return query.order_by(
            *(column.desc() if descending else column for column in order)
        )


# Rows of photos, and the key after which the next page starts; None at the end of the scan.
ScanPage = tuple[Sequence[Row[Any]], Key | None]


@dataclass(frozen=True)
class SortedScan:
    """Photos in the order of `keys`, unique together. `among`: those to sort; None: an index has it."""

    keys: tuple[ColumnElement[Any], ...]
    types: tuple[type, ...]
    descending: bool = False
    conditions: tuple[Condition, ...] = ()
    among: Condition | None = field(default=None, compare=False)

    def page(self, connection: Connection, request: PageRequest) -> ScanPage:
        """Read a page of photos: along an index, those among the next MOST_CANDIDATES, so it may be short."""
        if self.among is not None:
            return self._page(
                connection,
                self._lazy_statement(connection, request),
                request.rows,
            )
        if connection.dialect.name == "sqlite":
            last = self._last_candidate(connection, request)
            statement = self.statement(connection, replace(request, last=last))
            return self._page(connection, statement, request.rows, last)
        # PostgreSQL would look up all photos of a landmark, or sort a month, before it reads along an index.
        # If it is asked for few photos in this order, and then for those that match, it reads along it.
        statement = self._lazy_statement(connection, request, MOST_CANDIDATES)
        rows, after = self._page(connection, statement, request.rows)
        return rows, after or self._last_candidate(connection, request)

    def _page(
        self,
        connection: Connection,
        statement: Select[Any],
        rows: int,
        last: Key | None = None,
    ) -> ScanPage:
        photo_rows = connection.execute(statement.limit(rows)).all()
        is_full = len(photo_rows) == rows
        return photo_rows, self.key(photo_rows[-1]) if is_full else last

    def _last_candidate(
        self, connection: Connection, request: PageRequest
    ) -> Key | None:
        # The key of the last of the next MOST_CANDIDATES photos; None: there are fewer.
        candidates = self._ordered_ids(request, MOST_CANDIDATES)
        last = connection.execute(
            select(candidates).offset(MOST_CANDIDATES - 1)
        ).one_or_none()
        return None if last is None else self.key(last)

    def following(
        self,
        connection: Connection,
        conditions: Sequence[Condition],
        after: Key | None,
        limit: int | None,
    ) -> "array[int]":
        """The ids of at most `limit` photos after the key, in order, by one statement; None: of all."""
        statement = self.statement(connection, PageRequest(conditions, after, 0))
        # PostgreSQL would expect the first ones soon, and look up one photo after the other.
        ids = (
            statement.with_only_columns(
                statement.selected_columns["id"], maintain_column_froms=True
            )
            .cte("following")
            .prefix_with("MATERIALIZED", dialect="postgresql")
        )
        every = select(ids.c.id).limit(limit)
        return array(
            "q", connection.scalars(every.execution_options(yield_per=MOST_CANDIDATES))
        )

    def key(self, row: Row[Any]) -> Key:
        return tuple(getattr(row, f"key_{number}") for number in range(len(self.keys)))

    def accepts(self, key: Key) -> bool:
        return len(key) == len(self.types) and all(
            is_id(part) if type_ is int else isinstance(part, type_)
            for part, type_ in zip(key, self.types, strict=True)
        )

    def ids(
        self,
        connection: Connection,
        request: PageRequest,
        skip: int,
    ) -> Sequence[Row[Any]]:
        statement = self.statement(connection, request)
        names = "id", *(f"key_{number}" for number in range(len(self.keys)))
        ids = statement.with_only_columns(
            *(statement.selected_columns[name] for name in names),
            maintain_column_froms=True,
        )
        return connection.execute(ids.offset(skip).limit(request.rows)).all()

    def count(self, connection: Connection, request: PageRequest) -> int:
        number = (
            self.statement(connection, request)
            .order_by(None)
            .with_only_columns(func.count(), maintain_column_froms=True)
        )
        return connection.scalar(number) or 0

    def statement(self, connection: Connection, request: PageRequest) -> Select[Any]:
        if self.among is not None:
            return self._lazy_statement(connection, request)
        selected = select_photos().where(*request.conditions, *self.conditions)
        in_order = request.in_order(selected, self.keys, descending=self.descending)
        return in_order.add_columns(*self._labelled_keys())

    def _lazy_statement(
        self,
        connection: Connection,
        request: PageRequest,
        candidates: int | None = None,
    ) -> Select[Any]:
        # As `statement`, but the first `candidates` are checked in order until the page is full.
        in_order = self._ordered_ids(request, candidates)
        photo_id, *keys = in_order.c
        selected = select_photos().where(photos.c.id == photo_id, *request.conditions)
        if connection.dialect.name == "sqlite":
            selected = selected.add_columns(*keys)
        else:
            # Otherwise, PostgreSQL may read all photos of a folder for each of these; and without the second
            # one, what is returned of a photo before its conditions.
            ids = selected.with_only_columns(photos.c.id, maintain_column_froms=True)
            match = ids.offset(0).lateral("match")
            photo = (
                select_photos()
                .where(photos.c.id == match.c.id)
                .offset(0)
                .lateral("photo")
            )
            selected = select(photo, *keys).select_from(
                in_order.join(match, true()).join(photo, true())
            )
        return selected.order_by(
            *(key.desc() if self.descending else key for key in keys)
        )

    def _ordered_ids(self, request: PageRequest, limit: int | None = None) -> Subquery:
        # The ids and keys of photos, in order. The offset keeps PostgreSQL from checking all before.
        keys, conditions = self.keys, self.conditions
        if self.among is not None:
            keys, conditions = tuple(map(unindexed, keys)), (self.among, *conditions)
        # With the sum, PostgreSQL does not know that ids are in order: it would merge them with all photos.
        ids = select((photos.c.id + 0).label("id"), *self._labelled_keys())
        in_order = request.in_order(
            ids.where(*conditions), keys, descending=self.descending
        )
        return in_order.offset(0).limit(limit).subquery("in_order")

    def _labelled_keys(self) -> Iterator[ColumnElement[Any]]:
        return (key.label(f"key_{number}") for number, key in enumerate(self.keys))


def sorted_scans(
    connection: Connection,
    resolved: ResolvedQuery,
    month: str | None = None,
) -> tuple[SortedScan, ...]:
    """The scans for the order of the query; with `month`, for that month alone.

    The photos that a filter leaves are sorted if they are few; otherwise an index has the order.
    """
    query = resolved.query
    narrowest, is_small = resolved.narrowest(connection, FEWEST_TO_WALK)
    among = narrowest.among if narrowest is not None and is_small else None
    if query.sort == "score":
        by_tag = _scans_by_candidate if query.unknown else _scans_by_best_tag
        return tuple(by_tag(resolved.landmark_ids, among))
    return tuple(_scans_in_order(query, among, month))


def _scans_in_order(
    query: PhotoQuery,
    among: Condition | None,
    month: str | None = None,
) -> Iterator[SortedScan]:
    # The scans for the order of the query; `month`: of that alone, `2024-06`, or `none` without a date.
    if query.sort == "added" or (query.sort is None and query.trip is None):
        yield SortedScan(
            (photos.c.id,),
            (int,),
            query.sort == "added",
            _waiting(query),
            among,
        )
        return
    if query.sort == "name":
        keys = photos.c.root_id, photos.c.path, photos.c.path_bytes
        yield SortedScan(keys, (int, str, bytes), among=among)
        return
    waiting = _waiting(query)
    if month != NO_MONTH:
        yield SortedScan(
            (photos.c.taken_at, photos.c.id),
            (datetime, int),
            query.sort == "newest",
            (*_during(query, month), *waiting),
            among,
        )
    dates = (query.taken_after, query.taken_before, query.trip)
    is_dated = bool(query.year) or any(each is not None for each in dates)
    if month == NO_MONTH or (month is None and not is_dated):
        # Photos that wait have no date yet, so their own index is to be read instead of that of dates.
        taken_at = unindexed(photos.c.taken_at) if waiting else photos.c.taken_at
        yield SortedScan(
            (photos.c.id,),
            (int,),
            conditions=(taken_at.is_(None), *waiting),
            among=among,
        )


def _waiting(query: PhotoQuery) -> tuple[Condition, ...]:
    # The condition of the index that has only the photos that wait or fail, in order of time.
    if query.untagged:
        return (UNTAGGED,)
    return (FAILING,) if query.failed else ()


def _scans_by_best_tag(
    landmark_ids: Sequence[int], among: Condition | None
) -> Iterator[SortedScan]:
    # The scans for photos in the order of their best accepted scores, of these landmarks if there are any.
    #
    # Those without a score come last, as confirmed ones that no model predicts.
    # Under its own name: conditions of the query are about other tags of the photo.
    tag, other = effective_tags.alias("best_tag"), effective_tags.alias("better_tag")

    def counts(table: FromClause) -> Condition:
        return and_(
            table.c.accepted == true(),
            table.c.score > 0,
            *([is_of_landmarks(table, landmark_ids)] if landmark_ids else []),
        )

    has_better = exists().where(
        other.c.content_id == tag.c.content_id,
        counts(other),
        or_(
            other.c.score > tag.c.score,
            and_(
                other.c.score == tag.c.score,
                other.c.landmark_id < tag.c.landmark_id,
            ),
        ),
    )
    best = and_(tag.c.content_id == photos.c.content_id, counts(tag), ~has_better)
    yield SortedScan((tag.c.score, photos.c.id), (float, int), True, (best,), among)
    yield SortedScan((photos.c.id,), (int,), True, (~exists().where(best),), among)


def _scans_by_candidate(
    _landmark_ids: Sequence[int], among: Condition | None
) -> Iterator[SortedScan]:
    # The scans for unknown photos in the order of the model's best predictions, unless these were rejected.
    #
    # Those without a candidate come last.
    tag = tags.alias("candidate")
    is_rejected = exists().where(
        effective_tags.c.content_id == tag.c.content_id,
        effective_tags.c.landmark_id == tag.c.landmark_id,
        effective_tags.c.state == TagState.REJECTED,
    )
    other = tags.alias("other_candidate")
    # Of several models, the best score of all counts.
    has_better = exists().where(
        other.c.content_id == tag.c.content_id,
        other.c.rank == 1,
        other.c.counts == true(),
        or_(
            other.c.score > tag.c.score,
            and_(
                other.c.score == tag.c.score,
                other.c.model_id < tag.c.model_id,
            ),
        ),
    )
    candidate = and_(
        is_candidate(tag),
        tag.c.content_id == photos.c.content_id,
        tag.c.counts == true(),
        ~has_better,
        ~is_rejected,
    )
    # With a range of scores, SQLite reads along their index rather than sort all photos.
    along_index = (
        (candidate,) if among is not None else (candidate, tag.c.score.between(0, 1))
    )
    yield SortedScan(
        (tag.c.score, tag.c.content_id, photos.c.id),
        (float, int, int),
        True,
        along_index,
        among,
    )
    yield SortedScan(
        (photos.c.id,), (int,), False, (~exists().where(candidate),), among
    )


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
        raise QueryOptionInvalid(
            option="month",
            reason=f"{month!r} is not a month. Write it like 2024-06, or {NO_MONTH} for photos "
            "without a date",
        ) from None
    if (first.year, first.month) == (9999, 12):
        return first, None
    return first, first.replace(
        year=first.year + first.month // 12,
        month=first.month % 12 + 1,
    )


def is_id(part: object) -> bool:
    return type(part) is int and 0 <= part < 2**63


# ----- positions as texts -----


@dataclass(frozen=True)
class ScanPosition:
    """The end of a page: the number of the scan, and the key in it; None: its start."""

    scan: int
    after: Key | None


# Longer cursors are refused. A cursor contains a path if photos are sorted by name.
MOST_CHARACTERS = 20_000


def encode_cursor(position: ScanPosition, query: PhotoQuery) -> str:
    document = [_query_digest(query), position.scan, position.after]
    text = json.dumps(document, default=_encode_part)
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, query: PhotoQuery) -> ScanPosition:
    """Raises:
    CursorInvalid: the text is not a cursor, or is one of another query.
    """
    if len(cursor) > MOST_CHARACTERS:
        raise CursorInvalid
    try:
        text = base64.b64decode(
            cursor + "=" * (-len(cursor) % 4),
            b"-_",
            validate=True,
        )
        query_digest, scan, key = json.loads(text)
        after = None if key is None else tuple(_decode_part(part) for part in key)
    except (
        binascii.Error,
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        RecursionError,
    ):
        raise CursorInvalid from None
    if query_digest != _query_digest(query) or not is_id(scan):
        raise CursorInvalid
    return ScanPosition(scan, after)


def _encode_part(part: datetime | bytes) -> dict[str, str]:
    if isinstance(part, datetime):
        return {"time": part.isoformat()}
    return {"bytes": part.hex()}


def _decode_part(part: Any) -> object:
    if isinstance(part, dict):
        if "bytes" in part:
            return bytes.fromhex(part["bytes"])
        return datetime.fromisoformat(part["time"])
    if isinstance(part, str):
        part.encode()  # raises for a lone surrogate, which the database would refuse
        if "\0" in part:
            raise ValueError("a path contains no NUL")
    return part


def _query_digest(query: PhotoQuery) -> str:
    return blake2b(
        repr(replace(query, limit=None)).encode(errors="surrogatepass"), digest_size=6
    ).hexdigest()
