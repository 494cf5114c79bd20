"""Measured positions of photos: by GPS, or on a track at a time that the photo states or a person set.

Positions that follow from landmarks or from other photos are not measured, nor are those on tracks at times
that were estimated from landmarks. Positions are stored rounded, with the names of their country, region and
city.

Passages say where a camera was, by its GPS, before and after photos that have none: nobody reaches a landmark
too far away in that time. Only the GPS of the camera itself is evidence for them, not positions that follow
from landmarks, tracks or other photos.
"""

import json
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import pi
from operator import attrgetter
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, Text, cast, delete, or_, select

from tagger.cameras import LOCAL_TIMES, clock_seconds, is_clock_time
from tagger.database.enums import STATED, ClockSource, PositionSource
from tagger.database.statements import among, insert_page
from tagger.database.tables import photos, positions, tracks
from tagger.geo import EARTH_RADIUS_KM, distance_km
from tagger.landmarks.landmarks import farthest_km
from tagger.photos.facts import PhotoOrigin
from tagger.positions.cities import places_of
from tagger.positions.estimation import CLOCK_SLACK_S, MAX_SPEED_M_S, contradicted, sequence_of
from tagger.positions.evidence import (
    TRUST,
    Fix,
    Shot,
    gps_error_m,
    locate_on_tracks,
    read_photos,
    select_photos,
    shots_of,
)

_COLUMNS = ("latitude", "longitude", "error_m", "source", "evidence")
_PLACE = ("country", "region", "city")

# The values of _COLUMNS; the evidence is JSON.
_Facts = tuple[float, float, float, str, str]


def store_positions(connection: Connection, fixes: Mapping[int, Fix | None]) -> int:
    """Replace the positions of photos that differ from the stored ones; returns how many.

    Positions that follow from trips stay where there is no other.
    """
    stored = _stored(connection, fixes)
    facts = {photo_id: _facts(fix) for photo_id, fix in fixes.items() if fix is not None}
    of_trips = {photo_id for photo_id, (*_, source, _) in stored.items() if source == PositionSource.TRIP}
    kept = of_trips - facts.keys()
    different = sorted(each for each in fixes if facts.get(each) != stored.get(each) and each not in kept)
    old = [photo_id for photo_id in different if photo_id in stored]
    if old:
        connection.execute(delete(positions).where(among(positions.c.photo_id, old)))
    new = [(photo_id, *facts[photo_id]) for photo_id in different if photo_id in facts]
    if new:
        places = places_of((latitude, longitude) for _, latitude, longitude, *_ in new)
        rows = (row + place for row, place in zip(new, places, strict=True))
        insert_page(connection, positions, ("photo_id", *_COLUMNS, *_PLACE), rows)
    return len(different)


def _facts(fix: Fix) -> _Facts:
    """Rounded to a centimetre, so that the same evidence gives the same row."""
    return (
        round(fix.latitude, 7),
        round(fix.longitude, 7),
        float(round(fix.error_m)),
        str(fix.source),
        json.dumps(fix.evidence),
    )


def _stored(connection: Connection, photo_ids: Collection[int]) -> dict[int, _Facts]:
    evidence = cast(positions.c.evidence, Text)
    query = select(positions.c.photo_id, *(positions.c[name] for name in _COLUMNS[:-1]), evidence)
    rows = connection.execute(query.where(among(positions.c.photo_id, photo_ids)))
    return {photo_id: (*facts,) for photo_id, *facts in rows}


# Other dates are no times of a clock.
_CLOCK_YEARS = range(1990, 9999)
# Photos that are judged together: their neighbours are in memory at the same time.
_LONGEST_RUN = 1000


@dataclass(frozen=True)
class MeasuredPosition:
    """Where a photo of an image was taken, in degrees and metres."""

    photo_id: int
    content_id: int
    latitude: float
    longitude: float
    error_m: float
    source: PositionSource


