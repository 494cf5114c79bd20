"""Stored verdicts, page by page along their key, each with the path of one photo of its image; and verdicts as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, exists, false, select, tuple_

from tagger.database.connection import Database
from tagger.database.enums import VerdictKind
from tagger.database.statements import among
from tagger.database.tables import contents, dismissals, photos, verdicts
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.filters import ResolvedQuery, matching_landmarks
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import NameCache, select_photos
from tagger.library.verdicts.store import NOT_A_LANDMARK

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


def list_verdicts(
    database: Database, verdict_filter: VerdictFilter, root_paths: RootPaths | None = None
) -> Iterator[ListedVerdict]:
    """Yield each matching verdict once, in the order in which the images were added.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    return _Listing(database, verdicts, verdict_filter, root_paths or {}).all()


def list_dismissals(
    database: Database, verdict_filter: VerdictFilter, root_paths: RootPaths | None = None
) -> Iterator[ListedVerdict]:
    """Yield the images that were put away as not a landmark, in the order in which they were added. The kind does not matter."""
    return _Listing(database, dismissals, verdict_filter, root_paths or {}).all()


def verdict_page(
    database: Database, verdict_filter: VerdictFilter, root_paths: RootPaths, after: Key | None, limit: int
) -> tuple[list[ListedVerdict], Key | None]:
    """At most `limit` matching verdicts after the key `after`, and the key of the next page; None: this is the last page.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    return _Listing(database, verdicts, verdict_filter, root_paths).page(after, limit)


class _Listing:
    """The matching rows of `verdicts` or `dismissals`, along their key."""

    def __init__(
        self, database: Database, table: Table, verdict_filter: VerdictFilter, root_paths: RootPaths
    ) -> None:
        self._database, self._table = database, table
        with database.read() as connection:
            self._names = NameCache(connection, root_paths)
            self._query = _select_rows(connection, table, verdict_filter, root_paths)

    def all(self) -> Iterator[ListedVerdict]:
        page, after = self.page(None, PAGE)
        yield from page
        while after is not None:
            page, after = self.page(after, PAGE)
            yield from page

    def page(self, after: Key | None, limit: int) -> tuple[list[ListedVerdict], Key | None]:
        key = self._table.primary_key
        query = self._query.order_by(*key).limit(limit)
        if after is not None:
            query = query.where(tuple_(*key) > tuple_(*after))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            of_page = photos.c.id.in_([row.photo_id for row in rows if row.photo_id is not None])
            found = connection.execute(select_photos().where(of_page))
            paths = {row.id: self._names.path(connection, row) for row in found}
            listed = [_verdict(connection, self._names, row, paths) for row in rows]
        is_last = len(rows) < limit
        return listed, None if is_last else tuple(getattr(rows[-1], column.name) for column in key)


def _select_rows(
    connection: Connection, table: Table, verdict_filter: VerdictFilter, root_paths: RootPaths
) -> Select[Any]:
    """A query for the rows of a table of verdicts, each with the digest of its image and the id of one of its photos."""
    of_files = replace(verdict_filter.photos, landmark=(), country=(), near=None, box=None)
    photo_conditions = tuple(ResolvedQuery.resolve(connection, of_files, root_paths).file_conditions())
    of_image = photos.c.content_id == table.c.content_id
    photo_id = (
        select(photos.c.id)
        .where(of_image, *photo_conditions)
        .order_by(photos.c.gone_since.is_not(None), photos.c.id)
        .limit(1)
        .scalar_subquery()
    )
    query: Select[Any] = select(table, contents.c.digest, photo_id.label("photo_id")).join(
        contents, contents.c.id == table.c.content_id
    )
    landmark_ids = matching_landmarks(connection, verdict_filter.photos)
    if table is verdicts and verdict_filter.kind is not None:
        query = query.where(verdicts.c.verdict == verdict_filter.kind)
    if landmark_ids is not None:
        of_landmark = among(verdicts.c.landmark_id, landmark_ids) if table is verdicts else false()
        query = query.where(of_landmark)
    if verdict_filter.by is not None:
        query = query.where(table.c.given_by == verdict_filter.by)
    if photo_conditions:
        query = query.where(exists().where(of_image, *photo_conditions))
    return query


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
