"""Visits of cameras to known cities, for tests of trips."""
# ruff: noqa: DTZ001 - cameras record no time zone

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from hypothesis import strategies as st

from tagger.trips import Locality, Visit
from tagger.trips.grouping import Trip


@dataclass(frozen=True, order=True)
class City:
    """A city, with the position of its photos in degrees."""

    place: Locality
    latitude: float
    longitude: float


def _city(country: str, region: str, name: str, latitude: float, longitude: float) -> City:
    return City(Locality(country, region, name), latitude, longitude)


HAMBURG = _city("Germany", "Hamburg", "Hamburg", 53.55, 9.99)
LUENEBURG = _city("Germany", "Lower Saxony", "Lüneburg", 53.25, 10.41)
BERLIN = _city("Germany", "Berlin", "Berlin", 52.52, 13.4)
PARIS = _city("France", "Île-de-France", "Paris", 48.86, 2.35)
ARLES = _city("France", "Provence-Alpes-Côte d'Azur", "Arles", 43.68, 4.63)
AVIGNON = _city("France", "Provence-Alpes-Côte d'Azur", "Avignon", 43.95, 4.81)
NICE = _city("France", "Provence-Alpes-Côte d'Azur", "Nice", 43.7, 7.27)
ROME = _city("Italy", "Lazio", "Rome", 41.9, 12.5)
TOKYO = _city("Japan", "Tokyo", "Tokyo", 35.68, 139.69)
AT_SEA = City(Locality(), -64.8, -62.9)
NOWHERE = City(Locality(), 0.0, 0.0)
CITIES = (NOWHERE, HAMBURG, LUENEBURG, BERLIN, PARIS, ARLES, AVIGNON, NICE, ROME, TOKYO, AT_SEA)


@dataclass(frozen=True, order=True)
class Shot:
    """A photo. `is_measured`: its position is not that of a landmark. At NOWHERE, it is not known."""

    at: datetime
    city: City
    camera_id: int = 1
    is_measured: bool = True
    folder: str = ""


def shots(
    first: str,
    last: str,
    *cities: City,
    camera: int = 1,
    hours: Iterable[int] = (10, 13, 17),
    folder: str = "",
) -> list[Shot]:
    """Photos at these hours of all days from the first to the last, the days in the cities in turn."""
    begin, end = date.fromisoformat(first), date.fromisoformat(last)
    days = [begin + timedelta(days=number) for number in range((end - begin).days + 1)]
    return [
        Shot(
            datetime(day.year, day.month, day.day, hour), cities[number % len(cities)], camera, folder=folder
        )
        for number, day in enumerate(days)
        for hour in hours
    ]


def everyday(city: City, year: int = 2019, camera: int = 1) -> list[Shot]:
    """Photos at home: twice a month."""
    days = [date(year, month, day) for month in range(1, 13) for day in (1, 15)]
    return [shot for day in days for shot in shots(str(day), str(day), city, camera=camera)]


def visits(*found: Iterable[Shot]) -> Iterator[Visit]:
    groups: dict[tuple[int, date, City], list[Shot]] = defaultdict(list)
    for shot in (shot for some in found for shot in some):
        groups[shot.camera_id, shot.at.date(), shot.city].append(shot)
    for (camera_id, day, city), group in groups.items():
        yield Visit(
            camera_id,
            day,
            city.place,
            city.latitude,
            city.longitude,
            len(group),
            min(shot.at for shot in group),
            max(shot.at for shot in group),
            any(shot.is_measured for shot in group),
            folder=group[0].folder if len({shot.folder for shot in group}) == 1 else "",
            is_located=city is not NOWHERE,
        )


def contains(trip: Trip, shot: Shot) -> bool:
    return any(span.camera_id == shot.camera_id and span.first <= shot.at <= span.last for span in trip.spans)


journeys = st.lists(
    st.builds(
        Shot,
        st.datetimes(datetime(2018, 1, 1), datetime(2020, 12, 31)).map(lambda at: at.replace(microsecond=0)),
        st.sampled_from(CITIES),
        st.integers(1, 3),
        st.booleans(),
        st.sampled_from(("", "a/", "b/")),
    ),
    max_size=40,
)
stays = st.lists(
    st.tuples(
        st.integers(0, 700),
        st.integers(1, 10),
        st.sampled_from(CITIES),
        st.integers(1, 3),
        st.sampled_from(("", "a/", "b/")),
    ),
    max_size=8,
)


@st.composite
def libraries(draw: st.DrawFn) -> list[Shot]:
    """Single photos anywhere, stays of some days, and perhaps a home."""
    found = draw(journeys)
    for day, length, city, camera, folder in draw(stays):
        begin = datetime(2018, 1, 1) + timedelta(days=day)
        end = begin + timedelta(days=length)
        found += shots(str(begin.date()), str(end.date()), city, camera=camera, folder=folder)
    if draw(st.booleans()):
        found += everyday(HAMBURG, 2018) + everyday(HAMBURG, 2019)
    return sorted(set(found))