def measured_positions(connection: Connection, content_ids: Collection[int]) -> list[MeasuredPosition]:
    """The positions of all photos of these images that have one; screenshots have none."""
    rows = _photos(connection, content_ids)
    by_gps = [
        MeasuredPosition(
            row.id,
            row.content_id,
            row.latitude,
            row.longitude,
            gps_error_m(row),
            PositionSource(row.gps_source),
        )
        for row in rows
        if row.latitude is not None
    ]
    return [*by_gps, *_on_tracks(connection, [row for row in rows if row.latitude is None])]


def contradicted_photos(
    connection: Connection, measured: Collection[MeasuredPosition], max_gap_s: float
) -> set[int]:
    """The ids of those photos whose GPS nobody can have reached from that of photos before or after."""
    ids = sorted({each.photo_id for each in measured if each.source in STATED})
    reach = timedelta(seconds=2 * max_gap_s)
    found = set[int]()
    for camera_id, run in runs_of_cameras(connection, reach, among(photos.c.id, ids)):
        around = photos.c.taken_at.between(run[0].taken_at - reach, run[-1].taken_at + reach)
        of_camera = (photos.c.camera_id == camera_id) & photos.c.latitude.is_not(None)
        rows = read_photos(connection, of_camera & around)
        for photo in run if _consistent_line(rows, max_gap_s) is None else ():
            # Judged only by the photos within reach, whichever others are in the run.
            found |= {photo.id} & contradicted_shots(rows_around(rows, photo.taken_at, reach), max_gap_s)
    return found


def _photos(connection: Connection, content_ids: Collection[int]) -> Sequence[Row[Any]]:
    is_no_screenshot = or_(photos.c.origin.is_(None), photos.c.origin != PhotoOrigin.SCREENSHOT)
    query = select_photos(is_no_screenshot, among(photos.c.content_id, content_ids))
    if connection.execute(select(tracks.c.id).limit(1)).first() is None:
        query = query.where(photos.c.latitude.is_not(None))
    return connection.execute(query).all()


def _on_tracks(connection: Connection, rows: Sequence[Row[Any]]) -> list[MeasuredPosition]:
    timed = sorted(
        ((at, row) for row in rows if (at := _utc_seconds(row)) is not None),
        key=lambda pair: (pair[0], pair[1].id),
    )
    found = locate_on_tracks(connection, np.array([at for at, _ in timed], np.float64))
    return [
        MeasuredPosition(row.id, row.content_id, fix.latitude, fix.longitude, fix.error_m, fix.source)
        for (_, row), fix in zip(timed, found, strict=True)
        if fix is not None
    ]


def _utc_seconds(row: Row[Any]) -> float | None:
    """Seconds since 1970, in UTC; None: not known, or only by landmarks."""
    is_clock_set = row.clock_source == ClockSource.GIVEN
    offset_s = row.clock_offset_s if row.utc_offset_s is None and is_clock_set else row.utc_offset_s
    if row.taken_at is None or row.origin is not None or offset_s is None:
        return None
    is_time = is_clock_set or is_clock_time(row.taken_at, row.utc_offset_s)
    return clock_seconds(row.taken_at) - offset_s if is_time else None


def runs_of_cameras(
    connection: Connection, reach: timedelta, *conditions: ColumnElement[bool]
) -> Iterator[tuple[int, list[Row[Any]]]]:
    """Runs of photos with a clock time, with their camera's id, split where no photo is within `reach`."""
    columns = (photos.c.id, photos.c.content_id, photos.c.camera_id, photos.c.taken_at)
    has_camera = photos.c.camera_id.is_not(None), photos.c.taken_at.is_not(None)
    query: Select[Any] = select(*columns).where(*conditions, *has_camera)
    by_camera: dict[int, list[Row[Any]]] = {}
    for row in connection.execute(query.order_by(photos.c.taken_at)):
        if row.taken_at.year in _CLOCK_YEARS:
            by_camera.setdefault(row.camera_id, []).append(row)
    for camera_id, rows in by_camera.items():
        run = rows[:1]
        for row in rows[1:]:
            if row.taken_at - run[-1].taken_at > 2 * reach or len(run) >= _LONGEST_RUN:
                yield camera_id, run
                run = []
            run.append(row)
        yield camera_id, run


