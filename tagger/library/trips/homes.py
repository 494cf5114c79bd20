"""Homes: where people are on ordinary days, so that photos taken there are no trip. Knows nothing of SQL.

People move, and a library may belong to several: homes are found for each quarter of a year anew, from the year before to the
year after. Home is the area with photos in most different weeks; a holiday has many days, but few weeks. An area with half as many
weeks is a home too. It must be photographed in several months of the year, as a place of summer holidays is not.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import NamedTuple

from tagger.library.trips.visits import Visit
from tagger.system.geo import distance_km

HOME_RADIUS_KM = 50.0
LEAST_MONTHS = 5
"""Of the twelve of a year."""
_SHARE_OF_WEEKS = 0.5
REACH_QUARTERS = 4
_CANDIDATES = 10
_SPOTS_PER_DEGREE = 8
"""Visits within some 14 km are of one spot."""

Position = tuple[float, float]
_Spot = tuple[int, int]


class _Times(NamedTuple):
    """When a spot was photographed."""

    weeks: set[int]
    months: set[int]


class Homes:
    """The homes of all times."""

    def __init__(self, visits: Iterable[Visit]) -> None:
        times_of: dict[int, dict[_Spot, _Times]] = {}
        for visit in visits:
            spots = times_of.setdefault(_quarter(visit.day), {})
            times = spots.setdefault(_spot(visit), _Times(set(), set()))
            times.weeks.add(visit.day.toordinal() // 7)
            times.months.add(visit.day.month)
        self._homes = {quarter: tuple(_homes(_spots_around(times_of, quarter))) for quarter in times_of}

    def at(self, day: date) -> tuple[Position, ...]:
        """The homes of a day with photos, in degrees."""
        return self._homes.get(_quarter(day), ())

    def has(self, visit: Visit) -> bool:
        """Whether the visit is to a home."""
        return any(
            distance_km(visit.latitude, visit.longitude, *home) <= HOME_RADIUS_KM
            for home in self.at(visit.day)
        )


def _quarter(day: date) -> int:
    return day.year * 4 + (day.month - 1) // 3


def _spot(visit: Visit) -> _Spot:
    return round(visit.latitude * _SPOTS_PER_DEGREE), round(visit.longitude * _SPOTS_PER_DEGREE)


def _position(spot: _Spot) -> Position:
    return spot[0] / _SPOTS_PER_DEGREE, spot[1] / _SPOTS_PER_DEGREE


def _spots_around(times_of: Mapping[int, Mapping[_Spot, _Times]], quarter: int) -> dict[_Spot, _Times]:
    around: dict[_Spot, _Times] = defaultdict(lambda: _Times(set(), set()))
    for near in range(quarter - REACH_QUARTERS, quarter + REACH_QUARTERS + 1):
        for spot, times in times_of.get(near, {}).items():
            around[spot].weeks.update(times.weeks)
            around[spot].months.update(times.months)
    return around


def _homes(spots: Mapping[_Spot, _Times]) -> Iterator[Position]:
    """The homes, the area with most weeks first. Areas do not overlap."""
    candidates = sorted(spots, key=lambda spot: (-len(spots[spot].weeks), spot))[:_CANDIDATES]
    areas = [(_area_times(_position(spot), spots), _position(spot)) for spot in candidates]
    lived_in = [(len(times.weeks), centre) for times, centre in areas if len(times.months) >= LEAST_MONTHS]
    most_weeks = max((weeks for weeks, _ in lived_in), default=0)
    homes: list[Position] = []
    for weeks, centre in sorted(lived_in, key=lambda area: (-area[0], area[1])):
        is_apart = all(distance_km(*centre, *home) > HOME_RADIUS_KM for home in homes)
        if weeks >= _SHARE_OF_WEEKS * most_weeks and is_apart:
            homes.append(centre)
            yield centre


def _area_times(centre: Position, spots: Mapping[_Spot, _Times]) -> _Times:
    """When the area was photographed. It is half as large as a home: visits near its edge belong to the home."""
    area = [
        times for spot, times in spots.items() if distance_km(*centre, *_position(spot)) <= HOME_RADIUS_KM / 2
    ]
    return _Times(
        set().union(*(times.weeks for times in area)), set().union(*(times.months for times in area))
    )
