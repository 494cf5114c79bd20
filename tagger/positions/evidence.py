"""Where photos were taken, by what is measured: GPS, accepted landmarks, tracks, and other photos.

Between two points of a track, the error is that of a Brownian bridge (see estimation). It grows with the time
to the nearer point and with the speed.

What speaks for or against a landmark on a photo (see tag_odds) is a list of places with errors: the photo's
own, those of its camera before and after it, and those of its day. Positions that follow from landmarks or
from other photos are no evidence, nor are those on tracks at times that were estimated from landmarks.
"""

import math
from bisect import bisect
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import compress, groupby, product
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select, true

from tagger.cameras import LOCAL_TIMES, clock_seconds, is_clock_time
from tagger.database import STATED, ClockSource, PositionSource
from tagger.database.statements import among, part_of
from tagger.database.tables import (
    cameras,
    effective_tags,
    landmarks,
    photos,
    track_parts,
    tracks,
)
from tagger.geo import EARTH_RADIUS_KM, distance_km
from tagger.landmarks import farthest_km
from tagger.photos import PhotoOrigin
from tagger.positions import estimation
from tagger.positions.estimation import (
    CLOCK_SLACK_S,
    MAX_SPEED_M_S,
    QUANTILE_90,
    distances_m,
    interpolate,
)
from tagger.positions.tracks import EARLIEST, LATEST, PART_S, Points, are_too_fast
from tagger.sphere import Floats

# Between two points that are further apart in time, a track does not tell where somebody was.
MAX_TRACK_GAP_S = 900.0
# 90 % of the points of phones and watches are nearer to the true position than this.
#
# In a city, the mean error of a phone is 7 to 13 m (Merry and Bettinger, "Smartphone GPS accuracy
# study in an urban environment", 2019); under open sky, half of that.
GPS_ERROR_M = 15.0
# Standard deviation on each axis of a person who stays around a place, in m/√s.
WANDERING = 2.0
# A bridge's standard deviation grows by DETOUR m each second at 1 m/s, and with this power of the
# speed.
#
# The faster people move, the straighter. Fitted to hidden points of 230,000 recorded ones, on foot,
# by bicycle, car, train and plane, between two others 15 s to 15 min apart. On other tracks, 97 %
# of hidden points lay within the error: of people on foot 95 to 100 %, of planes without a point
# for 15 min 77 %.
DETOUR, DETOUR_SPEED = 0.7, 0.75
_PARTS_AT_ONCE = 64
# The database rounds times to microseconds.
_ROUNDING = timedelta(milliseconds=1)


# How much an anchor is trusted, by its source. An estimate is no anchor.
TRUST = {
    PositionSource.TRACK: 1,
    PositionSource.LANDMARK: 2,
    **dict.fromkeys(STATED, 3),
}


@dataclass(frozen=True)
class Fix:
    """In degrees. 90 % of true ones are nearer than `error_m`."""

    latitude: float
    longitude: float
    error_m: float
    source: PositionSource
    evidence: Mapping[str, Any]


def locate_on_tracks(connection: Connection, times: Floats) -> list[Fix | None]:
    """Where the owner of the tracks was at these times (N,), seconds since 1970 in ascending order.

    None where no track has two points around a time that are at most MAX_TRACK_GAP_S apart. Of several
    tracks, the one with the smallest error counts; where two contradict each other by more than their errors,
    they are those of different people: None.
    """
    best = np.full((4, len(times)), np.nan)  # latitude, longitude, error and track
    best[2] = np.inf
    is_contradicted = np.zeros(len(times), np.bool_)
    for track_id, points in _parts_of(connection, times):
        first, last = points[0, 0], points[-1, 0]
        covered = slice(*np.searchsorted(times, [first, np.nextafter(last, np.inf)]))
        latitude, longitude, error_m = _fixes_of(points, times[covered])
        so_far = best[:, covered]
        distance_m = distances_m(latitude, longitude, so_far[0], so_far[1])
        is_contradicted[covered] |= distance_m > error_m + so_far[2]
        track_ids = np.full(len(error_m), float(track_id))
        new = np.stack([latitude, longitude, error_m, track_ids])
        best[:, covered] = np.where(error_m < so_far[2], new, so_far)
    fixes: list[Fix | None] = [None] * len(times)
    is_known = np.isfinite(best[2]) & ~is_contradicted
    for number in np.flatnonzero(is_known).tolist():
        latitude, longitude, error_m, track_id = best[:, number].tolist()
        evidence = {"track": int(track_id)}
        fixes[number] = Fix(
            latitude,
            longitude,
            error_m,
            PositionSource.TRACK,
            evidence,
        )
    return fixes


