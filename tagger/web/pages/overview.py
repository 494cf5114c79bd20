"""The library as a whole: landmarks, trips, positions, how many photos are to review, look-alikes.

These queries take longer the larger the library is. Pages therefore show cached values, which threads
refresh.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from tagger.database.connection import Database
from tagger.landmarks.landmarks import familiar_landmarks
from tagger.query.counts import LandmarkCount, familiar_landmark_counts, find_covers
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import position_cells
from tagger.query.timeline import count_photos
from tagger.query.trip_summaries import TripSummary, trip_summaries
from tagger.teaching.lessons import COUNT_LIMIT, count_suggestions
from tagger.teaching.similarity import LookAlikes
from tagger.texts.names import name_in_language
from tagger.texts.text_format import reader_language
from tagger.things import ThingCount, count_things
from tagger.web.cached_value import CachedQuery, Changes, close_all
from tagger.web.http.templates import ENGLISH, languages

T = TypeVar("T")

# How long a page waits for a refresh.
WAIT_S = 0.4
# How long the first page waits for covers or trips, since a library without any looks broken.
FIRST_WAIT_S = 1.2


@dataclass(frozen=True)
class UnclassifiedPhotos:
    """How many photos no model has classified: those that `wait` and that `failed`, up to `COUNT_LIMIT`."""

    wait: int
    failed: int


class LibraryOverview:
    """Counts, covers and position cells of one database. Each is None while it is made for the first time."""

    def __init__(
        self, database: Database, find_look_alikes: Callable[[], LookAlikes], changes: Changes
    ) -> None:
        self._queries: list[CachedQuery[Any]] = []

        def kept(
            query: Callable[[], T], first_wait_s: float = WAIT_S, seen: Changes = changes
        ) -> CachedQuery[T]:
            cached = CachedQuery(query, seen, WAIT_S, first_wait_s)
            self._queries.append(cached)
            return cached

        # Comparing takes minutes: changes of the database do not start it again.
        self.look_alikes = kept(find_look_alikes, FIRST_WAIT_S, Changes())
        # The familiar landmarks, most photos first.
        self.counts = kept(lambda: familiar_landmark_counts(database))
        # By the slugs of landmarks.
        self.covers = kept(lambda: find_covers(database), FIRST_WAIT_S)
        # The newest first.
        self.trips = kept(lambda: trip_summaries(database), FIRST_WAIT_S)
        self.position_cells = kept(lambda: position_cells(database))
        self.unclassified = kept(lambda: _count_unclassified(database))
        self._names = {
            tag: kept(partial(_names_in, database, tag), FIRST_WAIT_S)
            for tag in languages()
            if tag != ENGLISH
        }
        self.things = kept(lambda: _count_things(database))
        # Up to `COUNT_LIMIT`.
        self.to_review = kept(lambda: count_suggestions(database))

    def named_counts(self) -> list[LandmarkCount] | None:
        """Return the same as `counts`, with names in the reader's language."""
        counts, names = self.counts.get_soon(), self.names()
        return counts and [replace(each, name=names.get(each.landmark, each.name)) for each in counts]

    def named_trips(self, wait_s: float | None = None) -> list[TripSummary] | None:
        """Return the same as `trips`, with names in the reader's language."""
        trips, names = self.trips.get_soon(wait_s), self.names()
        return trips and [each.with_names(names) for each in trips]

    def names(self) -> Mapping[str, str]:
        """Return names of landmarks by slug in the reader's language; none in English, or until read."""
        names = self._names.get(reader_language() or "")
        return (names and names.get_soon()) or {}

    def close(self) -> None:
        """Wait a moment for queries that are running."""
        close_all(self._queries)


def _count_things(database: Database) -> list[ThingCount]:
    with database.read() as connection:
        return count_things(connection)


def _names_in(database: Database, tag: str) -> Mapping[str, str]:
    with database.read() as connection:
        every = familiar_landmarks(connection)
    return {each.slug: name_in_language(each.name, each.names, tag) for each in every}


def _count_unclassified(database: Database) -> UnclassifiedPhotos:
    waiting = PhotoQuery(untagged=True, sort="newest", distinct=True)
    failed = PhotoQuery(failed=True, sort="newest", distinct=True)
    return UnclassifiedPhotos(*(count_photos(database, query, COUNT_LIMIT) for query in (waiting, failed)))


def library_overview(request: Request) -> LibraryOverview:
    """Return the application's overview."""
    overview: LibraryOverview = request.app.state.overview
    return overview


# A parameter of a route that receives the overview.
Overview = Annotated[LibraryOverview, Depends(library_overview)]
