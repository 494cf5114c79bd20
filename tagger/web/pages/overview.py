"""The library as a whole: landmarks, trips, positions, how many photos are to review, look-alikes.

These queries take longer the larger the library is. Pages therefore show cached values, which threads
refresh.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from fastapi import Depends, Request

from tagger.database.connection import Database
from tagger.landmarks.landmarks import familiar_landmarks
from tagger.query.counts import Cover, LandmarkCount, familiar_landmark_counts, find_covers
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import PositionCell, position_cells
from tagger.query.timeline import count_photos
from tagger.query.trip_summaries import TripSummary, trip_summaries
from tagger.teaching.lessons import COUNT_LIMIT, count_suggestions
from tagger.teaching.similarity import LookAlikes
from tagger.texts.names import name_in_language
from tagger.texts.text_format import reader_language
from tagger.things import ThingCount, count_things
from tagger.web.cached_value import CachedValue, Changes, close_all
from tagger.web.http.templates import ENGLISH, languages

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
    """Counts, covers and position cells of one database."""

    def __init__(
        self, database: Database, find_look_alikes: Callable[[], LookAlikes], changes: Changes
    ) -> None:
        # Comparing takes minutes: changes of the database do not start it again.
        self._look_alikes = CachedValue(find_look_alikes)
        self._counts = CachedValue(lambda: familiar_landmark_counts(database), changes)
        self._covers = CachedValue(lambda: find_covers(database), changes)
        self._trips = CachedValue(lambda: trip_summaries(database), changes)
        self._position_cells = CachedValue(lambda: position_cells(database), changes)
        self._unclassified = CachedValue(lambda: _count_unclassified(database), changes)
        self._names = {
            tag: CachedValue(partial(_names_in, database, tag), changes)
            for tag in languages()
            if tag != ENGLISH
        }
        self._things = CachedValue(lambda: _count_things(database), changes)
        self._to_review = CachedValue(lambda: count_suggestions(database), changes)

    def counts(self, wait_s: float = WAIT_S, first_wait_s: float = WAIT_S) -> list[LandmarkCount] | None:
        """Return the familiar landmarks, most photos first; None while counted for the first time."""
        return self._counts.get(wait_s, first_wait_s)

    def covers(self) -> Mapping[str, Cover] | None:
        """Return covers by landmark slug; None while they are chosen for the first time."""
        return self._covers.get(WAIT_S, FIRST_WAIT_S)

    def trips(self, wait_s: float = WAIT_S, first_wait_s: float = FIRST_WAIT_S) -> list[TripSummary] | None:
        """Return all trips, newest first; None while they are found for the first time."""
        return self._trips.get(wait_s, first_wait_s)

    def named_counts(self) -> list[LandmarkCount] | None:
        """Return the same as `counts`, with names in the reader's language."""
        counts, names = self.counts(), self.names()
        return counts and [replace(each, name=names.get(each.landmark, each.name)) for each in counts]

    def named_trips(
        self, wait_s: float = WAIT_S, first_wait_s: float = FIRST_WAIT_S
    ) -> list[TripSummary] | None:
        """Return the same as `trips`, with names in the reader's language."""
        trips, names = self.trips(wait_s, first_wait_s), self.names()
        return trips and [each.with_names(names) for each in trips]

    def names(self) -> Mapping[str, str]:
        """Return names of landmarks by slug in the reader's language; none in English, or until read."""
        names = self._names.get(reader_language() or "")
        return (names and names.get(WAIT_S, FIRST_WAIT_S)) or {}

    def things(self, wait_s: float = WAIT_S, first_wait_s: float = WAIT_S) -> list[ThingCount]:
        """Return what else photos show; nothing while they are counted for the first time."""
        return self._things.get(wait_s, first_wait_s) or []

    def position_cells(self) -> list[PositionCell] | None:
        """Return where photos were taken; None while they are counted for the first time."""
        return self._position_cells.get(WAIT_S)

    def to_review(self) -> int | None:
        """Return how many are to review, up to `COUNT_LIMIT`; None while counted for the first time."""
        return self._to_review.get(WAIT_S)

    def unclassified(self) -> UnclassifiedPhotos | None:
        """Return how many photos are not classified; None while they are counted for the first time."""
        return self._unclassified.get(WAIT_S)

    def look_alikes(self) -> LookAlikes | None:
        """Return the groups of look-alikes; None while they are compared for the first time."""
        return self._look_alikes.get(WAIT_S, FIRST_WAIT_S)

    def close(self) -> None:
        """Wait a moment for queries that are running."""
        values = (value for value in vars(self).values() if isinstance(value, CachedValue))
        close_all((*values, *self._names.values()))


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
