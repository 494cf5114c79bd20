"""Trips: photos away from home, grouped by time and place; and what people change of them."""

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import accumulate, chain, groupby, product
from math import ceil, cos, radians
from operator import attrgetter
from typing import NamedTuple

from tagger.database import TripEditKind
from tagger.geo import distance_km


@dataclass(frozen=True)
class TripReference:
    """It tells the trip from another one that has its id later."""

    camera_id: int
    taken_at: datetime


@dataclass(frozen=True)
class TripEdit:
    """A change of the trip with this moment: a `name`, a split at midnight, or a merge with that of `other`.

    A `name` of None is that of the place. `moment` is in the later part of a split.
    """

    id: int
    kind: TripEditKind
    moment: TripReference
    name: str | None = None
    split_at: datetime | None = None
    other: TripReference | None = None


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """The city of a visit; at sea, all three are empty. Some small countries have no regions."""

    country: str = ""
    region: str = ""
    city: str = ""


class Visit(NamedTuple):
    """The photos of a camera in one place on one day, with their mean position in degrees.

    `is_measured`: by a GPS receiver, of the camera or of a track. Else all positions follow from landmarks.
    `is_dated`: the clock was set, as far as the date says. Photos of the day before make any date a true one.
    `folder`: that of all these photos; empty: they are in several, or in none.
    `is_located`: their position is known. Other visits have no place.
    """

    camera_id: int
    day: date
    place: Locality
    latitude: float
    longitude: float
    photos: int
    first: datetime
    last: datetime
    is_measured: bool = True
    is_dated: bool = True
    folder: str = ""
    is_located: bool = True


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

# The longest time without photos within a trip.
GAP = timedelta(hours=36)
# The same, if the photos before and after it are of one place: days of rain, or at the beach.
GAP_IN_PLACE = timedelta(hours=72)
# The same, if they are of one country abroad, and no camera was at home meanwhile.
GAP_ABROAD = timedelta(days=10)
PLACE_KM = 50.0
JUMP_KM = 500.0
# A jump ends no trip if the photos come back so soon: from an excursion, or a wrong landmark.
RETURN = timedelta(days=7)
_MOMENT = timedelta(hours=1)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class TripSegment:
    """Visits of one camera, by number. `absence` numbers its times away from home."""

    camera_id: int
    number: int
    absence: int
    visits: tuple[Visit, ...]

    @property
    def first(self) -> datetime:
        return self.visits[0].first

    @property
    def last(self) -> datetime:
        return max(visit.last for visit in self.visits)


def group_segments(visits: Sequence[Visit]) -> list[list[TripSegment]]:
    """The segments of all cameras, in groups of those that were together.

    `visits` are in order of their cameras and first photos.
    """
    homes = _Homes(visits)
    visits_of_cameras = [
        list(run) for _, run in groupby(visits, key=attrgetter("camera_id"))
    ]
    are_at_home = [list(map(homes.has, of_camera)) for of_camera in visits_of_cameras]
    home_times = list(map(_home_times, visits_of_cameras, are_at_home))
    all_home_times = sorted(chain.from_iterable(home_times))
    segments: list[TripSegment] = []
    for of_camera, is_at_home, times in zip(
        visits_of_cameras,
        are_at_home,
        home_times,
        strict=True,
    ):
        away = [
            visit
            for visit, is_home in zip(of_camera, is_at_home, strict=True)
            if not is_home
        ]
        segments += _camera_segments(away, homes, times, all_home_times)
    return _together(segments, homes, all_home_times)


def has_between(times: Sequence[datetime], first: datetime, last: datetime) -> bool:
    return bisect_right(times, first) < bisect_left(times, last)


# ----- homes -----

_Coordinates = tuple[float, float]
_Spot = tuple[int, int]


@dataclass(frozen=True)
class _Times:
    weeks: set[int] = field(default_factory=set)
    months: set[int] = field(default_factory=set)
    countries: set[str] = field(default_factory=set)

    def add(self, other: "_Times") -> None:
        self.weeks.update(other.weeks)
        self.months.update(other.months)
        self.countries.update(other.countries)


class _Home(NamedTuple):
    centre: _Coordinates
    countries: set[str]