def _fixes_of(points: Points, times: Floats) -> tuple[Floats, Floats, Floats]:
    # Latitude, longitude and error at times (N,) in a part; the error is infinite where it does not tell.
    after = np.searchsorted(points[:, 0], times)
    before = np.where(
        points[after, 0] == times,
        after,
        after - 1,
    )
    start, end = points[before], points[after]
    gap = end[:, 0] - start[:, 0]
    fraction = (times - start[:, 0]) / np.where(gap > 0, gap, 1.0)
    ends = (
        start[:, 1],
        start[:, 2],
        end[:, 1],
        end[:, 2],
    )
    latitude, longitude = interpolate(*ends, fraction)
    speed = distances_m(*ends) / np.where(gap > 0, gap, 1.0)
    detour_m = DETOUR * gap * speed**DETOUR_SPEED
    bridge = (WANDERING**2 * gap + detour_m**2) * fraction * (1 - fraction)
    error_m = np.sqrt(GPS_ERROR_M**2 + QUANTILE_90**2 * bridge)
    is_told = (gap <= MAX_TRACK_GAP_S) & ~are_too_fast(start, end)
    return latitude, longitude, np.where(is_told, error_m, np.inf)


def _parts_of(connection: Connection, times: Floats) -> Iterator[tuple[int, Points]]:
    # The parts of tracks that cover one of the times, with their tracks.
    if not len(times):
        return
    limits = np.clip(
        times[[0, -1]],
        EARLIEST.timestamp(),
        LATEST.timestamp(),
    ).tolist()
    first, last = (datetime.fromtimestamp(limit, UTC) for limit in limits)
    last += _ROUNDING
    track_id, part = track_parts.c.track_id, track_parts.c.part
    first_at, last_at = track_parts.c.first_at, track_parts.c.last_at
    is_near = last_at.between(first - _ROUNDING, last + timedelta(seconds=PART_S))
    query = (
        select(track_id, part, first_at, last_at)
        .where(is_near, first_at <= last)
        .order_by(track_id, part)
    )
    rows = connection.execute(query).all()
    starts = np.searchsorted(
        times,
        [(row.first_at - _ROUNDING).timestamp() for row in rows],
    )
    ends = np.searchsorted(
        times,
        [(row.last_at + _ROUNDING).timestamp() for row in rows],
    )
    covering = list(compress(rows, starts < ends))
    for track, of_track in groupby(covering, key=attrgetter("track_id")):
        numbers = [row.part for row in of_track]
        for start in range(0, len(numbers), _PARTS_AT_ONCE):
            page = numbers[start : start + _PARTS_AT_ONCE]
            data = select(track_parts.c.data).where(track_id == track, part.in_(page))
            for points in connection.scalars(data.order_by(part)):
                yield track, np.frombuffer(points, "<f8").reshape(-1, 3)


# The error that is assumed of a GPS position that states none: what phones reach in streets.
CAMERA_ERROR_M = 30.0
# How far from a landmark photos of it are taken, by its extent. An unknown one counts as a point.
LANDMARK_ERROR_M = {"point": 300.0, "area": 3_000.0, "line": 5_000.0, "multi": 20_000.0}


@dataclass(frozen=True)
class Shot:
    """A photo on the time line of its camera.

    `taken_at` is the camera's local time. `at`: the same in seconds since 1970, in UTC if `is_utc`, else as
    the camera's clock showed; None: no date, or none of a running clock. `is_original` is false for
    screenshots and edited pictures: their time says nothing about what they show.
    """

    photo_id: int
    taken_at: datetime | None
    at: float | None
    is_utc: bool
    is_original: bool
    fix: Fix | None


