"""Results of long queries, kept and refreshed in threads: values, counts, and names for searches."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf
from threading import Lock
from typing import Any, Generic, TypeVar

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.database.retry import DAMAGED_ROWS
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
    counted_countries,
    folder_names,
    foreign_city_names,
    foreign_countries,
    journey_names,
    landmark_names,
    outcome_names,
    region_names,
    thing_names,
    trip_names,
    with_surroundings,
)
from tagger.search.parts import UnderstoodText, suggest, understand
from tagger.search.text_query import named_files, this_day, unfamiliar_names
from tagger.texts.city_names import city_name
from tagger.texts.text_format import in_language
from tagger.things import ThingCount

log = logging.getLogger(__name__)

T = TypeVar("T")

COST_FACTOR = 20.0
"""A value is fresh for so many times its query's duration: refreshing takes at most 5 % of the time."""

QUICK_S = 0.5

CLOSE_S = 5.0
"""How long a server that stops waits for queries: those of a large library take minutes."""


ChangeMark = Callable[[], int | None]
"""As `Database.change_mark`: while it stays the same, results are fresh."""


def _unknown() -> None:
    """Whether anything has changed is not known."""


@dataclass(frozen=True)
class Refreshes:
    """Refreshes of values of one database, one at a time: together, they would delay requests."""

    change_mark: ChangeMark = _unknown
    lock: Lock = field(default_factory=Lock)