def rows_around(rows: Sequence[Row[Any]], at: datetime, reach: timedelta) -> Sequence[Row[Any]]:
    """The photos among these, which are in order of time, that were taken within `reach` of `at`."""
    time = attrgetter("taken_at")
    return rows[bisect_left(rows, at - reach, key=time) : bisect_right(rows, at + reach, key=time)]


def contradicted_shots(rows: Sequence[Row[Any]], max_gap_s: float) -> set[int]:
    """The ids of those photos of a camera, in order, whose GPS contradicts that of the others."""
    line = [shot for shot in shots_of(rows, {}) if shot.at is not None and shot.is_original]
    trust = TRUST[PositionSource.CAMERA]
    sequence = sequence_of(
        (shot.at, shot.fix.latitude, shot.fix.longitude, shot.fix.error_m, trust) for shot in line if shot.fix
    )
    is_contradicted = contradicted(sequence, max_gap_s).tolist()
    return {shot.photo_id for shot, is_odd in zip(line, is_contradicted, strict=True) if is_odd}


# The time to the other side of the world, with the difference of local times.
REACH = timedelta(seconds=1000 * pi * EARTH_RADIUS_KM / MAX_SPEED_M_S) + LOCAL_TIMES
# A clock without a time zone may have been set to the time of the other place.
DEGREES_PER_HOUR = 15.0


@dataclass(frozen=True)
class Moment:
    """When a photo was taken: seconds on the clock of its camera, in UTC if `is_utc`."""

    at: float
    is_utc: bool


@dataclass(frozen=True)
class Whereabouts(Moment):
    """Where the camera was on a photo with GPS, in degrees and metres."""

    latitude: float
    longitude: float
    error_m: float

    def distance_m(self, latitude: float, longitude: float) -> float:
        return 1000 * distance_km(self.latitude, self.longitude, latitude, longitude)


@dataclass(frozen=True)
class GpsInterval:
    """A photo without GPS, with the camera's photos with GPS before and after it, or one of them."""

    content_id: int
    photo: Moment
    before: Whereabouts | None
    after: Whereabouts | None

    def distance_m(self, latitude: float, longitude: float) -> float:
        """How far the camera was from a place on the nearer of these photos."""
        return min(each.distance_m(latitude, longitude) for each in self._ends)

    def reaches(self, latitude: float, longitude: float, extent: str | None) -> bool:
        """Whether somebody can have been where a landmark is seen, on the way from one photo to the next."""
        detour_m = 0.0
        for each in self._ends:
            seen_within_m = 1000 * farthest_km(extent) + each.error_m
            least_m = max(0.0, each.distance_m(latitude, longitude) - seen_within_m)
            if least_m > _most_m(each, self.photo, each.longitude, longitude):
                return False
            detour_m += least_m
        if self.before is None or self.after is None:
            return True
        return detour_m <= _most_m(self.before, self.after, self.before.longitude, self.after.longitude)

    @property
    def _ends(self) -> list[Whereabouts]:
        return [each for each in (self.before, self.after) if each is not None]


def passages(connection: Connection, content_ids: Collection[int], max_gap_s: float) -> Iterator[GpsInterval]:
    """The passages of photos of these images. Those without a time or camera, and edited ones, have none."""
    of_images = among(photos.c.content_id, content_ids)
    is_without_gps = photos.c.latitude.is_(None), photos.c.origin.is_(None)
    for camera_id, run in runs_of_cameras(connection, REACH, of_images, *is_without_gps):
        yield from _passages_of(connection, camera_id, run, max_gap_s)


