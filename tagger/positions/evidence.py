"""What photos of a camera say about where it was: GPS, accepted landmarks, and the tracks of their time.

Between two points of a track, the error is that of a Brownian bridge (see estimation). It grows with the time
to the nearer point and with the speed.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, select, true

from tagger.cameras import clock_seconds, is_clock_time
from tagger.database.enums import STATED, PositionSource
from tagger.database.statements import pages
from tagger.database.tables import cameras, effective_tags, landmarks, photos, track_parts
from tagger.positions.estimation import QUANTILE_90, Floats, distances_m, interpolate
from tagger.positions.gpx import EARLIEST, LATEST, Points
from tagger.positions.tracks import PART_S, are_too_fast

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
TRUST = {PositionSource.TRACK: 1, PositionSource.LANDMARK: 2, **dict.fromkeys(STATED, 3)}


@dataclass(frozen=True)
class Fix:
    """A position in degrees, of a photo itself or a track. 90 % of true ones are nearer than `error_m`."""

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
        covered = slice(*np.searchsorted(times, [points[0, 0], np.nextafter(points[-1, 0], np.inf)]))
        latitude, longitude, error_m = _fixes_of(points, times[covered])
        so_far = best[:, covered]
        distance = distances_m(latitude, longitude, so_far[0], so_far[1])
        is_contradicted[covered] |= distance > error_m + so_far[2]
        new = np.stack([latitude, longitude, error_m, np.full(len(error_m), float(track_id))])
        best[:, covered] = np.where(error_m < so_far[2], new, so_far)
    is_known = np.isfinite(best[2]) & ~is_contradicted
    rows = zip(is_known.tolist(), *best.tolist(), strict=True)
    return [
        Fix(latitude, longitude, error_m, PositionSource.TRACK, {"track": int(track_id)}) if known else None
        for known, latitude, longitude, error_m, track_id in rows
    ]


def _fixes_of(points: Points, times: Floats) -> tuple[Floats, Floats, Floats]:
    """Latitude, longitude and error at times (N,) in a part; the error is infinite where it does not tell."""
    after = np.searchsorted(points[:, 0], times)
    before = np.where(points[after, 0] == times, after, after - 1)
    start, end = points[before], points[after]
    gap = end[:, 0] - start[:, 0]
    fraction = (times - start[:, 0]) / np.where(gap > 0, gap, 1.0)
    ends = (start[:, 1], start[:, 2], end[:, 1], end[:, 2])
    latitude, longitude = interpolate(*ends, fraction)
    speed = distances_m(*ends) / np.where(gap > 0, gap, 1.0)
    detour_m = DETOUR * gap * speed**DETOUR_SPEED
    bridge = (WANDERING**2 * gap + detour_m**2) * fraction * (1 - fraction)
    error_m = np.sqrt(GPS_ERROR_M**2 + QUANTILE_90**2 * bridge)
    is_told = (gap <= MAX_TRACK_GAP_S) & ~are_too_fast(start, end)
    return latitude, longitude, np.where(is_told, error_m, np.inf)


def _parts_of(connection: Connection, times: Floats) -> Iterator[tuple[int, Points]]:
    """The parts of tracks that cover one of the times, with their tracks."""
    for track_id, rows in groupby(_covering_parts(connection, times), key=lambda row: row[0]):
        parts = [part for _, part in rows]
        for start in range(0, len(parts), _PARTS_AT_ONCE):
            page = parts[start : start + _PARTS_AT_ONCE]
            query = (
                select(track_parts.c.data)
                .where(track_parts.c.track_id == track_id, track_parts.c.part.in_(page))
                .order_by(track_parts.c.part)
            )
            for data in connection.scalars(query):
                yield track_id, np.frombuffer(data, "<f8").reshape(-1, 3)


def _covering_parts(connection: Connection, times: Floats) -> list[tuple[int, int]]:
    """Track and number of the parts that cover one of the times."""
    if not len(times):
        return []
    limits = np.clip(times[[0, -1]], EARLIEST.timestamp(), LATEST.timestamp()).tolist()
    first, last = (datetime.fromtimestamp(limit, UTC) for limit in limits)
    last += _ROUNDING
    is_near = track_parts.c.last_at.between(first - _ROUNDING, last + timedelta(seconds=PART_S))
    columns = (track_parts.c.track_id, track_parts.c.part, track_parts.c.first_at, track_parts.c.last_at)
    query = select(*columns).where(is_near, track_parts.c.first_at <= last).order_by(*columns[:2])
    rows = connection.execute(query).all()
    starts = np.searchsorted(times, [(row.first_at - _ROUNDING).timestamp() for row in rows])
    ends = np.searchsorted(times, [(row.last_at + _ROUNDING).timestamp() for row in rows])
    return [(row.track_id, row.part) for row, covers in zip(rows, starts < ends, strict=True) if covers]


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
    return _with_tracks(connection, shots_of(rows, _landmark_fixes(connection, without_gps)))


def read_photos(connection: Connection, *conditions: ColumnElement[bool]) -> Sequence[Row[Any]]:
    """The rows of the photos with these conditions, in order of their local times."""
    query = select_photos(*conditions).order_by(photos.c.taken_at, photos.c.id)
    return connection.execute(query).all()


def select_photos(*conditions: ColumnElement[bool]) -> Select[Any]:
    """What photos with these conditions say about their times and places, with their cameras' clocks."""
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
    return select(*columns).outerjoin(cameras, cameras.c.id == photos.c.camera_id).where(*conditions)


