"""Stored verdicts, page by page, each with the path of one photo; and verdicts as training data."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, Select, Table, exists, false, select

from tagger.database.connection import Database, open_database
from tagger.database.enums import VerdictKind
from tagger.database.statements import among, pages
from tagger.database.tables import (
    contents,
    dismissals,
    model_labels,
    models,
    photos,
    thing_verdicts,
    verdicts,
)
from tagger.landmarks.landmarks import Landmark, all_landmarks
from tagger.query.filters import ResolvedQuery, matching_landmarks
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import NameCache, select_photos, tag_rows
from tagger.roots.availability import UnavailableFolder, unavailable_folders
from tagger.roots.roots import Root, RootPaths, list_roots
from tagger.settings import Settings
from tagger.things import PREFIX, all_things
from tagger.verdicts.verdicts import NOT_A_LANDMARK

PAGE = 250


@dataclass(frozen=True)
class VerdictFilter:
    """Which verdicts to list: of a kind, or `not-a-landmark`; of `photos`: area, folder, dates.

    Country and near are of the verdict's landmark, not of the photo: a verdict often moves the photo.
    """

    verdict: str | None = None
    by: str | None = None
    photos: PhotoQuery = field(default_factory=PhotoQuery)


@dataclass(frozen=True)
class ListedVerdict:
    """A verdict for people and other databases. `path` is one photo of the image; None: it has none now.

    A thing stands in place of a landmark as `thing:dog`. A photo that was put away has the verdict
    `not-a-landmark`, and no landmark.
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
    """Yield the matching verdicts on landmarks, then on things, then the dismissed photos.

    Each kind is in the order in which images were added.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound: a name is not in the database.
    """
    tables = []
    if verdict_filter.verdict != NOT_A_LANDMARK:
        tables += [verdicts, thing_verdicts]
    if verdict_filter.verdict in {None, NOT_A_LANDMARK}:
        tables.append(dismissals)
    listings = [_Listing(database, table, verdict_filter, root_paths or {}) for table in tables]
    return chain.from_iterable(listing.all() for listing in listings)


class _Listing:
    """The matching rows of a table of verdicts, along their key."""

    def __init__(
        self, database: Database, table: Table, verdict_filter: VerdictFilter, root_paths: RootPaths
    ) -> None:
        self._database, self._table = database, table
        with database.read() as connection:
            self._names = NameCache(connection, root_paths)
            self._things = all_things(connection) if table is thing_verdicts else {}
            self._query = _select_rows(connection, table, verdict_filter, root_paths)

    def all(self) -> Iterator[ListedVerdict]:
        for rows in self._database.row_pages(self._query, *self._table.primary_key, size=PAGE):
            with self._database.read() as connection:
                of_page = photos.c.id.in_(
                    [row.photo_id for row in rows if row.photo_id is not None]
                )
                found = connection.execute(select_photos().where(of_page))
                paths = {row.id: self._names.path(connection, row) for row in found}
                listed = [self._verdict(connection, row, paths) for row in rows]
            yield from listed

    def _verdict(
        self, connection: Connection, row: Row[Any], paths: Mapping[int, str]
    ) -> ListedVerdict:
        landmark = name = None
        kind = NOT_A_LANDMARK
        if self._table is verdicts:
            found = self._names.landmark(connection, row.landmark_id)
            landmark, name, kind = found.slug, found.display_name, row.verdict
        elif self._table is thing_verdicts:
            thing = self._things[row.thing]
            landmark, name, kind = f"{PREFIX}{thing.slug}", thing.display_name, row.verdict
        return ListedVerdict(
            path=paths.get(row.photo_id),
            digest=row.digest,
            landmark=landmark,
            name=name,
            verdict=kind,
            by=row.given_by,
            at=row.given_at,
        )


def _select_rows(
    connection: Connection, table: Table, verdict_filter: VerdictFilter, root_paths: RootPaths
) -> Select[Any]:
    """A query for the rows of a table of verdicts, each with the digest and a photo of its image."""
    of_files = replace(
        verdict_filter.photos, landmark=(), country=(), near=None, radius_km=None, box=None
    )
    photo_conditions = tuple(
        ResolvedQuery.resolve(connection, of_files, root_paths).file_conditions()
    )
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
    if table is not dismissals and verdict_filter.verdict is not None:
        query = query.where(table.c.verdict == verdict_filter.verdict)
    if landmark_ids is not None:
        of_landmark = among(verdicts.c.landmark_id, landmark_ids) if table is verdicts else false()
        query = query.where(of_landmark)
    if verdict_filter.by is not None:
        query = query.where(table.c.given_by == verdict_filter.by)
    if photo_conditions:
        query = query.where(exists().where(of_image, *photo_conditions))
    return query


