"""Walks: ways through an index along which a query reads photos page by page, each by the key where the last one ended.

A walk may pass photos that the query does not want, never miss one that it wants. No page is found by offset, and
no page costs more than the rows it passes. Knows nothing of what a query means (see query).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import ColumnElement, Connection, Row, Select, func, select, true, tuple_
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from tagger.query.tagged import photo_rows
from tagger.tables import contents, photos, tags, verdicts

PAGE = 250

Condition = ColumnElement[bool]
Key = tuple[Any, ...]


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

    def page(self, connection: Connection, conditions: Sequence[Condition], after: Key | None) -> Page: ...

    def size(self, connection: Connection, at_most: int) -> int: ...


@dataclass(frozen=True)
class ContentWalk:
    """Contents by id, out of one or more sources that are each sorted by an index; then the photos that show them.

    Each source is a column of content ids and the conditions on its table.
    """

    sources: tuple[tuple[ColumnElement[int], tuple[Condition, ...]], ...]
    landmark_id: int | None = None

    def page(self, connection: Connection, conditions: Sequence[Condition], after: Key | None) -> Page:
        ids = self._ids_after(connection, after[0] if after else 0)
        rows: Sequence[Row[Any]] = ()
        if ids:
            found = photo_rows().where(photos.c.content_id.in_(ids), *conditions)
            rows = connection.execute(found.order_by(photos.c.id)).all()
        return Page(rows, (ids[-1],) if len(ids) == PAGE else None)

    def size(self, connection: Connection, at_most: int) -> int:
        return sum(
            _size(connection, select(column).where(*conditions), at_most)
            for column, conditions in self.sources
        )

    def _ids_after(self, connection: Connection, after: int) -> list[int]:
        """The next ids of all sources together: the least PAGE of the least PAGE of each."""
        ids: set[int] = set()
        for column, conditions in self.sources:
            query = select(column).distinct().where(column > after, *conditions).order_by(column).limit(PAGE)
            ids.update(connection.scalars(query))
        return sorted(ids)[:PAGE]


@dataclass(frozen=True)
class PhotoWalk:
    """Photos in the order of `keys`, which an index has; the last of them make a photo unique."""

    keys: tuple[ColumnElement[Any], ...]
    conditions: tuple[Condition, ...] = ()
    landmark_id: None = None

    def page(self, connection: Connection, conditions: Sequence[Condition], after: Key | None) -> Page:
        query = photo_rows().where(*self.conditions, *conditions).order_by(*self.keys).limit(PAGE)
        if after is not None:
            query = query.where(tuple_(*self.keys) > tuple_(*after))
        rows = connection.execute(query).all()
        full = len(rows) == PAGE
        return Page(rows, tuple(getattr(rows[-1], key.key or "") for key in self.keys) if full else None)

    def size(self, connection: Connection, at_most: int) -> int:
        return _size(connection, select(photos.c.id).where(*self.conditions), at_most)


def landmark_walk(landmark_id: int, *, any_rank: bool) -> ContentWalk:
    """Contents with a tag of the landmark: accepted, or at any rank; and those where a person confirmed it."""
    said = (tags.c.landmark_id == landmark_id, *(() if any_rank else (tags.c.accepted == true(),)))
    sources = (
        (tags.c.content_id, said),
        (verdicts.c.content_id, (verdicts.c.landmark_id == landmark_id, verdicts.c.verdict == "confirmed")),
    )
    return ContentWalk(sources, landmark_id)


def outcome_source(outcome: str | None) -> tuple[ColumnElement[int], tuple[Condition, ...]]:
    """Contents by what the model said of them; None: no model has looked."""
    return contents.c.id, (
        contents.c.outcome.is_(None) if outcome is None else contents.c.outcome == outcome,
    )


def verdict_source(verdict: str) -> tuple[ColumnElement[int], tuple[Condition, ...]]:
    """Contents on which a person gave that verdict."""
    return verdicts.c.content_id, (verdicts.c.verdict == verdict,)


def model_source(model_id: int) -> tuple[ColumnElement[int], tuple[Condition, ...]]:
    """Contents that the model looked at last."""
    return contents.c.id, (contents.c.model_id == model_id,)


def _size(connection: Connection, query: Select[Any], at_most: int) -> int:
    return connection.scalar(select(func.count()).select_from(query.limit(at_most).subquery())) or 0
