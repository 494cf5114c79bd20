"""Which cameras in the database are used together, by where their newest photos and those of others at that time were taken."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, update

from tagger.database.enums import PositionSource
from tagger.database.statements import among
from tagger.database.tables import cameras, photos
from tagger.library.catalog.cameras import LOCAL_TIMES, clock_seconds, clock_time, is_named
from tagger.library.catalog.contents import record_matching_photos
from tagger.library.positions import estimation
from tagger.library.positions.companions import Meetings, count_meetings, group_companions
from tagger.library.positions.estimation import Floats
from tagger.library.positions.evidence import CAMERA_ERROR_M, TRUST, read_shots

MOST_PHOTOS = 500
"""Of a camera, the newest ones: who travels together changes."""
MOST_OUTINGS = 50
"""Of a camera, the newest times between pauses."""
MOST_OTHERS = 1000
"""Photos with GPS of all other cameras, the newest ones."""
MOST_CANDIDATES = 8
"""Cameras that have most of these photos."""
PAUSE_S = 24 * 3600.0
CLOCKS = range(-12 * 3600, 14 * 3600 + 1)
"""Clocks that show the time of some zone, roughly. A camera whose clock was never set locates nothing but its own photos."""


@dataclass(frozen=True)
class Companions:
    """Two cameras that are used together, and on how many occasions their photos say so."""

    cameras: tuple[str, str]
    agreeing: int
    occasions: int


def find_companions(connection: Connection) -> list[Companions]:
    """Decide again which cameras are used together, and store it. Returns all pairs."""
    stored = {row.id: row for row in connection.execute(select(cameras))}
    counts = _count_all_meetings(connection)
    groups = group_companions(counts)
    group_of = {camera_id: row.companions_id for camera_id, row in stored.items()}
    _store(connection, group_of, {camera_id: min(group) for camera_id, group in groups.items()})
    return [
        Companions((stored[first].name, stored[second].name), meetings.agreeing, meetings.occasions)
        for (first, second), meetings in sorted(counts.items())
        if meetings.are_companions and second in groups.get(first, ())
    ]


def _count_all_meetings(connection: Connection) -> dict[tuple[int, int], Meetings]:
    """By pairs of ids, ascending. Of the occasions that follow from either camera's newest photos, those that are more."""
    counts: dict[tuple[int, int], Meetings] = {}
    ids = connection.scalars(select(cameras.c.id).where(_has_clock()).order_by(cameras.c.id)).all()
    for camera_id in ids if len(ids) > 1 else ():
        own = _own_anchors(connection, camera_id)
        for other_id, others in _other_anchors(connection, camera_id, own):
            meetings = count_meetings(own, others)
            pair = min(camera_id, other_id), max(camera_id, other_id)
            if pair not in counts or meetings.occasions > counts[pair].occasions:
                counts[pair] = meetings
    return counts


def _has_clock() -> ColumnElement[bool]:
    """Cameras that photos name, and whose clock may be of some time zone. A folder may hold photos of several cameras."""
    offset = cameras.c.clock_offset_s
    return and_(is_named(), or_(offset.is_(None), offset.between(CLOCKS.start, CLOCKS.stop - 1)))


def _own_anchors(connection: Connection, camera_id: int) -> estimation.Sequence:
    """Anchors of the newest photos of a camera. Tracks say nothing: they locate photos of all cameras."""
    is_own = (photos.c.camera_id == camera_id) & photos.c.taken_at.is_not(None)
    newest = select(photos.c.taken_at).where(is_own).order_by(photos.c.taken_at.desc())
    first = connection.scalar(newest.offset(MOST_PHOTOS - 1).limit(1))
    shots = read_shots(connection, is_own, *([] if first is None else [photos.c.taken_at >= first]))
    return _anchors(
        [
            (shot.at, shot.fix.latitude, shot.fix.longitude, shot.fix.error_m, TRUST[shot.fix.source])
            for shot in shots
            if shot.at is not None and shot.is_utc and shot.is_original
            if shot.fix is not None and shot.fix.source is not PositionSource.TRACK
        ]
    )


def _other_anchors(
    connection: Connection, camera_id: int, own: estimation.Sequence
) -> list[tuple[int, estimation.Sequence]]:
    """The anchors by GPS of other cameras at about these times, by camera."""
    rows_of: dict[int, list[tuple[float, float, float, float, int]]] = {}
    for row in connection.execute(_others(camera_id, own)) if len(own.at) else ():
        at = clock_seconds(row.taken_at) - row.offset_s
        error_m = CAMERA_ERROR_M if row.gps_error_m is None else row.gps_error_m
        anchor = (at, row.latitude, row.longitude, error_m, TRUST[PositionSource.CAMERA])
        rows_of.setdefault(row.camera_id, []).append(anchor)
    most = sorted(rows_of, key=lambda other_id: (-len(rows_of[other_id]), other_id))[:MOST_CANDIDATES]
    return [(other_id, _anchors(sorted(rows_of[other_id]))) for other_id in most]


def _others(camera_id: int, own: estimation.Sequence) -> Select[Any]:
    offset_s = func.coalesce(photos.c.utc_offset_s, cameras.c.clock_offset_s)
    return (
        select(
            photos.c.camera_id,
            photos.c.taken_at,
            photos.c.latitude,
            photos.c.longitude,
            photos.c.gps_error_m,
            offset_s.label("offset_s"),
        )
        .join(cameras, cameras.c.id == photos.c.camera_id)
        .where(_has_clock(), photos.c.camera_id != camera_id, offset_s.is_not(None))
        .where(photos.c.latitude.is_not(None), photos.c.origin.is_(None))
        .where(or_(*(photos.c.taken_at.between(*outing) for outing in _outings(own.at))))
        .order_by(photos.c.taken_at.desc(), photos.c.id)
        .limit(MOST_OTHERS)
    )


def _outings(times: Floats) -> list[tuple[datetime, datetime]]:
    """The newest times between pauses, as any camera's local time may have been."""
    last = np.flatnonzero(np.append(np.diff(times) > PAUSE_S, [True]))
    first = np.append([0], last[:-1] + 1)
    newest = zip(times[first][-MOST_OUTINGS:], times[last][-MOST_OUTINGS:], strict=True)
    return [
        (clock_time(start - LOCAL_TIMES.total_seconds()), clock_time(end + LOCAL_TIMES.total_seconds()))
        for start, end in newest
    ]


def _anchors(rows: Sequence[tuple[float, float, float, float, int]]) -> estimation.Sequence:
    """Of rows in order of time: time, latitude, longitude, error and trust."""
    at, latitude, longitude, error_m, trust = np.array(rows, np.float64).reshape(-1, 5).T
    return estimation.Sequence(at, latitude, longitude, error_m, trust.astype(np.int64))


def _store(connection: Connection, stored: Mapping[int, int | None], found: Mapping[int, int | None]) -> None:
    """Photos of a camera are estimated again if its group changes, or loses or gains another camera."""
    changed = {camera_id for camera_id in stored if stored[camera_id] != found.get(camera_id)}
    for camera_id in sorted(changed):
        values = {"companions_id": found.get(camera_id)}
        connection.execute(update(cameras).where(cameras.c.id == camera_id).values(values))
    affected = changed | {
        camera_id
        for groups in (stored, found)
        for camera_id, group in groups.items()
        if group is not None and any(group == groups.get(other) for other in changed)
    }
    if affected:
        record_matching_photos(connection, among(photos.c.camera_id, sorted(affected)))