def read_shots(connection: Connection, *conditions: ColumnElement[bool]) -> list[Shot]:
    """The photos of one camera with these conditions, in order of time; those without a date come first."""
    rows = read_photos(connection, *conditions)
    without_gps = {
        row.content_id
        for row in rows
        if row.latitude is None and row.origin is None and row.content_id is not None
    }
    # The position of the best accepted landmark of each image: confirmed, else with the highest score.
    query = (
        select(
            effective_tags.c.content_id,
            effective_tags.c.landmark_id,
            landmarks.c.latitude,
            landmarks.c.longitude,
            landmarks.c.extent,
        )
        .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
        .where(
            among(effective_tags.c.content_id, without_gps),
            effective_tags.c.accepted == true(),
            landmarks.c.latitude.is_not(None),
        )
        .order_by(
            effective_tags.c.verdict.is_not(None),
            func.coalesce(effective_tags.c.score, 0.0),
            effective_tags.c.landmark_id.desc(),
        )
    )
    fixes = {}
    for row in connection.execute(query) if without_gps else ():
        error_m = LANDMARK_ERROR_M[row.extent or "point"]
        source, evidence = PositionSource.LANDMARK, {"landmark": row.landmark_id}
        # Of each image, the last and best one stays.
        fixes[row.content_id] = Fix(
            row.latitude,
            row.longitude,
            error_m,
            source,
            evidence,
        )
    return _with_tracks(connection, shots_of(rows, fixes))


def read_photos(
    connection: Connection, *conditions: ColumnElement[bool]
) -> Sequence[Row[Any]]:
    """In order of their local times."""
    query = select_photos(*conditions).order_by(photos.c.taken_at, photos.c.id)
    return connection.execute(query).all()


def select_photos(*conditions: ColumnElement[bool]) -> Select[Any]:
    columns = (
        photos.c.id,
        photos.c.content_id,
        photos.c.taken_at,
        photos.c.utc_offset_s,
        photos.c.latitude,
        photos.c.longitude,
        photos.c.gps_error_m,
        photos.c.gps_source,
        photos.c.origin,
        cameras.c.clock_offset_s,
        cameras.c.clock_source,
    )
    return (
        select(*columns)
        .outerjoin(cameras, cameras.c.id == photos.c.camera_id)
        .where(*conditions)
    )


def shots_of(rows: Sequence[Row[Any]], landmark_fixes: Mapping[int, Fix]) -> list[Shot]:
    """In order of time, with their GPS, or else with the fix of their image."""
    zones = [row.utc_offset_s for row in rows if row.utc_offset_s is not None]
    # A photo without a time zone has that of the photo before, else after.
    carried_s = zones[0] if zones else 0
    shots = []
    for row in rows:
        zone_s = row.clock_offset_s
        if row.utc_offset_s is not None:
            zone_s = carried_s = row.utc_offset_s
        at = None
        has_clock = row.clock_offset_s is not None
        if row.taken_at is not None and (
            has_clock or is_clock_time(row.taken_at, row.utc_offset_s)
        ):
            at = clock_seconds(row.taken_at) - (carried_s if zone_s is None else zone_s)
        is_original = row.origin is None
        fix = landmark_fixes.get(row.content_id) if is_original else None
        if row.latitude is not None:
            source, error_m = PositionSource(row.gps_source), gps_error_m(row)
            fix = Fix(
                row.latitude,
                row.longitude,
                error_m,
                source,
                {},
            )
        is_utc = at is not None and zone_s is not None
        shots.append(
            Shot(
                row.id,
                row.taken_at,
                at,
                is_utc,
                is_original,
                fix,
            )
        )
    shots.sort(key=lambda shot: -math.inf if shot.at is None else shot.at)
    return shots


