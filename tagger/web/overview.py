"""The library as a whole: its landmarks, trips, positions, what is to review, look-alikes, and its names.

These queries take longer the larger the library is. Pages therefore show cached values, which threads
refresh. Searches find names in such lists.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request

from tagger.cameras import names_of_camera_models
from tagger.database.connection import Database
from tagger.landmarks.landmarks import familiar_landmarks, normalize_name
from tagger.query.counts import (
    LandmarkCount,
    city_counts,
    familiar_landmark_counts,
    find_covers,
    folder_counts,
    sights_in_library,
)
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import position_cells
from tagger.query.timeline import count_photos
from tagger.query.trip_summaries import TripSummary, trip_summaries
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
    sight_names,
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
from tagger.search.words import phrases
from tagger.teaching.lessons import COUNT_LIMIT, count_suggestions
from tagger.teaching.similarity import LookAlikes
from tagger.texts.names import city_name, name_in_language
from tagger.texts.text_format import in_language, reader_language
from tagger.things import count_things
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
    """Counts, covers and lists of one database. Each is None while it is made for the first time."""

    def __init__(
        self,
        database: Database,
        root_paths: RootPaths,
        find_look_alikes: Callable[[], LookAlikes],
        changes: Changes,
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
        self.things = kept(lambda: count_things(database))
        # Up to `COUNT_LIMIT`.
        self.to_review = kept(lambda: count_suggestions(database))
        # Searches find names in these.
        self.cities = kept(lambda: city_counts(database))
        self.cameras = kept(lambda: _read_cameras(database))
        self.folders = kept(lambda: folder_counts(database, root_paths))

    def named_counts(self) -> list[LandmarkCount] | None:
        """Return the same as `counts`, with names in the reader's language."""
        counts, names = self.counts.get_soon(), self.names()
        return counts and [
            replace(each, name=names.get(each.landmark, each.name)) for each in counts
        ]

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


def _read_cameras(database: Database) -> Mapping[str, Collection[str]]:
    with database.read() as connection:
        return names_of_camera_models(connection)


def _names_in(database: Database, tag: str) -> Mapping[str, str]:
    with database.read() as connection:
        every = familiar_landmarks(connection)
    return {each.slug: name_in_language(each.name, each.names, tag) for each in every}


def _count_unclassified(database: Database) -> UnclassifiedPhotos:
    waiting = PhotoQuery(untagged=True, sort="newest", distinct=True)
    failed = PhotoQuery(failed=True, sort="newest", distinct=True)
    return UnclassifiedPhotos(
        *(count_photos(database, query, COUNT_LIMIT) for query in (waiting, failed))
    )


def library_overview(request: Request) -> LibraryOverview:
    """Return the application's overview."""
    overview: LibraryOverview = request.app.state.overview
    return overview


# A parameter of a route that receives the overview.
Overview = Annotated[LibraryOverview, Depends(library_overview)]


# How long the first search waits for its lists. Without one, a search finds nothing of that kind.
FIRST_SEARCH_WAIT_S = 1.5
# How long others wait for a refresh: a small library's takes less.
SEARCH_WAIT_S = 0.02

_NONE: list[Any] = []


class SearchLists:
    """An index of the names in each list of the overview. Created once per server."""

    def __init__(
        self, database: Database, root_paths: RootPaths, overview: LibraryOverview
    ) -> None:
        self._database = database
        self._files = named_files(database, root_paths)
        self._overview = overview
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
        cities = self._overview.cities.get_soon(SEARCH_WAIT_S, FIRST_SEARCH_WAIT_S) or _NONE
        areas = {
            each.options["box"]: each.label for each in self._index(region_names, cities).things
        }
        for each in self._index(city_names, cities).things:
            city = replace(each, label=city_name(each.label, each.detail.partition(", ")[0]))
            wide = with_surroundings(city)
            areas[city.options["near"]] = city.label
            areas[f"{wide.options['near']},{wide.options['radius_km']}"] = wide.label
        return {str(value): name for value, name in areas.items()}

    def _names(self, text: str, *, by_name: bool = False) -> Iterator[Sequence[Names]]:
        """The indexes for a text, in the order in which commands read them."""
        until_s = time.monotonic() + FIRST_SEARCH_WAIT_S

        def left() -> tuple[float, float]:
            return SEARCH_WAIT_S, max(until_s - time.monotonic(), 0.0)

        landmarks, cities = (
            self._overview.counts.get_soon(*left()),
            self._overview.cities.get_soon(*left()) or _NONE,
        )
        countries = self._index(countries_of, landmarks or _NONE, cities)
        if landmarks is None:
            uncounted = uncounted_landmarks(self._database)
            names = landmark_names(uncounted, is_counted=False)
            familiar = {each.landmark for each in uncounted}
        else:
            names = self._index(landmark_names, landmarks)
            familiar = {each.landmark for each in landmarks if each.photos}
        with self._database.read() as connection:
            sights = sights_in_library(connection, phrases(text))
        yield (
            names,
            unfamiliar_names(self._database, text, familiar, sights),
            self._index(country_names, countries),
            self._index(camera_names, self._overview.cameras.get_soon(*left()) or {}),
            self._outcomes,
            thing_names(self._overview.things.get_soon(*left()) or _NONE),
        )
        yield (
            self._index(city_names, cities),
            self._index(region_names, cities),
            sight_names(sights),
        )
        yield self._index(foreign_country_names, countries), self._index(foreign_city_names, cities)
        trips = self._overview.trips.get_soon(*left()) or _NONE
        yield self._index(journey_names, trips), self._index(trip_names, trips)
        yield (self._index(folder_names, self._overview.folders.get_soon(*left()) or _NONE),)
        if by_name:
            yield (unfamiliar_names(self._database, text, familiar, sights, by_name=True),)

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
