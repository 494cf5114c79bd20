"""The names that typed text is compared with, by lists that take long to make: they are kept, and refreshed in threads."""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any

from tagger.database.connection import Database
from tagger.library.catalog.landmarks import all_landmarks
from tagger.library.catalog.roots import RootPaths
from tagger.library.query.counts import CityCount, FolderCount, LandmarkCount, city_counts, folder_counts
from tagger.library.query.path_ranges import files_by_name
from tagger.library.query.trip_summaries import TripSummary
from tagger.library.search.suggestions import (
    Names,
    Suggestion,
    city_names,
    country_index,
    folder_names,
    landmark_names,
    suggest,
    trip_names,
)
from tagger.web.cached_value import CachedValue, close_all

FIRST_WAIT_S = 0.4
"""How long the first search waits for a list. Without it, a search finds nothing of that kind."""
WAIT_S = 0.02
"""How long others wait for a refresh: a small library's takes less."""
TTL_S = 2.0

_NONE: list[Any] = []

LandmarkCounts = Callable[[float], list[LandmarkCount] | None]
Trips = Callable[[float], list[TripSummary] | None]


class SearchLists:
    """The lists of one database, with an index of the names in each. Created once per server.

    `landmarks` and `trips` return these lists within so many seconds; None while they are made for the first time. `turn`: see
    `CachedValue`.
    """

    def __init__(
        self,
        database: Database,
        root_paths: RootPaths,
        landmarks: LandmarkCounts,
        trips: Trips,
        turn: "Lock | None" = None,
    ) -> None:
        turn = turn or Lock()
        self._database = database
        self._landmarks = landmarks
        self._trips = trips
        self._cities = CachedValue(lambda: city_counts(database), TTL_S, turn)
        self._folders = CachedValue(lambda: folder_counts(database, root_paths), TTL_S, turn)
        self._indexes: dict[str, tuple[tuple[object, ...], Names]] = {}

    def suggest(self, text: str) -> list[Suggestion]:
        """Return what the text may mean."""

        def files(start: str, limit: int) -> Sequence[Any]:
            return files_by_name(self._database, start, limit)

        return suggest(text, self._names(), files)

    def folders(self) -> Sequence[FolderCount] | None:
        """Return all folders with photos; None while they are counted for the first time."""
        return self._folders.get(self._wait_s("folders"))

    def cities(self) -> Sequence[CityCount] | None:
        """Return all cities with photos; None while they are counted for the first time."""
        return self._cities.get(self._wait_s("cities"))

    def close(self) -> None:
        """Wait a moment for queries that are running."""
        close_all((self._cities, self._folders))

    def _names(self) -> Sequence[Names]:
        landmarks = self._landmarks(self._wait_s("landmarks"))
        trips = self._trips(self._wait_s("trips")) or _NONE
        cities, folders = self.cities() or _NONE, self.folders() or _NONE
        return (
            self._uncounted() if landmarks is None else self._index("landmarks", landmark_names, landmarks),
            self._index("countries", country_index, landmarks or _NONE, cities),
            self._index("cities", city_names, cities),
            self._index("trips", trip_names, trips),
            self._index("folders", folder_names, folders),
        )

    def _wait_s(self, name: str) -> float:
        return WAIT_S if name in self._indexes else FIRST_WAIT_S

    def _uncounted(self) -> Names:
        """All landmarks, for the time until their photos are counted."""
        with self._database.read() as connection:
            every = [LandmarkCount.of(landmark, 0) for landmark in all_landmarks(connection)]
        return landmark_names(every, with_empty=True)

    def _index(self, name: str, make: Callable[..., Names], *lists: Sequence[object]) -> Names:
        """The index of the lists, built again when one of them has changed."""
        made_of, index = self._indexes.get(name, ((), None))
        if index is None or any(old is not new for old, new in zip(made_of, lists, strict=True)):
            index = make(*lists)
            self._indexes[name] = lists, index
        return index