def anchors_of(line: Iterable[Shot]) -> estimation.PhotoSequence:
    nothing = (math.nan, math.nan, math.nan, 0)
    rows = []
    for shot in line:
        fix = shot.fix
        anchor = (
            (
                fix.latitude,
                fix.longitude,
                fix.error_m,
                TRUST[fix.source],
            )
            if fix
            else nothing
        )
        rows.append((shot.at, *anchor))
    return estimation.sequence_of(rows)


def gps_error_m(photo: Row[Any]) -> float:
    return (
        CAMERA_ERROR_M
        if photo.gps_error_m is None
        else max(float(photo.gps_error_m), 1.0)
    )


def _with_tracks(connection: Connection, shots: Sequence[Shot]) -> list[Shot]:
    # The photos in order, with positions on tracks where they have no other. A track's time is UTC.
    times = {
        index: shot.at
        for index, shot in enumerate(shots)
        if shot.fix is None and shot.is_utc and shot.is_original and shot.at is not None
    }
    order = sorted(times, key=times.__getitem__)
    located = list(shots)
    in_order = np.array([times[index] for index in order], np.float64)
    for index, fix in zip(
        order,
        locate_on_tracks(connection, in_order),
        strict=True,
    ):
        located[index] = replace(shots[index], fix=fix)
    return located


# --- Where a photo may have been taken, for and against its landmarks ---

# The fixes of images, by content id.
Fixes = Mapping[int, Sequence[Fix]]


def own_fixes(connection: Connection, content_ids: Collection[int]) -> Fixes:
    """Those of all photos of these images, by GPS or on a track; screenshots have none.

    Nor have photos on tracks if their clock was estimated from landmarks.
    """
    has_own_time = or_(
        photos.c.utc_offset_s.is_not(None),
        cameras.c.clock_source.is_(None),
        cameras.c.clock_source != ClockSource.ESTIMATED,
    )
    query = select_photos(
        among(photos.c.content_id, content_ids),
        or_(
            photos.c.origin.is_(None),
            photos.c.origin != PhotoOrigin.SCREENSHOT,
        ),
        or_(photos.c.latitude.is_not(None), has_own_time),
    )
    if connection.execute(select(tracks.c.id).limit(1)).first() is None:
        query = query.where(photos.c.latitude.is_not(None))
    rows = connection.execute(query).all()
    shots = _with_tracks(
        connection,
        [shot for row in rows for shot in shots_of([row], {})],
    )
    fixes = defaultdict[int, list[Fix]](list)
    for row, shot in zip(rows, shots, strict=True):
        if shot.fix is not None:
            fixes[row.content_id].append(replace(shot.fix, evidence={"photo": row.id}))
    return fixes


# The time to the other side of the world, with the difference of local times.
REACH_S = 1000 * math.pi * EARTH_RADIUS_KM / MAX_SPEED_M_S + LOCAL_TIMES.total_seconds()
# A clock without a time zone may have been set to the time of the other place.
DEGREES_PER_HOUR = 15.0


@dataclass(frozen=True)
class Passage:
    """A photo without GPS, and the nearest ones of its camera with GPS: before it, after it, or both."""

    photo: Shot
    ends: Sequence[tuple[Shot, Fix]]

    def distance_m(self, latitude: float, longitude: float) -> float:
        """On the nearer of these photos."""
        return min(_distance_m(fix, latitude, longitude) for _, fix in self.ends)

    def reaches(self, latitude: float, longitude: float, extent: str | None) -> bool:
        """Whether somebody can have been where a landmark is seen, on the way from one photo to the next."""
        detour_m = 0.0
        for shot, fix in self.ends:
            seen_within_m = 1000 * farthest_km(extent) + fix.error_m
            way_m = max(0.0, _distance_m(fix, latitude, longitude) - seen_within_m)
            if way_m > _most_m(shot, self.photo, longitude - fix.longitude):
                return False
            detour_m += way_m
        if len(self.ends) == 1:
            return True
        (before, left), (after, arrived) = self.ends
        return detour_m <= _most_m(
            before,
            after,
            arrived.longitude - left.longitude,
        )


def _distance_m(fix: Fix, latitude: float, longitude: float) -> float:
    return 1000 * distance_km(fix.latitude, fix.longitude, latitude, longitude)


