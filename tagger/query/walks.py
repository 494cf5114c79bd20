"""Walks: ways through an index along which a query reads photos page by page, each by the key where the last one ended.

A walk may pass photos that the query does not want, never miss one that it wants. No page is found by offset, and
no page costs more than the rows it passes. Knows nothing of what a query means (see query).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Row, Select, exists, func, select, true, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tagger.query.tagged import photo_rows
from tagger.tables import contents, photos, tags, verdicts

Condition = ColumnElement[bool]
Key = tuple[Any, ...]
BLOCK = 64
"""Contents are walked by blocks of so many ids. Photos of one block stand by their own id: as they were found, not as they were looked at."""
_LAST_ID = 2**63 - 1


class off_index(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function where it is used
    """The same column, but not to be walked along: a filter beside a walk must not lead SQLite onto another index."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(off_index)
def _as_it_is(element: off_index, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(next(iter(element.clauses)), **options)


@compiles(off_index, "sqlite")
def _with_a_plus(element: off_index, compiler: SQLCompiler, **options: Any) -> str:
    return "+" + compiler.process(next(iter(element.clauses)), **options)


@dataclass(frozen=True)
class Page:
    """Rows of photos, and the key to go on from; None: the walk ends here."""

    photos: Sequence[Row[Any]]
    after: Key | None


class Walk(Protocol):
    """One walk; `landmark_id` is set where all photos of one landmark are passed."""

    @property
    def landmark_id(self) -> int | None: ...

    def page(
        self,
        connection: Connection,
        conditions: Sequence[Condition],
        after: Key | None,
        rows: int,
        *,
        back: bool,
    ) -> Page:
        """About so many photos after the key; with `back`, of those before it, the nearest first."""
        ...

    def key(self, row: Row[Any]) -> Key:
        """Where a photo of this walk stands in it."""
        ...

    def passes(self, connection: Connection, row: Row[Any]) -> bool:
        """Whether the photo could stand in it, so that it has a key."""
        ...

    def size(self, connection: Connection, at_most: int) -> int: ...

    def accepts(self, key: Key) -> bool:
        """Whether it could be a key of this walk's."""
        ...


@dataclass(frozen=True)
class Source:
    """Content ids in the order of an index: the column, and the conditions on its table that the index answers.

    `narrowed` holds those that have to be looked up row by row; they shorten the pages, not the walk. `cost` is how many
    rows of other walks one of this is worth.
    """

    content_id: ColumnElement[int]
    conditions: tuple[Condition, ...]
    narrowed: tuple[Condition, ...] = ()
    cost: int = 1


@dataclass(frozen=True)
class ContentWalk:
    """Contents out of one or more sources together, block by block; of each block the photos that show them, by their own id.

    A key is a block and a photo of it.
    """

    sources: tuple[Source, ...]
    landmark_id: int | None = None

    def page(
        self,
        connection: Connection,
        conditions: Sequence[Condition],
        after: Key | None,
        rows: int,
        *,
        back: bool,
    ) -> Page:
        ids, following = self._ids(connection, None if after is None else after[0], rows, back=back)
        order = (photos.c.content_id // BLOCK, photos.c.id)
        wanted = photo_rows().where(photos.c.content_id.in_(ids), *conditions)
        shown = connection.execute(_along(wanted, order, after, back=back)).all() if ids else ()
        return Page(shown, None if following is None else (following, _LAST_ID if back else 0))

    def key(self, row: Row[Any]) -> Key:
        return row.content_id // BLOCK, row.id

    def passes(self, connection: Connection, row: Row[Any]) -> bool:  # noqa: ARG002 - its row says it
        return row.content_id is not None

    def accepts(self, key: Key) -> bool:
        return len(key) == 2 and all(_is_id(part) for part in key) and key[0] <= _LAST_ID // BLOCK

    def size(self, connection: Connection, at_most: int) -> int:
        return sum(
            source.cost
            * _size(connection, select(source.content_id).where(*source.conditions), at_most // source.cost)
            for source in self.sources
        )

    def _ids(
        self, connection: Connection, block: int | None, rows: int, *, back: bool
    ) -> tuple[Sequence[int], int | None]:
        """About so many ids of all sources together, in whole blocks from that one on; and the block to go on with."""
        count = max(rows, BLOCK)
        ids: set[int] = set()
        for source in self.sources:
            column = source.content_id
            wanted = select(column).distinct().where(*source.conditions, *source.narrowed)
            if block is not None:
                wanted = wanted.where(column < (block + 1) * BLOCK if back else column >= block * BLOCK)
            ids.update(connection.scalars(wanted.order_by(column.desc() if back else column).limit(count)))
        found = sorted(ids, reverse=back)[:count]
        if len(found) < count:
            return found, None
        last = found[-1] // BLOCK
        whole = [number for number in found if number // BLOCK != last]
        # Where no block ends, all of these are of one, which is full.
        return (whole, last) if whole else (found, last + (-1 if back else 1))


@dataclass(frozen=True)
class PhotoWalk:
    """Photos in the order of `keys`, which an index has; the last of them make a photo unique."""

    keys: tuple[ColumnElement[Any], ...]
    conditions: tuple[Condition, ...] = ()
    landmark_id: None = None

    def page(
        self,
        connection: Connection,
        conditions: Sequence[Condition],
        after: Key | None,
        rows: int,
        *,
        back: bool,
    ) -> Page:
        wanted = photo_rows().where(*self.conditions, *conditions).limit(rows)
        shown = connection.execute(_along(wanted, self.keys, after, back=back)).all()
        return Page(shown, self.key(shown[-1]) if len(shown) == rows else None)

    def key(self, row: Row[Any]) -> Key:
        return tuple(getattr(row, key.key or "") for key in self.keys)

    def passes(self, connection: Connection, row: Row[Any]) -> bool:
        return bool(connection.scalar(select(exists().where(photos.c.id == row.id, *self.conditions))))

    def accepts(self, key: Key) -> bool:
        kinds = [column.type.python_type for column in self.keys]
        return len(key) == len(kinds) and all(
            _is_id(part) if kind is int else isinstance(part, kind)
            for part, kind in zip(key, kinds, strict=True)
        )

    def size(self, connection: Connection, at_most: int) -> int:
        return _size(connection, select(photos.c.id).where(*self.conditions), at_most)


def landmark_walk(landmark_id: int, *, any_rank: bool, min_score: float | None = None) -> ContentWalk:
    """Contents with a tag of the landmark: accepted, or at any rank; and those where a person confirmed it."""
    said = (tags.c.landmark_id == landmark_id, *(() if any_rank else (tags.c.accepted == true(),)))
    scored = () if min_score is None else (tags.c.score >= min_score,)
    confirmed = (verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == "confirmed")
    return ContentWalk(
        (Source(tags.c.content_id, said, scored), Source(verdicts.c.content_id, confirmed)), landmark_id
    )


def outcome_source(outcome: str | None, *, min_score: float | None = None, any_rank: bool = False) -> Source:
    """Contents by what the model said of them; None: no model has looked."""
    said = contents.c.outcome.is_(None) if outcome is None else contents.c.outcome == outcome
    if min_score is None:
        return Source(contents.c.id, (said,))
    scored = exists().where(tags.c.content_id == contents.c.id, tags.c.score >= min_score)
    return Source(contents.c.id, (said,), (scored if any_rank else scored.where(tags.c.accepted == true()),))


def score_source(least: float) -> Source:
    """Contents with an accepted tag of at least that score. The index has them by score, so every page sorts them anew."""
    # SQLite would rather walk along all contents than sort these few.
    content_id = off_index(tags.c.content_id)
    return Source(content_id, (tags.c.accepted == true(), tags.c.score >= least), cost=4)


def verdict_source(verdict: str) -> Source:
    """Contents on which a person gave that verdict."""
    return Source(verdicts.c.content_id, (verdicts.c.verdict == verdict,))


def model_source(model_id: int) -> Source:
    """Contents that the model looked at last."""
    return Source(contents.c.id, (contents.c.model_id == model_id,))


def _along(
    wanted: Select[Any], order: Sequence[ColumnElement[Any]], after: Key | None, *, back: bool
) -> Select[Any]:
    if after is not None:
        here, there = tuple_(*order), tuple_(*after)
        wanted = wanted.where(here < there if back else here > there)
    return wanted.order_by(*(column.desc() if back else column for column in order))


def _size(connection: Connection, query: Select[Any], at_most: int) -> int:
    return connection.scalar(select(func.count()).select_from(query.limit(at_most).subquery())) or 0


def _is_id(part: object) -> bool:
    return type(part) is int and 0 <= part < 2**63
