"""Homes: where people are on ordinary days, so that photos taken there are no trip. Knows nothing of SQL.

People move, and a library may belong to several: homes are found for each quarter of a year anew, from the
year before to the year after. Home is the area with photos in most different weeks; a holiday has many days,
but few weeks. An area with half as many weeks is a home too. It must be photographed in several months of the
year, as a place of summer holidays is not.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from math import ceil, cos, radians
from typing import NamedTuple

from tagger.geo import distance_km
from tagger.trips import Visit

HOME_RADIUS_KM = 50.0
# The fewest of the twelve months of a year in which a home is photographed.
LEAST_MONTHS = 5
_SHARE_OF_WEEKS = 0.5
REACH_QUARTERS = 4
_CANDIDATES = 10
# Visits within some 14 km are of one spot.
_SPOTS_PER_DEGREE = 8
_SPOTS_AROUND = 360 * _SPOTS_PER_DEGREE
# Of latitude, rounded up.
KM_PER_DEGREE = 111.2

Coordinates = tuple[float, float]
_Spot = tuple[int, int]


class _Times(NamedTuple):
    """When a spot was photographed, and the countries where its photos were taken."""

    weeks: set[int]
    months: set[int]
    countries: set[str]

    def add(self, other: "_Times") -> None:
        """Add those of another spot, or of another time."""
        self.weeks.update(other.weeks)
        self.months.update(other.months)
        self.countries.update(other.countries)


def _no_times() -> _Times:
    return _Times(set(), set(), set())


class _Home(NamedTuple):
    """The middle of a home, and its countries: several near a border."""

    centre: Coordinates
    countries: set[str]


class Homes:
    """The homes of all times."""

    def __init__(self, visits: Iterable[Visit]) -> None:
        times_of: dict[int, dict[_Spot, _Times]] = {}
        for visit in visits:
            spots = times_of.setdefault(_quarter(visit.day), {})
            times = spots.setdefault(_spot(visit), _no_times())
            times.weeks.add(visit.day.toordinal() // 7)
            times.months.add(visit.day.month)
            times.countries.add(visit.place.country)
        self._homes = {
            quarter: tuple(_homes(_spots_around(times_of, quarter))) for quarter in times_of
        }

    def has(self, visit: Visit) -> bool:
        """Whether the visit is to a home."""
        return any(
            abs(visit.latitude - home.centre[0]) * KM_PER_DEGREE <= HOME_RADIUS_KM + 1
            and distance_km(visit.latitude, visit.longitude, *home.centre) <= HOME_RADIUS_KM
            for home in self._homes.get(_quarter(visit.day), ())
        )

    def is_abroad(self, visit: Visit) -> bool:
        """Whether the visit is to a country without a home. Without any home, all are."""
        country = visit.place.country
        return bool(country) and all(
            country not in home.countries for home in self._homes.get(_quarter(visit.day), ())
        )


def _quarter(day: date) -> int:
    return day.year * 4 + (day.month - 1) // 3


def _spot(visit: Visit) -> _Spot:
    return round(visit.latitude * _SPOTS_PER_DEGREE), _wrapped(
        round(visit.longitude * _SPOTS_PER_DEGREE)
    )


def _wrapped(east: int) -> int:
    return (east + _SPOTS_AROUND // 2) % _SPOTS_AROUND - _SPOTS_AROUND // 2


def _position(spot: _Spot) -> Coordinates:
    return spot[0] / _SPOTS_PER_DEGREE, spot[1] / _SPOTS_PER_DEGREE


def _spots_around(
    times_of: Mapping[int, Mapping[_Spot, _Times]], quarter: int
) -> dict[_Spot, _Times]:
    around: dict[_Spot, _Times] = defaultdict(_no_times)
    for near in range(quarter - REACH_QUARTERS, quarter + REACH_QUARTERS + 1):
        for spot, times in times_of.get(near, {}).items():
            around[spot].add(times)
    return around


def _homes(spots: Mapping[_Spot, _Times]) -> Iterator[_Home]:
    """The homes, the area with most weeks first. Areas do not overlap."""
    candidates = sorted(spots, key=lambda spot: (-len(spots[spot].weeks), spot))[:_CANDIDATES]
    areas = [(_area_times(spot, spots), _position(spot)) for spot in candidates]
    lived_in = [(times, centre) for times, centre in areas if len(times.months) >= LEAST_MONTHS]
    most_weeks = max((len(times.weeks) for times, _ in lived_in), default=0)
    homes: list[Coordinates] = []
    for times, centre in sorted(lived_in, key=lambda area: (-len(area[0].weeks), area[1])):
        is_apart = all(distance_km(*centre, *home) > HOME_RADIUS_KM for home in homes)
        if len(times.weeks) >= _SHARE_OF_WEEKS * most_weeks and is_apart:
            homes.append(centre)
            yield _Home(centre, times.countries)


def _area_times(centre: _Spot, spots: Mapping[_Spot, _Times]) -> _Times:
    """When an area of half a home was photographed: visits near its edge belong to the home."""
    area = _no_times()
    for spot in _spots_near(centre, HOME_RADIUS_KM / 2):
        if (
            spot in spots
            and distance_km(*_position(centre), *_position(spot)) <= HOME_RADIUS_KM / 2
        ):
            area.add(spots[spot])
    return area


def _spots_near(centre: _Spot, radius_km: float) -> Iterator[_Spot]:
    """The spots around one, some of them farther than the radius."""
    north = ceil(radius_km / KM_PER_DEGREE * _SPOTS_PER_DEGREE)
    shrinking = cos(radians(min(89.0, (abs(centre[0]) + north) / _SPOTS_PER_DEGREE)))
    east = min(ceil(north / shrinking), _SPOTS_AROUND // 2)
    for y in range(centre[0] - north, centre[0] + north + 1):
        for x in range(centre[1] - east, centre[1] + min(east, _SPOTS_AROUND // 2 - 1) + 1):
            yield y, _wrapped(x)
