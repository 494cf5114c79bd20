"""The photos before and after one in a result, found from the photo itself: its row gives its key in a scan."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from tagger.catalog.roots import RootPaths
from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.query import find
from tagger.query.filters import ScanRole
from tagger.query.find import FilteredPage, ScanPosition, Search
from tagger.query.options import PhotoQuery
from tagger.query.tagged_photos import select_photos, tag_rows


@dataclass(frozen=True)
class Neighbours:
    """The ids of the photos before and after one; None: there is none, or it is too far away to search for."""

    previous: int | None = None
    following: int | None = None


def find_neighbours(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None, photo_id: int
) -> Neighbours:
    """The photos before and after one in the result of `find_tagged`; also for a photo that has stopped matching.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
    """
    search = Search.start(database, query, root_paths)
    with database.read() as connection:
        position = _position(connection, photo_id, search)
    if position is None:
        return Neighbours()
    return Neighbours(
        previous=_first(search.pages(position, 1, backwards=True)),
        following=_first(search.pages(position, 1)),
    )


def _position(connection: Connection, photo_id: int, search: Search) -> ScanPosition | None:
    """The scan that returns the photo, and its key there."""
    row = connection.execute(select_photos().where(photos.c.id == photo_id)).one_or_none()
    if row is None:
        return None
    content_ids = [] if row.content_id is None else [row.content_id]
    photo_tags = tag_rows(connection, content_ids).get(row.content_id, ())
    tag_landmarks = {tag.landmark_id for tag in photo_tags}
    verdict_landmarks = {tag.landmark_id for tag in photo_tags if tag.verdict}
    plan = search.plans[search.begin.plan]
    scans = plan.scans

    def mismatch(number: int) -> tuple[bool, ...]:
        landmark = scans[number].landmark_id
        matches = search.query.select_tags(row, photo_tags, ScanRole(landmark, plan.area)) is not None
        return not matches, landmark not in verdict_landmarks, landmark not in tag_landmarks

    candidates = (number for number, scan in enumerate(scans) if scan.contains(connection, row))
    number = min(candidates, key=mismatch, default=None)
    return None if number is None else ScanPosition(search.begin.plan, number, scans[number].key(row))


def _first(pages: Iterator[FilteredPage]) -> int | None:
    rows = 0
    for page in pages:
        if page.matches:
            return page.matches[0][0].id
        rows += page.rows
        if rows >= find.MOST_ROWS:
            break
    return None