def shots_of(rows: Sequence[Row[Any]], landmark_fixes: Mapping[int, Fix]) -> list[Shot]:
    """Photos of one camera, in order of time, with their GPS, or else with the fix of their image."""
    shots = [
        Shot(row.id, row.taken_at, at, is_utc, row.origin is None, _fix(row, landmark_fixes))
        for row, (at, is_utc) in zip(rows, _times(rows), strict=True)
    ]
    shots.sort(key=lambda shot: -math.inf if shot.at is None else shot.at)
    return shots


def gps_error_m(photo: Row[Any]) -> float:
    """The error of a photo's GPS position."""
    return CAMERA_ERROR_M if photo.gps_error_m is None else max(float(photo.gps_error_m), 1.0)


def _with_tracks(connection: Connection, shots: Sequence[Shot]) -> list[Shot]:
    """The photos in order, with positions on tracks where they have no other. A track's time is UTC."""
    times = {
        index: shot.at
        for index, shot in enumerate(shots)
        if shot.fix is None and shot.is_utc and shot.is_original and shot.at is not None
    }
    order = sorted(times, key=lambda index: times[index])
    found = locate_on_tracks(connection, np.array([times[index] for index in order], np.float64))
    fixes = dict(zip(order, found, strict=True))
    return [replace(shot, fix=fixes[index]) if index in fixes else shot for index, shot in enumerate(shots)]


def _times(rows: Sequence[Row[Any]]) -> Iterator[tuple[float | None, bool]]:
    """The time of each photo. One without a time zone has that of the photo before, else after."""
    known = [row.utc_offset_s for row in rows if row.utc_offset_s is not None]
    carried = known[0] if known else 0
    for row in rows:
        offset = row.utc_offset_s if row.utc_offset_s is not None else row.clock_offset_s
        if row.utc_offset_s is not None:
            carried = row.utc_offset_s
        is_clock_known = row.clock_offset_s is not None
        if row.taken_at is None or not (is_clock_known or is_clock_time(row.taken_at, row.utc_offset_s)):
            yield None, False
        else:
            yield clock_seconds(row.taken_at) - (carried if offset is None else offset), offset is not None


def _fix(row: Row[Any], landmark_fixes: Mapping[int, Fix]) -> Fix | None:
    if row.latitude is not None:
        return Fix(row.latitude, row.longitude, gps_error_m(row), PositionSource(row.gps_source), {})
    return landmark_fixes.get(row.content_id) if row.origin is None else None


def _landmark_fixes(connection: Connection, content_ids: Collection[int]) -> dict[int, Fix]:
    """The position of the best accepted landmark of each image: confirmed, else with the highest score."""
    best: dict[int, Row[Any]] = {}
    for row in _accepted_landmarks(connection, content_ids):
        if row.content_id not in best or _quality(row) > _quality(best[row.content_id]):
            best[row.content_id] = row
    return {
        content_id: Fix(
            row.latitude,
            row.longitude,
            LANDMARK_ERROR_M[row.extent or "point"],
            PositionSource.LANDMARK,
            {"landmark": row.landmark_id},
        )
        for content_id, row in best.items()
    }


def _accepted_landmarks(connection: Connection, content_ids: Collection[int]) -> Iterator[Row[Any]]:
    query: Select[Any] = (
        select(
            effective_tags.c.content_id,
            effective_tags.c.landmark_id,
            effective_tags.c.score,
            effective_tags.c.verdict,
            landmarks.c.latitude,
            landmarks.c.longitude,
            landmarks.c.extent,
        )
        .join(landmarks, landmarks.c.id == effective_tags.c.landmark_id)
        .where(effective_tags.c.accepted == true(), landmarks.c.latitude.is_not(None))
    )
    for page in pages(sorted(content_ids)):
        yield from connection.execute(query.where(effective_tags.c.content_id.in_(page)))


def _quality(tag: Row[Any]) -> tuple[bool, float, int]:
    return tag.verdict is not None, tag.score or 0.0, -tag.landmark_id
