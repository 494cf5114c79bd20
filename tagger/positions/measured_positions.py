"""Where photos were taken by what was measured: a camera's GPS, or a track at a time that the photo itself, or a person, says.

Positions that follow from landmarks or from other photos are none, nor are those on tracks at times that were estimated from landmarks.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Row, Select, or_, select

from tagger.catalog.camera_times import clock_seconds, is_clock_time
from tagger.database.enums import ClockSource, PositionSource
from tagger.database.statements import among
from tagger.database.tables import cameras, photos, tracks
from tagger.photo_origin import PhotoOrigin
from tagger.positions.estimation import Sequence as Line
from tagger.positions.estimation import contradicted
from tagger.positions.evidence import TRUST, gps_error_m, read_shots
from tagger.positions.track_fixes import locate_on_tracks

_CLOCK_YEARS = range(1990, 9999)
"""Other dates are no times of a clock."""


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
    """The positions of all photos of these images that have one. A screenshot was not taken where it shows."""
    rows = _photos(connection, content_ids)
    by_gps = [
        MeasuredPosition(
            row.id, row.content_id, row.latitude, row.longitude, gps_error_m(row), PositionSource.CAMERA
        )
        for row in rows
        if row.latitude is not None
    ]
    return [*by_gps, *_on_tracks(connection, [row for row in rows if row.latitude is None])]


def contradicted_photos(
    connection: Connection, measured: Collection[MeasuredPosition], max_gap_s: float
) -> set[int]:
    """The ids of those photos whose GPS nobody can have reached from that of photos before or after."""
    found = set()
    ids = sorted({each.photo_id for each in measured if each.source is PositionSource.CAMERA})
    reach = timedelta(seconds=2 * max_gap_s)
    query = select(photos.c.id, photos.c.camera_id, photos.c.taken_at)
    for row in connection.execute(query.where(among(connection, photos.c.id, ids))).all():
        if row.camera_id is not None and row.taken_at is not None and row.taken_at.year in _CLOCK_YEARS:
            around = photos.c.taken_at.between(row.taken_at - reach, row.taken_at + reach)
            of_camera = (photos.c.camera_id == row.camera_id) & photos.c.latitude.is_not(None)
            if row.id in _contradicted(connection, of_camera & around, max_gap_s):
                found.add(row.id)
    return found


def _photos(connection: Connection, content_ids: Collection[int]) -> Sequence[Row[Any]]:
    query: Select[Any] = (
        select(
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
        .outerjoin(cameras, cameras.c.id == photos.c.camera_id)
        .where(or_(photos.c.origin.is_(None), photos.c.origin != PhotoOrigin.SCREENSHOT))
    )
    if connection.execute(select(tracks.c.id).limit(1)).first() is None:
        query = query.where(photos.c.latitude.is_not(None))
    return connection.execute(query.where(among(connection, photos.c.content_id, content_ids))).all()


def _on_tracks(connection: Connection, rows: Sequence[Row[Any]]) -> list[MeasuredPosition]:
    timed = sorted(
        ((at, row) for row in rows if (at := _utc_seconds(row)) is not None),
        key=lambda pair: (pair[0], pair[1].id),
    )
    found = locate_on_tracks(connection, np.array([at for at, _ in timed], np.float64))
    return [
        MeasuredPosition(
            row.id, row.content_id, fix.latitude, fix.longitude, fix.error_m, PositionSource.TRACK
        )
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


def _contradicted(connection: Connection, condition: ColumnElement[bool], max_gap_s: float) -> set[int]:
    line = [shot for shot in read_shots(connection, condition) if shot.at is not None and shot.is_original]
    values = np.array(
        [(shot.at, shot.fix.latitude, shot.fix.longitude, shot.fix.error_m) for shot in line if shot.fix]
    )
    at, latitude, longitude, error_m = values.reshape(-1, 4).T
    trust = np.full(len(line), TRUST[PositionSource.CAMERA])
    is_contradicted = contradicted(Line(at, latitude, longitude, error_m, trust), max_gap_s)
    return {shot.photo_id for shot, is_odd in zip(line, is_contradicted.tolist(), strict=True) if is_odd}
