"""The library as a whole: photo counts and cover photos per landmark, trips, where photos were taken, and how many are to review.

These queries take longer the larger the library is. Pages therefore show cached values, which threads refresh.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Annotated, Generic, TypeVar

from fastapi import Depends, Request

from tagger.database.connection import Database
from tagger.database.errors import DatabaseError
from tagger.places.review import count_to_review
from tagger.query import LandmarkCount, landmark_counts
from tagger.query.covers import Cover, find_covers
from tagger.query.position_cells import PositionCell, position_cells
from tagger.query.trip_summaries import TripSummary, trip_summaries

log = logging.getLogger(__name__)

T = TypeVar("T")

WAIT_S = 0.4
"""How long a page waits for a refresh."""
FIRST_WAIT_S = 1.2
"""How long the first page waits for covers or trips, since a library without any looks broken."""
COUNTS_TTL_S = 2.0
COVERS_TTL_S = 60.0
COST_FACTOR = 20.0
"""A value stays fresh for at least this many times its query's duration, so that refreshing takes at most 5 % of the time."""


class LibraryOverview:
    """Counts, covers and position cells of one database. Created once per server."""

    def __init__(self, database: Database) -> None:
        self._counts = CachedValue(lambda: landmark_counts(database, include_empty=True), COUNTS_TTL_S)
        self._covers = CachedValue(lambda: find_covers(database), COVERS_TTL_S)
        self._trips = CachedValue(lambda: trip_summaries(database), COUNTS_TTL_S)
        self._position_cells = CachedValue(lambda: position_cells(database), COUNTS_TTL_S)
        self._to_review = CachedValue(lambda: count_to_review(database), COUNTS_TTL_S)

    def counts(self) -> list[LandmarkCount] | None:
        """Return all landmarks with photo counts, most photos first; None while they are counted for the first time."""
        return self._counts.get(WAIT_S)

    def covers(self) -> Mapping[str, Cover] | None:
        """Return covers by landmark slug; None while they are chosen for the first time."""
        return self._covers.get(WAIT_S if self._covers.has_value else FIRST_WAIT_S)

    def trips(self) -> list[TripSummary] | None:
        """Return all trips, newest first; None while they are found for the first time."""
        return self._trips.get(WAIT_S if self._trips.has_value else FIRST_WAIT_S)

    def position_cells(self) -> list[PositionCell] | None:
        """Return where photos were taken; None while they are counted for the first time."""
        return self._position_cells.get(WAIT_S)

    def to_review(self) -> int | None:
        """Return the number of entries in the review queue, counted up to `COUNT_LIMIT`; None while they are counted for the first time."""
        return self._to_review.get(WAIT_S)

    def close(self) -> None:
        """Wait for queries that are running."""
        for value in (self._counts, self._covers, self._trips, self._position_cells, self._to_review):
            value.close()


class CachedValue(Generic[T]):
    """The result of `query`, refreshed in a thread when it is older than `ttl_s`."""

    def __init__(self, query: Callable[[], T], ttl_s: float) -> None:
        self._query = query
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._value: T | None = None
        self._stale_at_s = 0.0

    @property
    def has_value(self) -> bool:
        return self._value is not None

    def get(self, wait_s: float) -> T | None:
        """Return the newest value available within `wait_s`, possibly a stale one; None if there is none yet."""
        with self._lock:
            if time.monotonic() < self._stale_at_s:
                return self._value
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._refresh, name="overview", daemon=True)
                self._thread.start()
            thread = self._thread
        thread.join(wait_s)
        return self._value

    def close(self) -> None:
        """Wait for the thread, if there is one."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _refresh(self) -> None:
        start_s = time.monotonic()
        try:
            self._value = self._query()
        except DatabaseError:
            log.exception("cannot refresh the library overview; trying again later")
        now_s = time.monotonic()
        self._stale_at_s = now_s + max(self._ttl_s, COST_FACTOR * (now_s - start_s))


def library_overview(request: Request) -> LibraryOverview:
    """Return the application's overview."""
    overview: LibraryOverview = request.app.state.overview
    return overview


Overview = Annotated[LibraryOverview, Depends(library_overview)]
"""A parameter of a route that receives the overview."""
