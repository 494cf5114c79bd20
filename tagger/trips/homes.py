"""Homes: where people are on ordinary days, so that photos taken there are no trip. Knows nothing of SQL.

People move, and a library may belong to several: homes are found for each quarter of a year anew, from the year before to the
year after. Home is the area with photos in most different weeks; a holiday has many days, but few weeks. An area with half as many
weeks is a home too. It must be photographed in several months of the year, as a place of summer holidays is not.

Visits: what a camera took in one place on one day. The database sums them up, so a million photos are some ten thousand visits.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from math import ceil, cos, radians
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Integer, Select, and_, case, cast, func, select

from tagger.catalog.cameras import is_clock_time
from tagger.database.enums import STATED, PositionSource
from tagger.database.statements import day_of, is_midnight
from tagger.database.tables import photos, positions
from tagger.system.geo import distance_km

PERIOD = timedelta(days=183)
"""The time whose visits are sorted together: memory does not grow with the years of a library."""
_FIRST, _LAST = datetime.min, datetime.max  # noqa: DTZ901 - cameras' times have no zone
_MEASURED = (*STATED, PositionSource.TRACK)
_STRIP_DEGREES = 10
"""Places at the 180th meridian lie on both of its sides: photos of one visit lie on one."""


@dataclass(frozen=True, slots=True, order=True)
class Locality:
    """The city of a visit; at sea, all three are empty. Some small countries have no regions."""

    country: str = ""
    region: str = ""
    city: str = ""


@dataclass(frozen=True, slots=True)
class Visit:
    """The photos of a camera in one place on one day, with their mean position in degrees and their first and last local time.

    `is_measured`: a GPS receiver says so, of the camera or of a track. Otherwise all positions follow from landmarks.
    `is_dated`: the date is not one at which clocks begin that were never set. Photos of the day before make it a true one.
    `folder`: that of all these photos; empty: they are in several, or in none. `is_located`: their position is known; other visits have
    no place.
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


def read_visits(connection: Connection, begin: datetime = _FIRST, end: datetime = _LAST) -> Iterator[Visit]:
    """The visits of all photos with a time, in local time from `begin` until before `end`; of one day without a position too."""
    earliest = select(func.min(photos.c.taken_at))
    while (first := connection.scalar(earliest.where(_is_between(begin, end)))) is not None:
        midnight = datetime.combine(first, time())
        until = end if end - midnight <= PERIOD else midnight + PERIOD
        for row in connection.execute(_visits().where(_is_between(first, until))):
            if row.camera_id is not None and is_clock_time(row.first, row.utc_offset_s or 0):
                yield Visit(
                    row.camera_id,
                    row.first.date(),
                    Locality(row.country or "", row.region or "", row.city or ""),
                    row.latitude or 0.0,
                    row.longitude or 0.0,
                    row.photos,
                    row.first,
                    row.last,
                    is_measured=bool(row.is_measured),
                    is_dated=is_clock_time(row.first, row.utc_offset_s),
                    folder=_common_folder(row.first_path, row.last_path, row.depth),
                    is_located=row.latitude is not None,
                )
        begin = until


def _common_folder(first: str, last: str, depth: int) -> str:
    """The folder of all paths from the first to the last in order, of which the deepest has `depth` slashes; empty: they are in several."""
    folder = first[: first.rfind("/") + 1]
    return folder if last.startswith(folder) and folder.count("/") == depth else ""


def _is_between(begin: datetime, end: datetime) -> ColumnElement[bool]:
    return and_(photos.c.taken_at >= begin, photos.c.taken_at < end)


def _visits() -> Select[Any]:
    """The query for visits. Dates that may not come from a clock are grouped apart: those at midnight, and those without a time zone."""
    keys = (
        photos.c.camera_id,
        day_of(photos.c.taken_at),
        positions.c.country,
        positions.c.region,
        positions.c.city,
        cast((positions.c.longitude + 180) / _STRIP_DEGREES, Integer),
        is_midnight(photos.c.taken_at),
        photos.c.utc_offset_s.is_(None),
    )
    return (
        select(
            photos.c.camera_id,
            positions.c.country,
            positions.c.region,
            positions.c.city,
            func.avg(positions.c.latitude).label("latitude"),
            func.avg(positions.c.longitude).label("longitude"),
            func.count().label("photos"),
            func.min(photos.c.taken_at).label("first"),
            func.max(photos.c.taken_at).label("last"),
            func.min(photos.c.utc_offset_s).label("utc_offset_s"),
            func.max(case((positions.c.source.in_(_MEASURED), 1), else_=0)).label("is_measured"),
            # The database would take longer to find the folder of each path than for all else.
            func.min(photos.c.path).label("first_path"),
            func.max(photos.c.path).label("last_path"),
            func.max(func.length(photos.c.path) - func.length(func.replace(photos.c.path, "/", ""))).label(
                "depth"
            ),
        )
        .outerjoin(positions, positions.c.photo_id == photos.c.id)
        .where(photos.c.gone_since.is_(None), photos.c.origin.is_(None))
        .group_by(*keys)
    )


HOME_RADIUS_KM = 50.0
LEAST_MONTHS = 5
"""The fewest of the twelve months of a year in which a home is photographed."""
_SHARE_OF_WEEKS = 0.5
REACH_QUARTERS = 4
_CANDIDATES = 10
_SPOTS_PER_DEGREE = 8
"""Visits within some 14 km are of one spot."""
_SPOTS_AROUND = 360 * _SPOTS_PER_DEGREE
KM_PER_DEGREE = 111.2
"""Of latitude, rounded up."""

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
        self._homes = {quarter: tuple(_homes(_spots_around(times_of, quarter))) for quarter in times_of}

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
    return round(visit.latitude * _SPOTS_PER_DEGREE), _wrapped(round(visit.longitude * _SPOTS_PER_DEGREE))


def _wrapped(east: int) -> int:
    return (east + _SPOTS_AROUND // 2) % _SPOTS_AROUND - _SPOTS_AROUND // 2


def _position(spot: _Spot) -> Coordinates:
    return spot[0] / _SPOTS_PER_DEGREE, spot[1] / _SPOTS_PER_DEGREE


def _spots_around(times_of: Mapping[int, Mapping[_Spot, _Times]], quarter: int) -> dict[_Spot, _Times]:
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
    """When the area was photographed. It is half as large as a home: visits near its edge belong to the home."""
    area = _no_times()
    for spot in _spots_near(centre, HOME_RADIUS_KM / 2):
        if spot in spots and distance_km(*_position(centre), *_position(spot)) <= HOME_RADIUS_KM / 2:
            area.add(spots[spot])
    return area


def _spots_near(centre: _Spot, radius_km: float) -> Iterator[_Spot]:
    """The spots around one, some farther than the radius: areas look at these alone, not at all of the world."""
    north = ceil(radius_km / KM_PER_DEGREE * _SPOTS_PER_DEGREE)
    shrinking = cos(radians(min(89.0, (abs(centre[0]) + north) / _SPOTS_PER_DEGREE)))
    east = min(ceil(north / shrinking), _SPOTS_AROUND // 2)
    for y in range(centre[0] - north, centre[0] + north + 1):
        for x in range(centre[1] - east, centre[1] + min(east, _SPOTS_AROUND // 2 - 1) + 1):
            yield y, _wrapped(x)
