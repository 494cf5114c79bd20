"""Weak evidence for and against suggestions: where other photos of the day were taken.

Where a photo has no position, it was probably taken near the photos of that day that have one: a camera
without GPS travels with the phones of its owners. On a day without any, the last ones before and the first
ones after it count, if both are in one area. Positions are those that files state, and landmarks that other
photos of the camera show by their scores alone: never one that follows from another.

None of this turns a tag whose score is enough: a camera may travel alone.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cache
from typing import Any

import numpy as np
from sqlalchemy import Connection, Row, func, or_, select, true

from tagger.cameras import clock_seconds, clock_time, is_clock_time
from tagger.database.enums import OddsReason
from tagger.database.statements import among, day_of
from tagger.database.tables import photos, tags, taught_tags
from tagger.positions.camera_days import Day, Sighting, runs_of
from tagger.positions.distance_odds import position_odds
from tagger.positions.estimation import distances_m
from tagger.tags.rule import LEAST_SUGGESTED_SCORE, PositionOdds

# The odds of a landmark far from the photos of the day: one camera in twenty is elsewhere.
LEAST_OF_DAY = 0.05
# How far a photo is taken from the others of its day; on a day without any, four times as far.
DAY_ERROR_KM = 50.0
# How many days before and after a photo others count.
DAYS_AROUND = timedelta(days=10)
ONE_AREA_KM = 300.0
# Positions within some 10 km are one.
_CELLS_PER_DEGREE = 10


# Latitudes and longitudes in degrees.
Places = frozenset[tuple[float, float]]


@dataclass(frozen=True)
class Whereabouts:
    """Where photos of a day were taken, with the error."""

    places: Places
    error_km: float

    def odds(self, latitude: float, longitude: float, extent: str | None) -> PositionOdds:
        """The odds of a landmark, and its distance from the nearest of these photos."""
        latitudes, longitudes = np.array(list(self.places)).T
        distance_m = float(distances_m(latitudes, longitudes, np.array(latitude), np.array(longitude)).min())
        factor = position_odds(np.array([distance_m / 1000]), np.array([self.error_km]), [extent])[0]
        odds = float(f"{min(max(factor, LEAST_OF_DAY), 1.0):.2g}")
        return PositionOdds(odds, float(round(distance_m)), OddsReason.TRIP)


def trip_odds(
    connection: Connection,
    rows: Sequence[Row[Any]],
    located: Collection[int],
    sightings: Mapping[Day, Collection[Sighting]],
) -> dict[tuple[int, int], PositionOdds]:
    """The odds of tags by content and landmark id, from where other photos of their days were taken.

    `located`: images with a position of their own. Of copies, the best odds count.
    """
    days_of = _days_without_gps(connection, {row.content_id for row in rows} - set(located))
    places_of = _places_of_days(connection, {day for each in days_of.values() for _, day in each})

    @cache
    def on_day(day: date) -> Whereabouts | None:
        return _gps_of_day(places_of, day)

    @cache
    def shown_on(day: Day) -> Mapping[tuple[float, float], set[int]]:
        return _images_of_places(sightings.get(day, ()))

    @cache  # the photos of a day show few landmarks
    def odds_of(whereabouts: Whereabouts, *landmark: Any) -> PositionOdds:
        return whereabouts.odds(*landmark)

    found: dict[tuple[int, int], PositionOdds] = {}
    for row in rows:
        for camera_id, day in days_of.get(row.content_id, ()) if row.latitude is not None else ():
            shown = {} if camera_id is None else shown_on((camera_id, day))
            for whereabouts in filter(None, (on_day(day), _shown_elsewhere(shown, row.content_id))):
                odds = odds_of(whereabouts, row.latitude, row.longitude, row.extent)
                before = found.get((row.content_id, row.landmark_id))
                if before is None or odds.odds > before.odds:
                    found[row.content_id, row.landmark_id] = odds
    return found


def _days_without_gps(
    connection: Connection, content_ids: Collection[int]
) -> dict[int, set[tuple[int | None, date]]]:
    """The cameras and local dates of original photos of these images, by content id."""
    is_original = photos.c.latitude.is_(None), photos.c.origin.is_(None), photos.c.taken_at.is_not(None)
    columns = photos.c.content_id, photos.c.camera_id, photos.c.taken_at, photos.c.utc_offset_s
    query = select(*columns).where(among(photos.c.content_id, content_ids), *is_original)
    found: dict[int, set[tuple[int | None, date]]] = {}
    for photo in connection.execute(query):
        if is_clock_time(photo.taken_at, photo.utc_offset_s):
            found.setdefault(photo.content_id, set()).add((photo.camera_id, photo.taken_at.date()))
    return found


def _images_of_places(sightings: Collection[Sighting]) -> dict[tuple[float, float], set[int]]:
    """The images that show the landmarks of a day, by the places of these."""
    found: dict[tuple[float, float], set[int]] = {}
    for each in sightings:
        if each.is_shown and each.coordinates is not None:
            found.setdefault(each.coordinates, set()).add(each.content_id)
    return found


def _shown_elsewhere(
    images_of_places: Mapping[tuple[float, float], set[int]], content_id: int
) -> Whereabouts | None:
    """Where the landmarks are that other images of a day show."""
    places = frozenset(place for place, images in images_of_places.items() if images != {content_id})
    return Whereabouts(places, DAY_ERROR_KM) if places else None


def _gps_of_day(places_of: Mapping[date, Places], day: date) -> Whereabouts | None:
    """Where photos with GPS were taken on a day, else around it; None: nothing is known, or no one area."""
    if day in places_of:
        return Whereabouts(places_of[day], DAY_ERROR_KM)
    around = range(1, DAYS_AROUND.days + 1)
    sides = [
        next(
            (places_of[each] for step in around if (each := day + timedelta(sign * step)) in places_of), None
        )
        for sign in (-1, 1)
    ]
    if None in sides:
        return None
    before, after = (np.array(list(side or ())) for side in sides)
    apart_m = distances_m(before[:, None, 0], before[:, None, 1], after[None, :, 0], after[None, :, 1])
    if apart_m.max() > 1000 * ONE_AREA_KM:
        return None
    return Whereabouts(frozenset().union(*filter(None, sides)), 4 * DAY_ERROR_KM)


_HAS_GPS = photos.c.latitude.is_not(None), photos.c.origin.is_(None)


def _places_of_days(connection: Connection, days: Collection[date]) -> dict[date, Places]:
    """The positions of photos with GPS, rounded, of these days and of those DAYS_AROUND them."""
    cells = [func.round(photos.c[name] * _CELLS_PER_DEGREE) for name in ("latitude", "longitude")]
    query = select(day_of(photos.c.taken_at), *cells).where(*_HAS_GPS).distinct()
    found = defaultdict[date, set[tuple[float, float]]](set)
    for first, last in runs_of(sorted(days), 2 * DAYS_AROUND):
        for day, y, x in connection.execute(query.where(photos.c.taken_at.between(*_around(first, last)))):
            place = float(y) / _CELLS_PER_DEGREE, float(x) / _CELLS_PER_DEGREE
            found[date.fromisoformat(str(day)[:10])].add(place)
    return {day: frozenset(places) for day, places in found.items()}


def candidates_around(connection: Connection, days: Collection[date]) -> set[int]:
    """The images without GPS, taken on these days or DAYS_AROUND them, whose suggestions they can turn."""
    found: set[int] = set()
    is_close = or_(tags.c.enough == true(), tags.c.score >= LEAST_SUGGESTED_SCORE)
    for first, last in runs_of(sorted(days), 2 * DAYS_AROUND):
        is_around = photos.c.taken_at.between(*_around(first, last)), photos.c.latitude.is_(None)
        for table, is_candidate_tag in ((tags, is_close), (taught_tags, true())):
            query = select(table.c.content_id).join(photos, photos.c.content_id == table.c.content_id)
            found.update(connection.scalars(query.where(*is_around, is_candidate_tag).distinct()))
    return found


def _around(first: date, last: date) -> tuple[datetime, datetime]:
    """The times on these days and DAYS_AROUND them."""
    ends = datetime.combine(first, time.min), datetime.combine(last, time.max)
    begin, end = map(clock_seconds, ends)
    around_s = DAYS_AROUND.total_seconds()
    return clock_time(begin - around_s), clock_time(end + around_s)