@dataclass(frozen=True)
class LabelledImage:
    """An image with at least one verdict; landmarks are slugs.

    `has_unreviewed_tag`: the image has an accepted tag without a verdict. `paths`: its photos that are not
    gone, those on available roots first, and files before objects in buckets. `is_unavailable`: all its
    photos are on unavailable roots.
    """

    digest: str
    confirmed: tuple[str, ...]
    rejected: tuple[str, ...]
    has_unreviewed_tag: bool
    paths: tuple[Path, ...]
    is_unavailable: bool


@contextmanager
def open_training_export(settings: Settings) -> Iterator[TrainingExport]:
    """Open the database of the settings for export.

    Raises:
        DatabaseUnavailable, SchemaOutdated: the database cannot be used.
    """
    database = open_database(settings.effective_database_url)
    try:
        yield TrainingExport(database, settings.roots)
    finally:
        database.close()


class TrainingExport:
    """The landmarks, labels and images with verdicts of one database."""

    def __init__(self, database: Database, root_paths: RootPaths) -> None:
        self._database = database
        self._root_paths = root_paths
        self.redacted_url = database.redacted_url

    def landmarks(self) -> dict[str, Landmark]:
        """Every landmark, by its slug and by the slugs of landmarks that were merged into it."""
        with self._database.read() as connection:
            return {
                slug: landmark
                for landmark in all_landmarks(connection)
                for slug in landmark.all_slugs
            }

    def labels(self) -> dict[str, str]:
        """The label of each landmark, by slug: of the model in use, else of the newest model with one."""
        query = (
            select(model_labels.c.label, model_labels.c.landmark_id)
            .join(models, models.c.id == model_labels.c.model_id)
            .order_by(models.c.in_use, models.c.registered_at, models.c.id)
        )
        with self._database.read() as connection:
            slugs = {landmark.id: landmark.slug for landmark in all_landmarks(connection)}
            return {slugs[row.landmark_id]: row.label for row in connection.execute(query)}

    def images(self) -> Iterator[LabelledImage]:
        """Yield the images with verdicts in the order in which they were added, page by page."""
        slugs = {landmark.id: landmark.slug for landmark in self.landmarks().values()}
        with self._database.read() as connection:
            roots = {root.id: root for root in list_roots(connection, self._root_paths)}
            unavailable = unavailable_folders(connection, list(roots.values()))
            ids = connection.scalars(
                select(verdicts.c.content_id).distinct().order_by(verdicts.c.content_id)
            )
            of_verdicts = pages(ids.all())
        for page in of_verdicts:
            with self._database.read() as connection:
                images = _images(connection, page, slugs, roots, unavailable)
            yield from images


def _images(
    connection: Connection,
    ids: Sequence[int],
    slugs: dict[int, str],
    roots: dict[int, Root],
    unavailable: Sequence[UnavailableFolder],
) -> list[LabelledImage]:
    digests = {
        row.id: row.digest
        for row in connection.execute(select(contents).where(contents.c.id.in_(ids)))
    }
    by_kind: dict[tuple[int, str], list[str]] = defaultdict(list)
    query = select(verdicts).where(verdicts.c.content_id.in_(ids)).order_by(verdicts.c.landmark_id)
    for row in connection.execute(query):
        by_kind[row.content_id, row.verdict].append(slugs[row.landmark_id])
    tags = tag_rows(connection, ids)
    paths: dict[int, list[tuple[bool, int, Path]]] = defaultdict(list)
    present = select(photos).where(photos.c.content_id.in_(ids), photos.c.gone_since.is_(None))
    for row in connection.execute(present.order_by(photos.c.id)):
        root = roots[row.root_id]
        is_away = any(each.has(row.root_id, row.path) for each in unavailable)
        # A source that serves many reads at a time answers each one late.
        path = root.path_of(row.path, row.path_bytes)
        paths[row.content_id].append((is_away, root.source.extra_reads, path))
    return [
        LabelledImage(
            digest=digests[content_id],
            confirmed=tuple(by_kind[content_id, VerdictKind.CONFIRMED]),
            rejected=tuple(by_kind[content_id, VerdictKind.REJECTED]),
            has_unreviewed_tag=any(
                tag.accepted and tag.verdict is None for tag in tags.get(content_id, ())
            ),
            paths=tuple(path for *_, path in sorted(paths[content_id], key=itemgetter(0, 1))),
            is_unavailable=bool(paths[content_id])
            and all(is_away for is_away, *_ in paths[content_id]),
        )
        for content_id in ids
        if content_id in digests
    ]
