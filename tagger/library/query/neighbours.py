"""The photos before and after one in a result, found from the photo itself: its row gives its key in a scan."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from tagger.database.connection import Database
from tagger.library.catalog.roots import RootPaths
from tagger.library.query import find
from tagger.library.query.find import FilteredPage, ScanPosition, Search
from tagger.library.query.options import PhotoQuery
from tagger.library.query.tagged_photos import TaggedPhoto


@dataclass(frozen=True)
class Neighbours:
    """The ids of the photos before and after one; None: there is none, or it is too far away to search for."""

    previous: int | None = None
    following: int | None = None


@dataclass(frozen=True)
class SurroundingPhotos:
    """The photos before and after one, the nearest first. Fewer than requested: there are no more, or they are too far away."""

    previous: tuple[TaggedPhoto, ...] = ()
    following: tuple[TaggedPhoto, ...] = ()


def find_neighbours(
    database: Database, query: PhotoQuery, root_paths: RootPaths | None, photo_id: int
) -> Neighbours:
    """The photos before and after one in the result of `find_tagged`; also for a photo that has stopped matching.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
    """
    found = find_surrounding(database, query, root_paths, photo_id, before=1, after=1)
    previous, following = (
        photos_there[0].id if photos_there else None for photos_there in (found.previous, found.following)
    )
    return Neighbours(previous, following)


def find_surrounding(
    database: Database,
    query: PhotoQuery,
    root_paths: RootPaths | None,
    photo_id: int,
    *,
    before: int,
    after: int,
) -> SurroundingPhotos:
    """Up to `before` photos before one in the result of `find_tagged`, and up to `after` photos after it.

    Raises:
        LandmarkNotFound, LandmarkAmbiguous, CountryNotFound, ModelNotFound: a name is not in the database.
    """
    search = Search.start(database, query, root_paths)
    with database.read() as connection:
        position = _position(connection, photo_id, search)
    if position is None:
        return SurroundingPhotos()
    return SurroundingPhotos(
        previous=_first(search.pages(position, before, backwards=True), before) if before else (),
        following=_first(search.pages(position, after), after) if after else (),
    )


def _position(connection: Connection, photo_id: int, search: Search) -> ScanPosition | None:
    """The scan that returns the photo, and its key there."""
    for number, scan in enumerate(search.scans):
        if (row := scan.row(connection, photo_id)) is not None:
            return ScanPosition(number, scan.key(row))
    return None


def _first(pages: Iterator[FilteredPage], count: int) -> tuple[TaggedPhoto, ...]:
    """The first `count` photos of the pages, from at most `MOST_ROWS` rows after the last photo found."""
    found: list[TaggedPhoto] = []
    rows = 0
    for page in pages:
        found += (photo for photo, _ in page.matches)
        rows = 0 if page.matches else rows + page.rows
        if len(found) >= count or rows >= find.MOST_ROWS:
            break
    return tuple(found[:count])
