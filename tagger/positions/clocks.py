"""How cameras' clocks are set: estimated from landmarks that they photographed, unless a person has set them.

A camera without a time zone and a phone that says its own were both at the Colosseum: the difference of their
times at several landmarks tells how far the camera's clock is ahead of UTC. Cameras whose photos may be on
tracks, but whose clocks are unknown, are listed too.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    func,
    or_,
    select,
    true,
    update,
)

from tagger.cameras import LOCAL_TIMES, clock_seconds, clock_time, is_named
from tagger.database.connection import Database
from tagger.database.enums import ClockSource
from tagger.database.tables import (
    cameras,
    effective_tags,
    landmarks,
    photos,
    track_parts,
)
from tagger.positions.estimation import distances_m
from tagger.positions.evidence import LANDMARK_ERROR_M, gps_error_m
from tagger.tags.contents import record_camera

# Photos of one landmark that are this near in time may be of one visit.
TOGETHER_S = 900.0
VISIT_S = 300.0
WIDEST_S = LOCAL_TIMES.total_seconds()


@dataclass(frozen=True)
class Sighting:
    """A landmark in a photo, and when, since 1970. `zone_s`: seconds of local time ahead of UTC, if known."""

    landmark_id: int
    at: float
    zone_s: int | None = None


@dataclass(frozen=True)
class TimedPosition:
    """A photo with GPS, and its time in UTC: it may have been taken beside a landmark, whatever it shows."""

    at: float
    zone_s: int
    latitude: float
    longitude: float
    error_m: float


def passed_landmarks(
    fixes: Sequence[TimedPosition], points: Mapping[int, tuple[float, float]]
) -> list[Sighting]:
    """The landmarks that photos were taken beside, each once per VISIT_S. `points`: positions by id."""
    rows = [(each.latitude, each.longitude, each.error_m) for each in fixes]
    latitude, longitude, error_m = (
        np.array(rows, np.float64).reshape(-1, 3).T[:, :, None]
    )
    to_latitude, to_longitude = (
        np.array([*points.values()], np.float64).reshape(-1, 2).T
    )
    distance_m = distances_m(latitude, longitude, to_latitude, to_longitude)
    landmark_ids = list(points)
    sightings = {}
    for fix, point in np.argwhere(
        distance_m <= error_m + LANDMARK_ERROR_M["point"]
    ).tolist():
        at, landmark_id = fixes[fix].at, landmark_ids[point]
        sightings[at // VISIT_S, landmark_id] = Sighting(
            landmark_id,
            at,
            fixes[fix].zone_s,
        )
    return list(sightings.values())


def estimate_clock(own: Sequence[Sighting], others: Sequence[Sighting]) -> int | None:
    """How far a camera's clock is ahead of UTC, in seconds; None: the sightings do not tell.

    At least two landmarks must agree on a difference within TOGETHER_S, and twice as many as on any other.
    One landmark is enough if the camera then shows about the local time of the others.

    Args:
        own: the camera's, in its own time.
        others: those of other cameras, in UTC.
    """
    differences = [
        (
            mine.at - theirs.at,
            mine.landmark_id,
            theirs.zone_s,
        )
        for mine in own
        for theirs in others
        if mine.landmark_id == theirs.landmark_id
        and abs(mine.at - theirs.at) <= WIDEST_S
    ]
    if not differences:
        return None
    # By whole minutes: there are few, however many photos there are.
    landmarks_at: defaultdict[int, set[int]] = defaultdict(set)
    for difference, landmark_id, _ in differences:
        landmarks_at[round(difference / 60)].add(landmark_id)
    best_minute = max(
        landmarks_at,
        key=lambda minute: (_support(landmarks_at, minute), -abs(minute)),
    )
    near = [
        each for each in differences if abs(each[0] - 60 * best_minute) <= TOGETHER_S
    ]
    offset_s = median(difference for difference, _, _ in near)
    rivals = [
        minute
        for minute in landmarks_at
        if abs(60 * minute - offset_s) > 2 * TOGETHER_S
    ]
    most_rivals = max(
        (_support(landmarks_at, minute) for minute in rivals),
        default=0,
    )
    landmarks = _support(landmarks_at, best_minute)
    is_local_time = any(
        zone_s is not None and abs(offset_s - zone_s) <= TOGETHER_S
        for _, _, zone_s in near
    )
    if landmarks < 2 * most_rivals or not (landmarks >= 2 or is_local_time):
        return None
    return round(offset_s)


def _support(landmarks_at: Mapping[int, set[int]], minute: int) -> int:
    # The number of landmarks with about this difference.
    reach = int(TOGETHER_S / 60)
    near = (landmarks_at.get(minute + step, ()) for step in range(-reach, reach + 1))
    return len({landmark_id for landmarks in near for landmark_id in landmarks})


# The most photos that are read of each side, the newest: the clock may have been set since others.
MOST_PHOTOS = 1000
MOST_SIGHTINGS = 200


@dataclass(frozen=True)
class CameraClock:
    """Seconds ahead of UTC; None: it is not known any more."""

    camera: str
    offset_s: int | None


def estimate_clocks(connection: Connection) -> list[CameraClock]:
    """Estimate the clocks of cameras whose photos do not say their time zone. Returns those that changed."""
    changed = []
    # Cameras with a name whose clock no person has set. A folder may hold photos of several cameras.
    is_free = or_(
        cameras.c.clock_source.is_(None),
        cameras.c.clock_source != ClockSource.GIVEN,
    )
    query = select(cameras).where(is_free, is_named()).order_by(cameras.c.id)
    for camera in connection.execute(query).all():
        own = _sightings(
            connection,
            photos.c.camera_id == camera.id,
            photos.c.utc_offset_s.is_(None),
        )
        offset_s = (
            estimate_clock(own, _others(connection, camera.id, own)) if own else None
        )
        if offset_s != camera.clock_offset_s:
            source = None if offset_s is None else ClockSource.ESTIMATED
            values = {"clock_offset_s": offset_s, "clock_source": source}
            connection.execute(
                update(cameras).where(cameras.c.id == camera.id).values(values)
            )
            record_camera(connection, camera.id)
            changed.append(CameraClock(camera.name, offset_s))
    return changed


def _others(
    connection: Connection,
    camera_id: int,
    own: Sequence[Sighting],
) -> list[Sighting]:
    # What other cameras saw, or passed, in the same days, in UTC.
    times = [sighting.at for sighting in own]
    first = clock_time(min(times) - 2 * WIDEST_S)
    last = clock_time(max(times) + 2 * WIDEST_S)
    conditions = (
        photos.c.camera_id != camera_id,
        photos.c.utc_offset_s.is_not(None),
        photos.c.taken_at.between(first, last),
    )
    seen = [
        Sighting(
            sighting.landmark_id,
            sighting.at - sighting.zone_s,
            sighting.zone_s,
        )
        for sighting in _sightings(connection, *conditions)
        if sighting.zone_s is not None
    ]
    newest: Select[Any] = (
        select(
            photos.c.taken_at,
            photos.c.utc_offset_s,
            photos.c.latitude,
            photos.c.longitude,
            photos.c.gps_error_m,
        )
        .where(
            photos.c.latitude.is_not(None),
            photos.c.origin.is_(None),
            *conditions,
        )
        .order_by(photos.c.taken_at.desc(), photos.c.id)
        .limit(MOST_PHOTOS)
    )
    fixes = [
        TimedPosition(
            at=clock_seconds(row.taken_at) - row.utc_offset_s,
            zone_s=row.utc_offset_s,
            latitude=row.latitude,
            longitude=row.longitude,
            error_m=gps_error_m(row),
        )
        for row in connection.execute(newest)
    ]
    # Landmarks that are no point are too large to tell who was beside them.
    is_point = func.coalesce(landmarks.c.extent, "point") == "point"
    is_seen = landmarks.c.id.in_({sighting.landmark_id for sighting in own})
    points = (
        select(landmarks)
        .where(landmarks.c.latitude.is_not(None) & is_point, is_seen)
        .order_by(landmarks.c.id)
    )
    places = {
        row.id: (row.latitude, row.longitude) for row in connection.execute(points)
    }
    return seen + passed_landmarks(fixes, places)


def _sightings(
    connection: Connection, *conditions: ColumnElement[bool]
) -> list[Sighting]:
    # The landmarks in the newest photos with these conditions, in the cameras' own time.
    newest = (
        select(
            photos.c.id,
            photos.c.content_id,
            photos.c.taken_at,
            photos.c.utc_offset_s,
        )
        .where(
            photos.c.origin.is_(None),
            photos.c.taken_at.is_not(None),
            *conditions,
        )
        .order_by(photos.c.taken_at.desc(), photos.c.id)
        .limit(MOST_PHOTOS)
        .subquery()
    )
    query = (
        select(
            effective_tags.c.landmark_id,
            newest.c.taken_at,
            newest.c.utc_offset_s,
        )
        .join(effective_tags, effective_tags.c.content_id == newest.c.content_id)
        .where(effective_tags.c.accepted == true())
        .order_by(
            newest.c.taken_at.desc(),
            newest.c.id,
            effective_tags.c.landmark_id,
        )
        .limit(MOST_SIGHTINGS)
    )
    return [
        Sighting(landmark_id, clock_seconds(taken_at), utc_offset_s)
        for landmark_id, taken_at, utc_offset_s in connection.execute(query)
    ]


@dataclass(frozen=True)
class UnknownClock:
    """A camera, and the number of its photos that were taken around the time of a track."""

    camera: str
    photos: int


def unknown_clocks(database: Database) -> list[UnknownClock]:
    """The cameras whose photos tracks would locate if their clocks were known; most photos first."""
    counts = Counter[str]()
    # Of cameras with an unknown clock, the photos without GPS and without a time zone.
    query = (
        select(cameras.c.name, func.count().label("photos"))
        .join(photos, photos.c.camera_id == cameras.c.id)
        .where(
            is_named(),
            cameras.c.clock_offset_s.is_(None),
            photos.c.utc_offset_s.is_(None),
            photos.c.latitude.is_(None),
            photos.c.origin.is_(None),
            photos.c.gone_since.is_(None),
        )
        .group_by(cameras.c.name)
    )
    with database.read() as connection:
        # The local times that any clock may have shown during tracks, ascending; those that overlap as one.
        earliest = func.min(track_parts.c.first_at)
        latest = func.max(track_parts.c.last_at)
        track_times = (
            select(earliest, latest).group_by(track_parts.c.track_id).order_by(earliest)
        )
        spans: list[tuple[datetime, datetime]] = []
        for first_at, last_at in connection.execute(track_times):
            begin = first_at.replace(tzinfo=None) - LOCAL_TIMES
            end = last_at.replace(tzinfo=None) + LOCAL_TIMES
            if spans and begin <= spans[-1][1]:
                begin, end_of_before = spans.pop()
                end = max(end, end_of_before)
            spans.append((begin, end))
        for first, last in spans:
            is_then = photos.c.taken_at.between(first, last)
            rows = connection.execute(query.where(is_then))
            counts.update({row.name: row.photos for row in rows})
    return [UnknownClock(camera, count) for camera, count in counts.most_common()]