class CachedValue(Generic[T]):
    """The result of `query`, refreshed in a thread when it is older than `ttl_s` and may have changed."""

    def __init__(self, query: Callable[[], T], ttl_s: float, refreshes: Refreshes | None = None) -> None:
        self._query = query
        self._ttl_s = ttl_s
        self._refreshes = refreshes or Refreshes()
        self._mark: int | None = None
        """That of before the query."""
        self._waits = False
        """Whether another refresh holds the lock."""
        self._waited_s = 0.0
        """How long a request has waited for this refresh without a result."""
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._value: T | None = None
        self._stale_at_s = 0.0
        self._query_s = 0.0

    @property
    def has_value(self) -> bool:
        return self._value is not None

    @property
    def is_quick(self) -> bool:
        """Whether its query is so short that it may follow each change."""
        return self._query_s < QUICK_S

    def get(self, wait_s: float, first_wait_s: float | None = None) -> T | None:
        """Return the newest value available within `wait_s`, possibly a stale one; None if there is none yet.

        `first_wait_s` replaces `wait_s` as long as there is no value.

        A stale value is returned at once if the last refresh took longer than `wait_s`, or another runs.
        The time that a request waited in vain is subtracted for the next ones, so that not every page waits.
        """
        if first_wait_s is not None and not self.has_value:
            wait_s = first_wait_s
        with self._lock:
            if time.monotonic() < self._stale_at_s:
                return self._value
            if self._mark is not None and self._mark == self._refreshes.change_mark():
                self._stale_at_s = time.monotonic() + self._ttl_s
                return self._value
            if self._thread is None or not self._thread.is_alive():
                self._waits = self._refreshes.lock.locked()
                self._waited_s = 0.0
                thread = threading.Thread(target=self._refresh, name="overview", daemon=True)
                thread.start()
                self._thread = thread
            thread = self._thread
        if not (self.has_value and (self._waits or self._query_s > wait_s)):
            thread.join(max(wait_s - self._waited_s, 0.0))
            if thread.is_alive():
                self._waited_s = max(self._waited_s, wait_s)
        return self._value

    def expire(self) -> None:
        """Make the value stale."""
        self._stale_at_s = 0.0

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Wait for the thread, if there is one. The end of the process ends a query that takes longer."""
        self._closed = True
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(wait_s)

    def _refresh(self) -> None:
        with self._refreshes.lock:
            self._waits = False
            if not self._closed:
                self._run_query()

    def _run_query(self) -> None:
        start_s = time.monotonic()
        try:
            mark = self._refreshes.change_mark()
            self._value = self._query()
            self._mark = mark
        except Exception:
            self._mark = None
            # Also for values that this program never stores: the thread would try again at once.
            log.exception("cannot refresh the library overview; trying again later; %s", DAMAGED_ROWS)
        now_s = time.monotonic()
        self._query_s = now_s - start_s
        self._stale_at_s = now_s + max(self._ttl_s, COST_FACTOR * self._query_s)


def close_all(values: Iterable[CachedValue[Any]]) -> None:
    """Close the values, within `CLOSE_S` for all together."""
    until_s = time.monotonic() + CLOSE_S
    for value in values:
        value.close(max(until_s - time.monotonic(), 0.0))


MOST_QUERIES = 100


class QueryCounts(Generic[T]):
    """Results of `count` by its arguments. Created once per server."""

    def __init__(self, count: Callable[..., T], change_mark: ChangeMark = _unknown) -> None:
        self._count = count
        self._change_mark = change_mark
        self._lock = threading.Lock()
        self._counts: OrderedDict[Hashable, _QueryCount[T]] = OrderedDict()

    def get(self, query: PhotoQuery, **options: Hashable) -> T:
        """Return the result for the query; raises as `count`. Callers that come meanwhile wait for it."""
        key = query, *options.items()
        with self._lock:
            counted = self._counts.get(key)
            is_first = counted is None or not counted.is_fresh(self._change_mark)
            if counted is None or is_first:
                counted = self._counts[key] = _QueryCount()
                self._counts.move_to_end(key)
                while len(self._counts) > MOST_QUERIES:
                    self._counts.popitem(last=False)
        if is_first:
            counted.run(partial(self._count, query, **options), self._change_mark)
        return counted.result()


class _QueryCount(Future[T]):
    """A result, fresh until `stale_at_s`. One that is still being counted is fresh; an error never is."""

    stale_at_s = inf
    mark: int | None = None

    def is_fresh(self, change_mark: ChangeMark) -> bool:
        is_same = self.mark is not None and self.mark == change_mark()
        return is_same or time.monotonic() < self.stale_at_s

    def run(self, count: Callable[[], T], change_mark: ChangeMark) -> None:
        start_s = time.monotonic()
        try:
            mark = change_mark()
            result = count()
        except BaseException as error:  # noqa: BLE001 - all callers raise it
            self.stale_at_s = 0.0
            self.set_exception(error)
        else:
            now_s = time.monotonic()
            self.mark = mark
            self.stale_at_s = now_s + COST_FACTOR * (now_s - start_s)
            self.set_result(result)


FIRST_WAIT_S = 1.5
"""How long the first search waits for its lists. Without one, a search finds nothing of that kind."""
WAIT_S = 0.02
"""How long others wait for a refresh: a small library's takes less."""
TTL_S = 2.0

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
        refreshes: Refreshes,
    ) -> None:
        self._database = database
        self._files = named_files(database, root_paths)
        self._landmarks = landmarks
        self._trips = trips
        self._things = things
        self._cities = CachedValue(lambda: city_counts(database), TTL_S, refreshes)
        self._cameras = CachedValue(self._read_cameras, TTL_S, refreshes)
        self._folders = CachedValue(lambda: folder_counts(database, root_paths), TTL_S, refreshes)
        self._outcomes = outcome_names()
        self._indexes: dict[Callable[..., Names], tuple[tuple[object, ...], Names]] = {}

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
        known = landmarks or _NONE, cities
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
            self._index(counted_countries, *known),
            self._index(camera_names, self._cameras.get(*left()) or {}),
            self._outcomes,
            thing_names(self._things(*left())),
        )
        yield self._index(city_names, cities), self._index(region_names, cities)
        yield self._index(foreign_countries, *known), self._index(foreign_city_names, cities)
        trips = self._trips(*left()) or _NONE
        yield self._index(journey_names, trips), self._index(trip_names, trips)
        yield (self._index(folder_names, self._folders.get(*left()) or _NONE),)
        if by_name:
            yield (unfamiliar_names(self._database, text, familiar, by_name=True),)

    def _read_cameras(self) -> Mapping[str, Collection[str]]:
        with self._database.read() as connection:
            return names_of_camera_models(connection)

    def _index(self, make: Callable[..., Names], *lists: Collection[object]) -> Names:
        """The index of the lists, built again when one of them has changed."""
        made_of, index = self._indexes.get(make, ((), None))
        if index is None or any(old is not new for old, new in zip(made_of, lists, strict=True)):
            with in_language(None):
                index = make(*lists)
            self._indexes[make] = lists, index
        return index


def uncounted_landmarks(database: Database) -> list[LandmarkCount]:
    """Return the familiar landmarks by name, for the time until their photos are counted."""
    with database.read() as connection:
        landmarks = familiar_landmarks(connection)
    by_name = sorted(landmarks, key=lambda landmark: normalize_name(landmark.display_name))
    return [LandmarkCount.of(landmark, 0) for landmark in by_name]