def _most_m(first: Shot, second: Shot, degrees: float) -> float:
    # The longest way between two photos whose places are so far apart in longitude.
    seconds = _seconds(first, second) + CLOCK_SLACK_S
    if not (first.is_utc and second.is_utc):
        degrees = abs(degrees) % 360
        seconds += 3600 * min(degrees, 360 - degrees) / DEGREES_PER_HOUR
    return MAX_SPEED_M_S * seconds


def _seconds(first: Shot, second: Shot) -> float:
    # The time between two photos of a time line.
    return abs((second.at or 0.0) - (first.at or 0.0))


def passages(
    connection: Connection,
    content_ids: Collection[int],
    max_gap_s: float,
) -> Mapping[int, Sequence[Passage]]:
    """By content id. Photos without a time or camera, and edited ones, have none."""
    passages_of = defaultdict[int, list[Passage]](list)
    of_images = (
        among(photos.c.content_id, content_ids),
        photos.c.latitude.is_(None),
        photos.c.origin.is_(None),
    )
    for images, line, contradicted_ids in _camera_lines(
        connection,
        REACH_S,
        max_gap_s,
        *of_images,
    ):
        # Their numbers in the line, and the photos with their fixes.
        numbers = list[int]()
        with_gps = list[tuple[Shot, Fix]]()
        for number, shot in enumerate(line):
            if shot.fix is not None and shot.photo_id not in contradicted_ids:
                numbers.append(number)
                with_gps.append((shot, shot.fix))
        for number, shot in enumerate(line):
            if shot.photo_id not in images:
                continue
            after = bisect(numbers, number)
            beside = with_gps[max(after - 1, 0) : after + 1]
            ends = [end for end in beside if _seconds(shot, end[0]) <= REACH_S]
            if ends:
                passages_of[images[shot.photo_id]].append(Passage(shot, ends))
    return passages_of


def contradicted_photos(
    connection: Connection,
    photo_ids: Collection[int],
    max_gap_s: float,
) -> set[int]:
    """The ids of those photos whose GPS nobody can have reached from that of photos before or after."""
    contradicted_of_photos = set[int]()
    conditions = among(photos.c.id, photo_ids)
    for images, _, contradicted_ids in _camera_lines(
        connection, 0.0, max_gap_s, conditions
    ):
        contradicted_of_photos |= images.keys() & contradicted_ids
    return contradicted_of_photos


# What contradicts a photo is within a gap of it, or of what contradicts that: nobody photographs for a
# day without a gap.
_GAPS_AROUND = 12
# Other dates are no times of a clock.
_CLOCK_YEARS = range(1990, 9999)


def _camera_lines(
    connection: Connection,
    reach_s: float,
    max_gap_s: float,
    *conditions: ColumnElement[bool],
) -> Iterator[tuple[dict[int, int], list[Shot], set[int]]]:
    # The time lines of cameras around photos with these conditions.
    #
    # Each with the content ids of these photos by their own, and those whose GPS contradicts that of others.
    reach = timedelta(seconds=reach_s + _GAPS_AROUND * max_gap_s) + LOCAL_TIMES
    query = (
        select(
            photos.c.id,
            photos.c.content_id,
            photos.c.camera_id,
            photos.c.taken_at,
        )
        .where(
            *conditions,
            photos.c.camera_id.is_not(None),
            photos.c.taken_at.is_not(None),
        )
        .order_by(photos.c.camera_id, photos.c.taken_at)
    )
    timed = [
        row for row in connection.execute(query) if row.taken_at.year in _CLOCK_YEARS
    ]
    for camera_id, of_camera in groupby(timed, key=attrgetter("camera_id")):
        for run in runs_of(of_camera, 2 * reach, key=attrgetter("taken_at")):
            around = photos.c.taken_at.between(
                run[0].taken_at - reach, run[-1].taken_at + reach
            )
            rows = read_photos(
                connection,
                photos.c.camera_id == camera_id,
                around,
            )
            line = [
                shot
                for shot in shots_of(rows, {})
                if shot.at is not None and shot.is_original
            ]
            is_contradicted = estimation.contradicted(anchors_of(line), max_gap_s)
            contradicted_ids = {
                line[number].photo_id for number in np.flatnonzero(is_contradicted)
            }
            yield {row.id: row.content_id for row in run}, line, contradicted_ids


