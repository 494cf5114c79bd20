"""Results of long queries, kept and refreshed in threads: values, counts, and names for searches."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, wait
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from math import inf
from typing import Any, Generic, TypeVar

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.database.engine import DAMAGED_ROWS
from tagger.landmarks.landmarks import familiar_landmarks, normalize_name
from tagger.query.counts import LandmarkCount, city_counts, folder_counts
from tagger.query.options import PhotoQuery
from tagger.query.trip_summaries import TripSummary
from tagger.roots.roots import RootPaths
from tagger.search.names import (
    Meaning,
    Names,
    camera_names,
    city_names,
    countries_of,
    country_names,
    folder_names,
    foreign_city_names,
    foreign_country_names,
    journey_names,
    landmark_names,
    outcome_names,
    region_names,
    thing_names,
    trip_names,
    with_surroundings,
)
from tagger.search.text_query import (
    UnderstoodText,
    named_files,
    suggest,
    this_day,
    understand,
    unfamiliar_names,
)
from tagger.texts.names import city_name
from tagger.texts.text_format import in_language
from tagger.things import ThingCount

log = logging.getLogger(__name__)

T = TypeVar("T")

# Changes by jobs and other programs make a result stale only after so many times its query's duration: while
# a job stores photos, counting takes at most 5 % of the time.
COST_FACTOR = 20.0
# How long a query that failed waits at least: each attempt is logged.
RETRY_S = 2.0
# Queries that take longer are refreshed one at a time: together, they would delay requests.
QUICK_S = 0.5
# How long a server that stops waits for queries: those of a large library take minutes.
CLOSE_S = 5.0
MOST_QUERIES = 100


class Changes:
    """What tells that results of one database may be outdated, shared by all its results.

    `database_mark`: as `Database.change_mark`.
    """

    def __init__(self, database_mark: Callable[[], int | None] = lambda: None) -> None:
        self.database_mark = database_mark
        # Requests to this server that may have changed something: the next one sees what they did.
        self.requests = 0
        self.slow_queries = threading.Lock()

    def record_request(self) -> None:
        """Make all results stale, also those of queries that run now."""
        self.requests += 1


class _Result(Future[T]):
    """The result of a query that runs or has run."""

    def __init__(self, changes: Changes) -> None:
        super().__init__()
        self._changes = changes
        # Read before the query, which may not see what changes while it runs.
        self.requests = changes.requests
        self._database_mark = changes.database_mark()
        self._fresh_until_s = inf
        # How long a request has waited for it in vain.
        self.waited_s = 0.0

    def is_fresh(self) -> bool:
        if self.requests == self._changes.requests and time.monotonic() < self._fresh_until_s:
            return True
        mark = self._database_mark
        return mark is not None and mark == self._changes.database_mark()

    def run(self, query: Callable[[], T]) -> None:
        start_s, least_s = time.monotonic(), 0.0
        try:
            finish = partial(self.set_result, query())
        except BaseException as error:  # noqa: BLE001 - who asks for the result raises it
            self._database_mark, least_s = None, RETRY_S
            finish = partial(self.set_exception, error)
        end_s = time.monotonic()
        self._fresh_until_s = end_s + max(COST_FACTOR * (end_s - start_s), least_s)
        finish()


class CachedValue(Generic[T]):
    """The result of `query`, refreshed in a thread once it is stale."""

    def __init__(self, query: Callable[[], T], changes: Changes | None = None) -> None:
        self._query = query
        self._changes = changes or Changes()
        self._lock = threading.Lock()
        self._newest: _Result[T] | None = None
        self._value: T | None = None
        self._query_s = inf
        self._is_closed = False

    @property
    def has_value(self) -> bool:
        return self._value is not None

    def get(self, wait_s: float, first_wait_s: float | None = None) -> T | None:
        """Return the newest value available within `wait_s`, possibly a stale one; None if there is none yet.

        `first_wait_s` replaces `wait_s` as long as there is no value.

        A stale value is returned at once if the last query took longer than `wait_s`. The time that a request
        waited in vain is subtracted for the next ones, so that not every page waits.
        """
        if self.has_value:
            wait_s = wait_s if self._query_s <= wait_s else 0.0
        elif first_wait_s is not None:
            wait_s = first_wait_s
        requests = self._changes.requests
        until_s = time.monotonic() + wait_s
        result = self._refreshed()
        _wait(result, wait_s)
        if result.done() and result.requests < requests:  # its query began before the last change
            _wait(self._refreshed(), until_s - time.monotonic())
        return self._value

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Wait for the query that runs. The end of the process ends one that takes longer."""
        self._is_closed = True
        with self._lock:
            newest = self._newest
        if newest is not None:
            wait([newest], wait_s)

    def _refreshed(self) -> _Result[T]:
        """The newest result if it is fresh or its query runs, else one whose query is started."""
        with self._lock:
            newest = self._newest
            if newest is None or (newest.done() and not newest.is_fresh()):
                newest = _Result(self._changes)
                threading.Thread(target=self._refresh, args=[newest], name="overview", daemon=True).start()
                self._newest = newest
            return newest

    def _refresh(self, result: _Result[T]) -> None:
        is_quick = self._query_s < QUICK_S
        with nullcontext() if is_quick else self._changes.slow_queries:
            result.run(self._run_query)

    def _run_query(self) -> T:
        if self._is_closed:
            raise CancelledError
        start_s = time.monotonic()
        try:
            self._value = value = self._query()
        except Exception:
            # Also for values that this program never stores: the thread would try again at once.
            log.exception("cannot refresh the library overview; trying again later; %s", DAMAGED_ROWS)
            raise
        finally:
            self._query_s = time.monotonic() - start_s
        return value


