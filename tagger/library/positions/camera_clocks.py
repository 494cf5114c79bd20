"""The clocks of cameras in the database: estimated from photos, unless a person has set them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, true, update

from tagger.database.enums import ClockSource
from tagger.database.statements import pages
from tagger.database.tables import cameras, effective_tags, landmarks, photos
from tagger.library.catalog.camera_times import clock_seconds, clock_time
from tagger.library.catalog.cameras import is_named
from tagger.library.catalog.position_changes import record_camera
from tagger.library.positions.clocks import (
    WIDEST_S,
    Passage,
    Sighting,
    Site,
    estimate_clock,
    passed_landmarks,
)
from tagger.library.positions.evidence import CAMERA_ERROR_M, LANDMARK_ERROR_M

MOST_PHOTOS = 1000
"""Of each side, the newest ones: the clock may have been set since the others were taken."""
MOST_SIGHTINGS = 200


@dataclass(frozen=True)
class CameraClock:
    """How far the clock of a camera is ahead of UTC, in seconds; None: it is not known any more."""

    camera: str
    offset_s: int | None


def estimate_clocks(connection: Connection) -> list[CameraClock]:
    """Estimate the clocks of cameras whose photos do not say their time zone. Returns those that changed."""
    changed = []
    for camera in connection.execute(_cameras()).all():
        own = _sightings(connection, photos.c.camera_id == camera.id, photos.c.utc_offset_s.is_(None))
        offset_s = estimate_clock(own, _others(connection, camera.id, own)) if own else None
        if offset_s != camera.clock_offset_s:
            source = None if offset_s is None else ClockSource.ESTIMATED
            values = {"clock_offset_s": offset_s, "clock_source": source}
            connection.execute(update(cameras).where(cameras.c.id == camera.id).values(values))
            record_camera(connection, camera.id)
            changed.append(CameraClock(camera.name, offset_s))
    return changed


def _cameras() -> Select[Any]:
    """Cameras with a name of their own whose clock no person has set. A folder may hold photos of several cameras."""
    is_free = or_(cameras.c.clock_source.is_(None), cameras.c.clock_source != ClockSource.GIVEN)
    return select(cameras).where(is_free, is_named()).order_by(cameras.c.id)


def _others(connection: Connection, camera_id: int, own: Sequence[Sighting]) -> list[Sighting]:
    """What other cameras saw, or passed, in the same days, in UTC."""
    times = [each.at for each in own]
    first, last = clock_time(min(times) - 2 * WIDEST_S), clock_time(max(times) + 2 * WIDEST_S)
    conditions = (
        photos.c.camera_id != camera_id,
        photos.c.utc_offset_s.is_not(None),
        photos.c.taken_at.between(first, last),
    )
    seen = [
        Sighting(each.landmark_id, each.at - each.zone_s, each.zone_s)
        for each in _sightings(connection, *conditions)
        if each.zone_s is not None
    ]
    passages = _passages(connection, *conditions)
    return seen + passed_landmarks(passages, _sites(connection, {each.landmark_id for each in own}))


def _passages(connection: Connection, *conditions: ColumnElement[bool]) -> list[Passage]:
    """The newest photos with GPS, and with these conditions."""
    query = (
        select(
            photos.c.taken_at,
            photos.c.utc_offset_s,
            photos.c.latitude,
            photos.c.longitude,
            photos.c.gps_error_m,
        )
        .where(photos.c.latitude.is_not(None), photos.c.origin.is_(None), *conditions)
        .order_by(photos.c.taken_at.desc(), photos.c.id)
        .limit(MOST_PHOTOS)
    )
    return [
        Passage(
            clock_seconds(row.taken_at) - row.utc_offset_s,
            row.utc_offset_s,
            row.latitude,
            row.longitude,
            CAMERA_ERROR_M if row.gps_error_m is None else row.gps_error_m,
        )
        for row in connection.execute(query)
    ]


def _sites(connection: Connection, landmark_ids: Collection[int]) -> list[Site]:
    """Landmarks that are one point: beside others is everywhere around."""
    is_point = landmarks.c.latitude.is_not(None) & (func.coalesce(landmarks.c.extent, "point") == "point")
    query = select(landmarks.c.id, landmarks.c.latitude, landmarks.c.longitude).where(
        is_point, landmarks.c.id.in_(landmark_ids)
    )
    return [
        Site(row.id, row.latitude, row.longitude, LANDMARK_ERROR_M["point"])
        for row in connection.execute(query.order_by(landmarks.c.id))
    ]


def _sightings(connection: Connection, *conditions: ColumnElement[bool]) -> list[Sighting]:
    """The landmarks in the newest photos with these conditions, in the cameras' own time."""
    query = (
        select(photos.c.content_id, photos.c.taken_at, photos.c.utc_offset_s)
        .where(photos.c.content_id.is_not(None), photos.c.origin.is_(None), *conditions)
        .order_by(photos.c.taken_at.desc(), photos.c.id)
        .limit(MOST_PHOTOS)
    )
    rows = [row for row in connection.execute(query) if row.taken_at is not None]
    found: list[Sighting] = []
    for page in pages(rows):
        landmarks_of = _accepted(connection, {row.content_id for row in page})
        found += [
            Sighting(landmark_id, clock_seconds(row.taken_at), row.utc_offset_s)
            for row in page
            for landmark_id in landmarks_of.get(row.content_id, ())
        ]
    return found[:MOST_SIGHTINGS]


def _accepted(connection: Connection, content_ids: Collection[int]) -> dict[int, list[int]]:
    """The accepted landmarks of images, by content id."""
    query = (
        select(effective_tags.c.content_id, effective_tags.c.landmark_id)
        .where(effective_tags.c.content_id.in_(content_ids), effective_tags.c.accepted == true())
        .order_by(effective_tags.c.content_id, effective_tags.c.landmark_id)
    )
    landmarks_of: dict[int, list[int]] = {}
    for row in connection.execute(query):
        landmarks_of.setdefault(row.content_id, []).append(row.landmark_id)
    return landmarks_of