def _passages_of(
    connection: Connection, camera_id: int, run: Sequence[Row[Any]], max_gap_s: float
) -> Iterator[GpsInterval]:
    """The passages of a camera's photos. Each is judged only by the photos within REACH."""
    around = photos.c.taken_at.between(run[0].taken_at - REACH, run[-1].taken_at + REACH)
    is_of_run = among(photos.c.id, [row.id for row in run])
    is_needed = or_(photos.c.latitude.is_not(None), is_of_run)
    rows = read_photos(connection, photos.c.camera_id == camera_id, around, is_needed)
    with_gps = [row for row in rows if row.latitude is not None]
    by_id = {row.id: row for row in rows}
    line = _consistent_line(with_gps, max_gap_s)
    for photo in (by_id[row.id] for row in run if row.id in by_id):
        if line is None:
            yield from _passage(rows_around(with_gps, photo.taken_at, REACH), photo, max_gap_s)
        else:
            yield from _passage_on(line, with_gps, photo)


def _consistent_line(with_gps: Sequence[Row[Any]], max_gap_s: float) -> list[Shot] | None:
    """The time line of a camera's photos with GPS; None: what one says depends on which others are read.

    It does if two contradict each other, or if the time of one in UTC follows from another.
    """
    line = [shot for shot in shots_of(with_gps, {}) if shot.at is not None and shot.is_original]
    times = [shot.taken_at for shot in line if shot.taken_at is not None]
    are_zones_known = all(row.utc_offset_s is not None or row.clock_offset_s is not None for row in with_gps)
    is_alone = are_zones_known and times == sorted(times)
    return line if is_alone and not contradicted_shots(with_gps, max_gap_s) else None


def _passage_on(line: Sequence[Shot], with_gps: Sequence[Row[Any]], photo: Row[Any]) -> Iterator[GpsInterval]:
    """The passage of a photo on the time line of those with GPS, if it has one."""

    def order(shot: Shot) -> tuple[float, datetime, int]:
        return shot.at or 0.0, shot.taken_at or photo.taken_at, shot.photo_id

    place = bisect_left(with_gps, (photo.taken_at, photo.id), key=attrgetter("taken_at", "id"))
    beside = rows_around(with_gps[max(place - 1, 0) : place + 1], photo.taken_at, REACH)
    rows = sorted([*beside, photo], key=attrgetter("taken_at", "id"))
    (taken,) = (shot for shot in shots_of(rows, {}) if shot.photo_id == photo.id)
    if taken.at is None:
        return
    place = bisect_left(line, order(taken), key=order)
    before, after = (
        _whereabouts(
            [shot for shot in some if shot.taken_at and abs(shot.taken_at - photo.taken_at) <= REACH]
        )
        for some in (line[max(place - 1, 0) : place], line[place : place + 1])
    )
    if before or after:
        yield GpsInterval(photo.content_id, Moment(taken.at, taken.is_utc), before, after)


def _passage(near: Sequence[Row[Any]], photo: Row[Any], max_gap_s: float) -> Iterator[GpsInterval]:
    """The passage of a photo between those with GPS, if it has one."""
    wrong = contradicted_shots(near, max_gap_s)
    rows = sorted([*near, photo], key=lambda row: (row.taken_at, row.id))
    line = [shot for shot in shots_of(rows, {}) if shot.is_original and shot.photo_id not in wrong]
    place = next(index for index, shot in enumerate(line) if shot.photo_id == photo.id)
    taken = line[place]
    before, after = map(_whereabouts, (line[max(place - 1, 0) : place], line[place + 1 : place + 2]))
    if taken.at is not None and (before or after):
        yield GpsInterval(photo.content_id, Moment(taken.at, taken.is_utc), before, after)


def _whereabouts(shots: Sequence[Shot]) -> Whereabouts | None:
    """The whereabouts of the first photo, if it has a time."""
    for shot in shots:
        if shot.at is not None and shot.fix is not None:
            fix = shot.fix
            return Whereabouts(shot.at, shot.is_utc, fix.latitude, fix.longitude, fix.error_m)
    return None


def _most_m(first: Moment, second: Moment, longitude: float, to_longitude: float) -> float:
    """The longest way between two photos, taken at these longitudes."""
    seconds = abs(second.at - first.at) + CLOCK_SLACK_S
    if not (first.is_utc and second.is_utc):
        degrees = abs(to_longitude - longitude) % 360
        seconds += 3600 * min(degrees, 360 - degrees) / DEGREES_PER_HOUR
    return MAX_SPEED_M_S * seconds