def _wait(result: _Result[Any], wait_s: float) -> None:
    wait([result], max(wait_s - result.waited_s, 0.0))
    if not result.done():
        result.waited_s = max(result.waited_s, wait_s)


def close_all(values: Iterable[CachedValue[Any]]) -> None:
    """Close the values, within `CLOSE_S` for all together."""
    until_s = time.monotonic() + CLOSE_S
    for value in values:
        value.close(max(until_s - time.monotonic(), 0.0))


class QueryCounts(Generic[T]):
    """Results of `count` by its arguments. Created once per server."""

    def __init__(self, count: Callable[..., T], changes: Changes | None = None) -> None:
        self._count = count
        self._changes = changes or Changes()
        self._lock = threading.Lock()
        self._results: OrderedDict[Hashable, _Result[T]] = OrderedDict()

    def get(self, query: PhotoQuery, **options: Hashable) -> T:
        """Return the result for the query; raises as `count`. Callers that come meanwhile wait for it."""
        key = query, *options.items()
        with self._lock:
            result = self._results.get(key)
            is_first = result is None or not result.is_fresh()
            if result is None or is_first:
                result = self._results[key] = _Result(self._changes)
                self._results.move_to_end(key)
                while len(self._results) > MOST_QUERIES:
                    self._results.popitem(last=False)
        if is_first:
            result.run(partial(self._count, query, **options))
            if result.exception() is not None:
                with self._lock:
                    self._results.pop(key, None)
        return result.result()


# How long the first search waits for its lists. Without one, a search finds nothing of that kind.
FIRST_WAIT_S = 1.5
# How long others wait for a refresh: a small library's takes less.
WAIT_S = 0.02

_NONE: list[Any] = []

LandmarkCounts = Callable[[float, float], list[LandmarkCount] | None]
Trips = Callable[[float, float], list[TripSummary] | None]
Things = Callable[[float, float], list[ThingCount]]


