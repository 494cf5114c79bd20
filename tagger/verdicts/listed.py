"""Which verdicts there are: read page by page along their key, with a path at which each picture can be seen."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, false, or_, select, tuple_

from tagger.database import Database
from tagger.query import PhotoQuery
from tagger.query.tagged import Names, photo_rows
from tagger.query.walks import Condition
from tagger.query.wanted import Asked
from tagger.roots import Places
from tagger.tables import contents, photos, verdicts
from tagger.verdicts.kept import Word

PAGE = 250

Key = tuple[int, int]
"""Of a verdict: its content and its landmark, by number."""


@dataclass(frozen=True)
class VerdictFilter:
    """Which verdicts are wanted; of `photos` count landmark, country, near, under and when they were taken."""

    word: Word | None = None
    by: str | None = None
    photos: PhotoQuery = field(default_factory=PhotoQuery)


@dataclass(frozen=True)
class ListedVerdict:
    """A verdict as people and other databases read it. `path` is one photo of the picture; None: none is known now."""

    path: str | None
    digest: str
    landmark: str
    name: str
    verdict: Word
    by: str | None
    at: datetime


def list_verdicts(
    database: Database, wanted: VerdictFilter, places: Places | None = None
) -> Iterator[ListedVerdict]:
    """Yield the verdicts that fit, in the order in which their pictures became known; each once, whatever shares it.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        names = Names(connection, places or {})
    pages = verdict_pages(database, wanted, places or {})
    return (verdict for page in pages for verdict in _listed(database, names, page))


def verdict_page(
    database: Database, wanted: VerdictFilter, places: Places, after: Key | None, limit: int
) -> tuple[list[ListedVerdict], Key | None]:
    """At most `limit` of the same verdicts behind the one that `after` is the key of, and the key to go on with; None: these are the last.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name that means nothing here.
    """
    with database.read() as connection:
        names = Names(connection, places)
        query = _query(wanted, Asked.of(connection, wanted.photos, places))
    rows = _page(database, query, after, limit)
    return _listed(database, names, rows), _key(rows[-1]) if len(rows) == limit else None


def verdict_pages(database: Database, wanted: VerdictFilter, places: Places) -> Iterator[Sequence[Row[Any]]]:
    """Pages of rows; names are looked up before the first is asked for."""
    with database.read() as connection:
        asked = Asked.of(connection, wanted.photos, places)
    return _pages(database, _query(wanted, asked))


def _pages(database: Database, query: Select[Any]) -> Iterator[Sequence[Row[Any]]]:
    after = None
    while rows := _page(database, query, after, PAGE):
        yield rows
        if len(rows) < PAGE:
            return
        after = _key(rows[-1])


def _page(database: Database, query: Select[Any], after: Key | None, limit: int) -> Sequence[Row[Any]]:
    if after is not None:
        query = query.where(tuple_(verdicts.c.content_id, verdicts.c.landmark_id) > tuple_(*after))
    with database.read() as connection:
        return connection.execute(query.limit(limit)).all()


def _key(row: Row[Any]) -> Key:
    return row.content_id, row.landmark_id


def _query(wanted: VerdictFilter, asked: Asked) -> Select[Any]:
    seen = (
        select(photos.c.id)
        .where(photos.c.content_id == verdicts.c.content_id, *_on_photos(asked))
        .order_by(photos.c.gone_since.is_not(None), photos.c.id)
        .limit(1)
        .scalar_subquery()
    )
    return (
        select(verdicts, contents.c.digest, seen.label("photo_id"))
        .join(contents, contents.c.id == verdicts.c.content_id)
        .where(*_conditions(wanted, asked))
        .order_by(verdicts.c.content_id, verdicts.c.landmark_id)
    )


def _conditions(wanted: VerdictFilter, asked: Asked) -> tuple[Condition, ...]:
    given: list[Condition] = []
    if wanted.word is not None:
        given.append(verdicts.c.verdict == wanted.word)
    if wanted.by is not None:
        given.append(verdicts.c.given_by == wanted.by)
    if asked.landmarks is not None:
        given.append(verdicts.c.landmark_id.in_(tuple(asked.landmarks)))
    on_photos = _on_photos(asked)
    if on_photos:
        given.append(exists().where(photos.c.content_id == verdicts.c.content_id, *on_photos))
    return tuple(given)


def _on_photos(asked: Asked) -> tuple[Condition, ...]:
    query = asked.query
    given: list[Condition] = []
    if query.under:
        given.append(or_(false(), *(each.filter for each in asked.ranges)))
    if query.taken_after is not None:
        given.append(photos.c.taken_at >= query.taken_after)
    if query.taken_before is not None:
        given.append(photos.c.taken_at < query.taken_before)
    return tuple(given)


def _listed(database: Database, names: Names, page: Sequence[Row[Any]]) -> list[ListedVerdict]:
    with database.read() as connection:
        paths = _paths(connection, names, [row.photo_id for row in page if row.photo_id is not None])
        return [_verdict(names.landmark(connection, row.landmark_id), row, paths) for row in page]


def _paths(connection: Connection, names: Names, photo_ids: Sequence[int]) -> dict[int, str]:
    rows = connection.execute(photo_rows().where(photos.c.id.in_(photo_ids)))
    return {row.id: names.path(connection, row) for row in rows}


def _verdict(landmark: Any, row: Row[Any], paths: dict[int, str]) -> ListedVerdict:
    return ListedVerdict(
        path=paths.get(row.photo_id),
        digest=row.digest,
        landmark=landmark.slug,
        name=landmark.name,
        verdict=Word(row.verdict),
        by=row.given_by,
        at=row.given_at,
    )