class _Homes:
    def __init__(self, visits: Iterable[Visit]) -> None:
        times_of: dict[int, dict[_Spot, _Times]] = {}
        for visit in visits:
            north = round(visit.latitude * _SPOTS_PER_DEGREE)
            east = _wrapped(round(visit.longitude * _SPOTS_PER_DEGREE))
            spots = times_of.setdefault(_quarter(visit.day), {})
            times = spots.setdefault((north, east), _Times())
            times.weeks.add(visit.day.toordinal() // 7)
            times.months.add(visit.day.month)
            times.countries.add(visit.place.country)
        self._homes: dict[int, tuple[_Home, ...]] = {}
        for quarter in times_of:
            around = defaultdict[_Spot, _Times](_Times)
            for near in range(quarter - REACH_QUARTERS, quarter + REACH_QUARTERS + 1):
                for spot, times in times_of.get(near, {}).items():
                    around[spot].add(times)
            self._homes[quarter] = tuple(_find_homes(around))

    def has(self, visit: Visit) -> bool:
        return any(
            _is_within(visit.latitude, visit.longitude, *home.centre, HOME_RADIUS_KM)
            for home in self._homes.get(_quarter(visit.day), ())
        )

    def is_abroad(self, visit: Visit) -> bool:
        # Without any home, all are.
        country = visit.place.country
        homes = self._homes.get(_quarter(visit.day), ())
        return bool(country) and all(country not in home.countries for home in homes)


def _quarter(day: date) -> int:
    return day.year * 4 + (day.month - 1) // 3


def _wrapped(east: int) -> int:
    return (east + _SPOTS_AROUND // 2) % _SPOTS_AROUND - _SPOTS_AROUND // 2


def _position(spot: _Spot) -> _Coordinates:
    return spot[0] / _SPOTS_PER_DEGREE, spot[1] / _SPOTS_PER_DEGREE


def _find_homes(spots: Mapping[_Spot, _Times]) -> Iterator[_Home]:
    # The area with most weeks first. Areas do not overlap.
    candidates = sorted(spots, key=lambda spot: (-len(spots[spot].weeks), spot))
    areas: list[tuple[int, _Coordinates, set[str]]] = []
    for spot in candidates[:_CANDIDATES]:
        times = _area_times(spot, spots)
        if len(times.months) >= LEAST_MONTHS:
            areas.append((len(times.weeks), _position(spot), times.countries))
    areas.sort(key=lambda area: (-area[0], area[1]))
    homes: list[_Coordinates] = []
    for weeks, centre, countries in areas:
        most_weeks = areas[0][0]
        if weeks < _SHARE_OF_WEEKS * most_weeks:
            break
        is_apart = all(distance_km(*centre, *home) > HOME_RADIUS_KM for home in homes)
        if is_apart:
            homes.append(centre)
            yield _Home(centre, countries)


def _area_times(centre: _Spot, spots: Mapping[_Spot, _Times]) -> _Times:
    # Half as wide as a home: visits near the edge of the area belong to the home.
    radius_km = HOME_RADIUS_KM / 2
    y, x = centre
    north = ceil(radius_km / KM_PER_DEGREE * _SPOTS_PER_DEGREE)
    shrinking = cos(radians(min(89.0, (abs(y) + north) / _SPOTS_PER_DEGREE)))
    east = min(ceil(north / shrinking), _SPOTS_AROUND // 2)
    # Near a pole, all longitudes once.
    east_end = min(east, _SPOTS_AROUND // 2 - 1)
    area = _Times()
    for row, column in product(
        range(y - north, y + north + 1),
        range(x - east, x + east_end + 1),
    ):
        spot = row, _wrapped(column)
        if (
            spot in spots
            and distance_km(*_position(centre), *_position(spot)) <= radius_km
        ):
            area.add(spots[spot])
    return area


# ----- segments -----


def _home_times(visits: Sequence[Visit], is_at_home: Sequence[bool]) -> list[datetime]:
    # When the camera was at home: the ends of its visits, without one moment with a wrong landmark.
    times = []
    for index, visit in enumerate(visits):
        if not is_at_home[index]:
            continue
        around = is_at_home[max(0, index - 1) : index + 2]
        is_alone = len(around) == 3 and not around[0] and not around[2]
        is_moment = visit.last - visit.first <= _MOMENT
        if visit.is_measured or not (is_moment and is_alone):
            times += [visit.first, visit.last]
    return sorted(times)


def _camera_segments(
    visits: Sequence[Visit],
    homes: _Homes,
    home_times: Sequence[datetime],
    all_home_times: Sequence[datetime],
) -> list[TripSegment]:
    # The segments of the visits of one camera away from home, in order of time; they do not overlap.
    #
    # `home_times`: when this camera was at home, `all_home_times`: when any was.
    # The visits between gaps, each with the number of its time away from home.
    stretches: list[tuple[int, list[Visit]]] = []
    absence, last = 0, datetime.min  # noqa: DTZ901 - cameras' times have no zone
    for visit in visits:
        was_home = has_between(home_times, last, visit.first)
        if not stretches:
            stretches.append((absence, []))
        elif was_home or _is_gap(
            stretches[-1][1][-1],
            visit,
            last,
            homes,
            all_home_times,
        ):
            absence += was_home
            stretches.append((absence, []))
        stretches[-1][1].append(visit)
        last = max(last, visit.last)
    segments: list[TripSegment] = []
    for absence, stretch in stretches:
        for of_segment in _split_at_jumps(stretch):
            camera_id, number = of_segment[0].camera_id, len(segments)
            segments.append(
                TripSegment(
                    camera_id,
                    number,
                    absence,
                    of_segment,
                )
            )
    return segments


def _is_gap(
    before: Visit,
    after: Visit,
    last: datetime,
    homes: _Homes,
    home_times: Sequence[datetime],
) -> bool:
    # Whether the time without photos between two visits ends a trip.
    #
    # `last`: the last photo before it. `home_times`: when any camera was at home.
    gap = after.first - last
    is_one_country = before.place.country == after.place.country
    is_next_day = after.day - last.date() <= _DAY
    if gap <= GAP or (is_one_country and is_next_day):
        return False
    is_abroad = is_one_country and homes.is_abroad(before) and homes.is_abroad(after)
    if is_abroad and not has_between(home_times, last, after.first):
        return gap > GAP_ABROAD
    return gap > GAP_IN_PLACE or not _are_near(before, after, PLACE_KM)


def _split_at_jumps(visits: Sequence[Visit]) -> Iterator[tuple[Visit, ...]]:
    start = 0
    # The end of all visits so far.
    ends = list(accumulate((visit.last for visit in visits), max))
    for index in range(1, len(visits)):
        if visits[index].first > ends[index - 1] and _is_departure(visits, ends, index):
            yield tuple(visits[start:index])
            start = index
    yield tuple(visits[start:])


def _is_departure(
    visits: Sequence[Visit],
    ends: Sequence[datetime],
    index: int,
) -> bool:
    # Whether the visit at this index begins a trip: far away, in another country, and for good.
    before, after = visits[index - 1], visits[index]
    countries = {before.place.country, after.place.country}
    if len(countries) == 1 or "" in countries or _are_near(before, after, JUMP_KM):
        return False
    # Visits are in order of their beginnings, and `ends` grows, so only visits within RETURN are compared.
    begin = bisect_left(ends, after.first - RETURN, hi=index)
    end = bisect_right(
        visits,
        before.last + RETURN,
        lo=index,
        key=attrgetter("first"),
    )
    earlier = [
        visit for visit in visits[begin:index] if visit.last >= after.first - RETURN
    ]
    pairs = product(earlier, visits[index:end])
    return not any(_are_near(visit, other, JUMP_KM / 2) for visit, other in pairs)


def _together(
    segments: Sequence[TripSegment],
    homes: _Homes,
    home_times: Sequence[datetime],
) -> list[list[TripSegment]]:
    # The segments of cameras that were together: in one place on a day, or in one country abroad.
    #
    # Abroad, days that follow each other count as one.
    group_of = list(range(len(segments)))

    def group(number: int) -> int:
        while group_of[number] != number:
            group_of[number] = group_of[group_of[number]]
            number = group_of[number]
        return number

    for (number, visit), (other_number, other) in _pairs(segments):
        if group(number) == group(other_number):
            continue
        is_abroad = visit.place.country == other.place.country and homes.is_abroad(
            visit
        )
        is_one_place = visit.day == other.day and _are_near(visit, other, PLACE_KM)
        if is_one_place or (
            is_abroad and not has_between(home_times, other.last, visit.first)
        ):
            group_of[group(number)] = group(other_number)
    groups = defaultdict[int, list[TripSegment]](list)
    for number, segment in enumerate(segments):
        groups[group(number)].append(segment)
    return list(groups.values())


_NumberedVisit = tuple[int, Visit]


def _pairs(
    segments: Sequence[TripSegment],
) -> Iterator[tuple[_NumberedVisit, _NumberedVisit]]:
    # The visits of two cameras on one day, or on two in a row, with the numbers of their segments.
    #
    # Of a place, there is one of each day.
    visits_on = defaultdict[date, dict[tuple[int, Locality], _NumberedVisit]](dict)
    for number, segment in enumerate(segments):
        for visit in segment.visits:
            visits_on[visit.day].setdefault((number, visit.place), (number, visit))
    for day, of_day in visits_on.items():
        others = [
            *of_day.values(),
            *visits_on.get(day - _DAY, {}).values(),
        ]
        for one, other in product(of_day.values(), others):
            if one[1].camera_id != other[1].camera_id:
                yield one, other


def _are_near(visit: Visit, other: Visit, limit_km: float) -> bool:
    return _is_within(
        visit.latitude,
        visit.longitude,
        other.latitude,
        other.longitude,
        limit_km,
    )


def _is_within(
    latitude: float,
    longitude: float,
    to_latitude: float,
    to_longitude: float,
    limit_km: float,
) -> bool:
    # Most positions that are farther apart differ in latitude already.
    if abs(latitude - to_latitude) * KM_PER_DEGREE > limit_km + 1:
        return False
    return distance_km(latitude, longitude, to_latitude, to_longitude) <= limit_km
