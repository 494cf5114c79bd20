"""Walks: ways through an index along which a query reads photos page by page, each by the key where the last one ended.

A walk may pass photos that the query does not want, never miss one that it wants. No page is found by offset, and
no page costs more than the rows it passes. Knows nothing of what a query means (see query).
"""

from collections.abc import Callable, Sequence
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
_PAGE_AT_MOST = 2000
"""Contents of a page that is taken up again: a few may have come into it since."""


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
    """Rows of photos, and the key to go on from; None: the walk ends here. `key_after` goes on amid the page, after a row of it."""

    photos: Sequence[Row[Any]]
    after: Key | None
    key_after: Callable[[Row[Any]], Key]


class Walk(Protocol):
    """One walk; `landmark_id` is set where all photos of one landmark are passed."""

    @property
    def landmark_id(self) -> int | None: ...

    def page(
        self, connection: Connection, conditions: Sequence[Condition], after: Key | None, rows: int
    ) -> Page: ...

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
    """Contents by id, out of one or more sources together; then the photos that show them, by their own id.

    A key is the content that was passed last. Amid a page it is that of the page before, this page's last content, and
    the photo that was given last.
    """

    sources: tuple[Source, ...]
    landmark_id: int | None = None

    def page(
        self, connection: Connection, conditions: Sequence[Condition], after: Key | None, rows: int
    ) -> Page:
        begin, end, given = after if after and len(after) > 1 else ((after or (0,))[0], None, None)
        ids = self._ids_after(connection, begin, _PAGE_AT_MOST if end else rows, end)
        shown: Sequence[Row[Any]] = ()
        if ids:
            found = photo_rows().where(photos.c.content_id.in_(ids), *conditions)
            if given is not None:
                found = found.where(photos.c.id > given)
            shown = connection.execute(found.order_by(photos.c.id)).all()
        last = end or (ids[-1] if ids else begin)
        goes_on = end is not None or len(ids) == rows
        return Page(shown, (last,) if goes_on else None, lambda row: (begin, last, row.id))

    def accepts(self, key: Key) -> bool:
        return len(key) in (1, 3) and all(_is_id(part) for part in key)

    def size(self, connection: Connection, at_most: int) -> int:
        return sum(
            source.cost
            * _size(connection, select(source.content_id).where(*source.conditions), at_most // source.cost)
            for source in self.sources
        )

    def _ids_after(self, connection: Connection, after: int, count: int, upto: int | None) -> list[int]:
        """The next ids of all sources together: the least `count` of the least `count` of each."""
        ids: set[int] = set()
        for source in self.sources:
            column = source.content_id
            wanted = select(column).distinct().where(column > after, *source.conditions, *source.narrowed)
            if upto is not None:
                wanted = wanted.where(column <= upto)
            ids.update(connection.scalars(wanted.order_by(column).limit(count)))
        return sorted(ids)[:count]


@dataclass(frozen=True)
class PhotoWalk:
    """Photos in the order of `keys`, which an index has; the last of them make a photo unique."""

    keys: tuple[ColumnElement[Any], ...]
    conditions: tuple[Condition, ...] = ()
    landmark_id: None = None

    def page(
        self, connection: Connection, conditions: Sequence[Condition], after: Key | None, rows: int
    ) -> Page:
        query = photo_rows().where(*self.conditions, *conditions).order_by(*self.keys).limit(rows)
        if after is not None:
            query = query.where(tuple_(*self.keys) > tuple_(*after))
        shown = connection.execute(query).all()
        return Page(shown, self._key(shown[-1]) if len(shown) == rows else None, self._key)

    def accepts(self, key: Key) -> bool:
        kinds = [column.type.python_type for column in self.keys]
        return len(key) == len(kinds) and all(
            _is_id(part) if kind is int else isinstance(part, kind)
            for part, kind in zip(key, kinds, strict=True)
        )

    def _key(self, row: Row[Any]) -> Key:
        return tuple(getattr(row, key.key or "") for key in self.keys)

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


def _size(connection: Connection, query: Select[Any], at_most: int) -> int:
    return connection.scalar(select(func.count()).select_from(query.limit(at_most).subquery())) or 0


def _is_id(part: object) -> bool:
    return type(part) is int and 0 <= part < 2**63