class SearchLists:
    """The lists of one database, with an index of the names in each. Created once per server.

    `landmarks`, `trips` and `things` return these lists, with the arguments of `CachedValue.get`; None, or no
    things, while they are made for the first time.
    """

    def __init__(
        self,
        database: Database,
        root_paths: RootPaths,
        landmarks: LandmarkCounts,
        trips: Trips,
        things: Things,
        changes: Changes,
    ) -> None:
        self._database = database
        self._files = named_files(database, root_paths)
        self._landmarks = landmarks
        self._trips = trips
        self._things = things
        self._cities = CachedValue(lambda: city_counts(database), changes)
        self._cameras = CachedValue(self._read_cameras, changes)
        self._folders = CachedValue(lambda: folder_counts(database, root_paths), changes)
        self._outcomes = outcome_names()
        self._indexes: dict[Callable[..., Any], tuple[tuple[object, ...], Any]] = {}

    def understand(self, text: str) -> UnderstoodText:
        """Return the parts of a text and the query for its photos."""
        return understand(text, self._names(text, by_name=True), self._files, this_day())

    def suggest(self, text: str) -> list[Meaning]:
        """Return what the start of a text may mean."""
        names = [index for each in self._names(text) for index in each]
        return suggest(text, names, self._files, this_day())

    def area_names(self) -> Mapping[str, str]:
        """Return the reader's names of cities and regions by the values of their options."""
        cities = self._cities.get(WAIT_S, FIRST_WAIT_S) or _NONE
        areas = {each.options["box"]: each.label for each in self._index(region_names, cities).things}
        for each in self._index(city_names, cities).things:
            city = replace(each, label=city_name(each.label, each.detail.partition(", ")[0]))
            wide = with_surroundings(city)
            areas[city.options["near"]] = city.label
            areas[f"{wide.options['near']},{wide.options['radius_km']}"] = wide.label
        return {str(value): name for value, name in areas.items()}

    def close(self) -> None:
        """Wait a moment for queries that are running."""
        close_all((self._cities, self._cameras, self._folders))

    def _names(self, text: str, *, by_name: bool = False) -> Iterator[Sequence[Names]]:
        """The indexes for a text, in the order in which commands read them."""
        until_s = time.monotonic() + FIRST_WAIT_S

        def left() -> tuple[float, float]:
            return WAIT_S, max(until_s - time.monotonic(), 0.0)

        landmarks, cities = self._landmarks(*left()), self._cities.get(*left()) or _NONE
        countries = self._index(countries_of, landmarks or _NONE, cities)
        if landmarks is None:
            uncounted = uncounted_landmarks(self._database)
            names = landmark_names(uncounted, is_counted=False)
            familiar = {each.landmark for each in uncounted}
        else:
            names = self._index(landmark_names, landmarks)
            familiar = {each.landmark for each in landmarks if each.photos}
        yield (
            names,
            unfamiliar_names(self._database, text, familiar),
            self._index(country_names, countries),
            self._index(camera_names, self._cameras.get(*left()) or {}),
            self._outcomes,
            thing_names(self._things(*left())),
        )
        yield self._index(city_names, cities), self._index(region_names, cities)
        yield self._index(foreign_country_names, countries), self._index(foreign_city_names, cities)
        trips = self._trips(*left()) or _NONE
        yield self._index(journey_names, trips), self._index(trip_names, trips)
        yield (self._index(folder_names, self._folders.get(*left()) or _NONE),)
        if by_name:
            yield (unfamiliar_names(self._database, text, familiar, by_name=True),)

    def _read_cameras(self) -> Mapping[str, Collection[str]]:
        with self._database.read() as connection:
            return names_of_camera_models(connection)

    def _index(self, make: Callable[..., T], *lists: Collection[object]) -> T:
        """What is made of the lists, built again when one of them has changed."""
        made_of, index = self._indexes.get(make, ((), None))
        if index is None or any(old is not new for old, new in zip(made_of, lists, strict=True)):
            with in_language(None):
                index = make(*lists)
            self._indexes[make] = lists, index
        made: T = index
        return made


def uncounted_landmarks(database: Database) -> list[LandmarkCount]:
    """Return the familiar landmarks by name, for the time until their photos are counted."""
    with database.read() as connection:
        landmarks = familiar_landmarks(connection)
    by_name = sorted(landmarks, key=lambda landmark: normalize_name(landmark.display_name))
    return [LandmarkCount.of(landmark, 0) for landmark in by_name]
