"""What photos of a camera say about where it was: their own GPS, accepted landmarks, and the tracks of their time."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, select, true

from tagger.database.enums import PositionSource
from tagger.database.statements import pages
from tagger.database.tables import cameras, effective_tags, landmarks, photos
from tagger.library.catalog.cameras import clock_seconds, is_clock_time
from tagger.library.positions.track_fixes import locate_on_tracks

CAMERA_ERROR_M = 30.0
"""Assumed of a GPS position without a stated error: what phones reach in streets."""
LANDMARK_ERROR_M = {"point": 300.0, "area": 3_000.0, "line": 5_000.0, "multi": 20_000.0}
"""How far from a landmark's coordinates photos of it are taken, by its extent. None: a point."""

TRUST = {PositionSource.TRACK: 1, PositionSource.LANDMARK: 2, PositionSource.CAMERA: 3}
"""Of anchors. An estimate is none."""


@dataclass(frozen=True)
class Fix:
    """A position that follows from a photo itself, or from a track; in degrees and metres."""

    latitude: float
    longitude: float
    error_m: float
    source: PositionSource
    evidence: Mapping[str, Any]


@dataclass(frozen=True)
class Shot:
    """A photo on the time line of its camera.

    `taken_at` is the camera's local time. `at`: the same in seconds since 1970, in UTC if `is_utc`, else as the camera's clock
    showed; None: no date, or none of a running clock. `is_original` is false for screenshots and edited pictures: their time says
    nothing about what they show.
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
    """What photos with these conditions say about their times and places, with the clocks of their cameras."""
    columns = (
        photos.c.id,
        photos.c.content_id,
        photos.c.taken_at,
        photos.c.utc_offset_s,
        photos.c.latitude,
        photos.c.longitude,
        photos.c.gps_error_m,
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
    fixes = {
        index: Fix(
            track.latitude, track.longitude, track.error_m, PositionSource.TRACK, {"track": track.track_id}
        )
        for index, track in zip(order, found, strict=True)
        if track is not None
    }
    return [replace(shot, fix=fixes[index]) if index in fixes else shot for index, shot in enumerate(shots)]


def _times(rows: Sequence[Row[Any]]) -> Iterator[tuple[float | None, bool]]:
    """The time of each photo. One that does not say its time zone has that of the photo before, else of the one after."""
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
        return Fix(row.latitude, row.longitude, gps_error_m(row), PositionSource.CAMERA, {})
    return landmark_fixes.get(row.content_id) if row.origin is None else None


def _landmark_fixes(connection: Connection, content_ids: Collection[int]) -> dict[int, Fix]:
    """The position of the best accepted landmark of each image: a confirmed one, else that with the highest score."""
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
