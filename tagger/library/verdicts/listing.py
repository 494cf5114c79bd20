"""Stored verdicts, page by page along their key, each with the path of one photo of its image; and verdicts as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Connection, Row, Select, Table, exists, false, or_, select, tuple_

from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import contents, dismissals, photos, verdicts
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.filters import landmark_slugs
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import Condition, PathRange, path_ranges, taken_in
from tagger.library.query.tagged_photos import NameCache, select_photos
from tagger.library.verdicts.store import NOT_A_LANDMARK, VerdictKind

PAGE = 250
Key = tuple[int, ...]
"""The key of a verdict: content id and landmark id."""


@dataclass(frozen=True)
class VerdictFilter:
    """Which verdicts to list. Of `photos`, only landmark, country, near, under and the dates apply.

    Country and near are of the verdict's landmark, not of the photo: a verdict often changes the photo's position.
    """

    kind: VerdictKind | None = None
    by: str | None = None
    photos: PhotoQuery = field(default_factory=PhotoQuery)


@dataclass(frozen=True)
class ListedVerdict:
    """A verdict for people and other databases. `path` is one photo of the image; None: the image has no photo now.

    A photo that was put away has the verdict `not-a-landmark`, and no landmark.
    """

    path: str | None
    landmark: str | None
    name: str | None
    verdict: str
    by: str | None
    at: datetime
    digest: str


@dataclass(frozen=True)
class _ResolvedFilter:
    """A filter with ids instead of names."""

    filter: VerdictFilter
    landmark_ids: tuple[int, ...] | None
    ranges: tuple[PathRange, ...]

    @classmethod
    def resolve(cls, connection: Connection, verdict_filter: VerdictFilter, root_paths: RootPaths) -> Self:
        landmarks = landmark_slugs(connection, verdict_filter.photos)
        ranges = path_ranges(connection, verdict_filter.photos.under, root_paths)
        return cls(verdict_filter, None if landmarks is None else tuple(sorted(landmarks)), tuple(ranges))


def list_verdicts(
    database: Database, verdict_filter: VerdictFilter, root_paths: RootPaths | None = None
) -> Iterator[ListedVerdict]:
    """Yield each matching verdict once, in the order in which the images were added.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    with database.read() as connection:
        names = NameCache(connection, root_paths or {})
        resolved = _ResolvedFilter.resolve(connection, verdict_filter, root_paths or {})
    pages = _pages(database, verdicts, resolved)
    return (verdict for page in pages for verdict in _listed(database, names, page))


def list_dismissals(
    database: Database, verdict_filter: VerdictFilter, root_paths: RootPaths | None = None
) -> Iterator[ListedVerdict]:
    """Yield the images that were put away as not a landmark, in the order in which they were added. The kind does not matter."""
    with database.read() as connection:
        names = NameCache(connection, root_paths or {})
        resolved = _ResolvedFilter.resolve(connection, verdict_filter, root_paths or {})
    if resolved.landmark_ids is not None:
        return
    for page in _pages(database, dismissals, resolved):
        yield from _listed(database, names, page)


def verdict_page(
    database: Database, verdict_filter: VerdictFilter, root_paths: RootPaths, after: Key | None, limit: int
) -> tuple[list[ListedVerdict], Key | None]:
    """At most `limit` matching verdicts after the key `after`, and the key of the next page; None: this is the last page.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    with database.read() as connection:
        names = NameCache(connection, root_paths)
        resolved = _ResolvedFilter.resolve(connection, verdict_filter, root_paths)
    rows = _page(database, verdicts, resolved, after, limit)
    return _listed(database, names, rows), _key(verdicts, rows[-1]) if len(rows) == limit else None


def _pages(database: Database, table: Table, resolved: _ResolvedFilter) -> Iterator[Sequence[Row[Any]]]:
    """The matching rows of `verdicts` or `dismissals`, along their key."""
    after = None
    while rows := _page(database, table, resolved, after, PAGE):
        yield rows
        if len(rows) < PAGE:
            return
        after = _key(table, rows[-1])


def _page(
    database: Database, table: Table, resolved: _ResolvedFilter, after: Key | None, limit: int
) -> Sequence[Row[Any]]:
    query = _select_rows(table, resolved).order_by(*table.primary_key)
    if after is not None:
        query = query.where(tuple_(*table.primary_key) > tuple_(*after))
    with database.read() as connection:
        return connection.execute(query.limit(limit)).all()


def _key(table: Table, row: Row[Any]) -> Key:
    return tuple(getattr(row, column.name) for column in table.primary_key)


def _select_rows(table: Table, resolved: _ResolvedFilter) -> Select[Any]:
    """A query for the rows of a table of verdicts, each with the digest of its image and the id of one of its photos."""
    photo_conditions = _photo_conditions(resolved)
    photo_id = (
        select(photos.c.id)
        .where(photos.c.content_id == table.c.content_id, *photo_conditions)
        .order_by(photos.c.gone_since.is_not(None), photos.c.id)
        .limit(1)
        .scalar_subquery()
    )
    query: Select[Any] = select(table, contents.c.digest, photo_id.label("photo_id")).join(
        contents, contents.c.id == table.c.content_id
    )
    if table is verdicts and resolved.filter.kind is not None:
        query = query.where(verdicts.c.verdict == resolved.filter.kind)
    if table is verdicts and resolved.landmark_ids is not None:
        query = query.where(among(verdicts.c.landmark_id, resolved.landmark_ids))
    if resolved.filter.by is not None:
        query = query.where(table.c.given_by == resolved.filter.by)
    if photo_conditions:
        query = query.where(exists().where(photos.c.content_id == table.c.content_id, *photo_conditions))
    return query


def _photo_conditions(resolved: _ResolvedFilter) -> tuple[Condition, ...]:
    query = resolved.filter.photos
    conditions: list[Condition] = []
    if query.under:
        conditions.append(or_(false(), *(range_.filter for range_ in resolved.ranges)))
    if query.year:
        conditions.append(or_(*(taken_in(photos.c.taken_at, year) for year in query.year)))
    if query.taken_after is not None:
        conditions.append(photos.c.taken_at >= query.taken_after)
    if query.taken_before is not None:
        conditions.append(photos.c.taken_at < query.taken_before)
    return tuple(conditions)


def _listed(database: Database, names: NameCache, page: Sequence[Row[Any]]) -> list[ListedVerdict]:
    with database.read() as connection:
        paths = _paths(connection, names, [row.photo_id for row in page if row.photo_id is not None])
        return [_verdict(connection, names, row, paths) for row in page]


def _paths(connection: Connection, names: NameCache, photo_ids: Sequence[int]) -> dict[int, str]:
    rows = connection.execute(select_photos().where(photos.c.id.in_(photo_ids)))
    return {row.id: names.path(connection, row) for row in rows}


def _verdict(
    connection: Connection, names: NameCache, row: Row[Any], paths: Mapping[int, str]
) -> ListedVerdict:
    """A row of `verdicts`, or of `dismissals`, which has no landmark and no kind."""
    landmark_id: int | None = getattr(row, "landmark_id", None)
    landmark = None if landmark_id is None else names.landmark(connection, landmark_id)
    return ListedVerdict(
        path=paths.get(row.photo_id),
        digest=row.digest,
        landmark=None if landmark is None else landmark.slug,
        name=None if landmark is None else landmark.display_name,
        verdict=NOT_A_LANDMARK if landmark is None else row.verdict,
        by=row.given_by,
        at=row.given_at,
    )