# Of longer runs, not all that is around them is read at once.
LONGEST_RUN = timedelta(days=100)

_Value = TypeVar("_Value")


def runs_of(
    values: Iterable[_Value],
    longest_gap: timedelta,
    key: Callable[[_Value], Any] = lambda value: value,
) -> Iterator[list[_Value]]:
    """Values in order of their times, split where there are longer gaps, and where a run gets long."""
    run: list[_Value] = []
    for value in values:
        if run:
            is_after_gap = key(value) - key(run[-1]) > longest_gap
            if is_after_gap or key(value) - key(run[0]) > LONGEST_RUN:
                yield run
                run = []
        run.append(value)
    if run:
        yield run


# How far a photo is taken from the others of its day; on a day without any, four times as far.
DAY_ERROR_M = 50_000.0
# How many days before and after a photo others count.
DAYS_AROUND = 10
ONE_AREA_KM = 300.0
# Positions within some 10 km are one.
_CELLS_PER_DEGREE = 10


# The number of the local date of a photo, as of `date.toordinal`, if it has one.
DAY_NUMBER = part_of(photos.c.taken_at, photos.c.id)


def fix_of_day(latitude: float, longitude: float, error_m: float = DAY_ERROR_M) -> Fix:
    return Fix(
        latitude,
        longitude,
        error_m,
        PositionSource.TRIP,
        {},
    )


def fixes_of_days(
    connection: Connection, days: Collection[date]
) -> dict[date, list[Fix]]:
    """Where photos with GPS were taken on each of these days, by all cameras.

    On days without any, the last ones before and the first ones after count, if they are in one area.
    """
    cells = [
        func.round(photos.c[name] * _CELLS_PER_DEGREE)
        for name in ("latitude", "longitude")
    ]
    has_gps = photos.c.latitude.is_not(None), photos.c.origin.is_(None)
    query = select(DAY_NUMBER, *cells).where(*has_gps).distinct()
    places_of = defaultdict[date, set[tuple[float, float]]](set)
    for run in runs_of(sorted(days), timedelta(days=2 * DAYS_AROUND)):
        for number, y, x in connection.execute(query.where(is_around(run[0], run[-1]))):
            place = float(y) / _CELLS_PER_DEGREE, float(x) / _CELLS_PER_DEGREE
            places_of[date.fromordinal(number)].add(place)
    fixes = {}
    for day in days:
        if day in places_of:
            fixes[day] = [fix_of_day(*place) for place in sorted(places_of[day])]
            continue
        before = _nearest_places(places_of, day, -1)
        after = _nearest_places(places_of, day, 1)
        distances_km = [
            distance_km(*place, *other) for place, other in product(before, after)
        ]
        if distances_km and max(distances_km) <= ONE_AREA_KM:
            fixes[day] = [
                fix_of_day(*place, 4 * DAY_ERROR_M) for place in sorted(before | after)
            ]
    return fixes


_Places = set[tuple[float, float]]


def _nearest_places(
    places_of: Mapping[date, _Places],
    day: date,
    step: int,
) -> _Places:
    # Those of the first day with some, that many days apart.
    for number in range(1, DAYS_AROUND + 1):
        other = _day_of(day.toordinal() + step * number)
        if other in places_of:
            return places_of[other]
    return set()


def is_around(first: date, last: date, days: int = DAYS_AROUND) -> ColumnElement[bool]:
    """Whether a photo was taken from so many days before the first one to as many after the last one."""
    begin = _day_of(first.toordinal() - days)
    end = _day_of(last.toordinal() + days)
    return photos.c.taken_at.between(
        datetime.combine(begin, time.min),
        datetime.combine(end, time.max),
    )


def _day_of(number: int) -> date:
    return date.fromordinal(min(max(number, 1), date.max.toordinal()))
