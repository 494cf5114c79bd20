"""Where a camera was, by its GPS, before and after photos that have none: nobody reaches a landmark too far away in that time.

Only the GPS of the camera itself is evidence, not positions that follow from landmarks, tracks or other photos.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import pi
from typing import Any

from sqlalchemy import Connection, Row, or_

from tagger.database.statements import among
from tagger.database.tables import photos
from tagger.library.catalog.cameras import LOCAL_TIMES
from tagger.library.catalog.landmarks import farthest_km
from tagger.library.positions.estimation import CLOCK_SLACK_S, MAX_SPEED_M_S
from tagger.library.positions.evidence import Shot, read_photos, shots_of
from tagger.library.positions.measured_positions import contradicted_shots, rows_around, runs_of_cameras
from tagger.system.geo import EARTH_RADIUS_KM, distance_km

REACH = timedelta(seconds=1000 * pi * EARTH_RADIUS_KM / MAX_SPEED_M_S) + LOCAL_TIMES
"""In this time, the other side of the world is reached; local times of one moment differ as well."""
DEGREES_PER_HOUR = 15.0
"""A clock without a time zone may have been set to the time of the other place."""


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
class Passage:
    """A photo without GPS between those with GPS that its camera took last before and first after it: at least one of them."""

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


def passages(connection: Connection, content_ids: Collection[int], max_gap_s: float) -> Iterator[Passage]:
    """The passages of photos of these images. Photos without a time or camera, screenshots and edited pictures have none."""
    of_images = among(photos.c.content_id, content_ids)
    is_without_gps = photos.c.latitude.is_(None), photos.c.origin.is_(None)
    for camera_id, run in runs_of_cameras(connection, REACH, of_images, *is_without_gps):
        yield from _passages_of(connection, camera_id, run, max_gap_s)


def _passages_of(
    connection: Connection, camera_id: int, run: Sequence[Row[Any]], max_gap_s: float
) -> Iterator[Passage]:
    """Those of photos of a camera. What is around them is read once; each is judged by the photos within REACH alone."""
    around = photos.c.taken_at.between(run[0].taken_at - REACH, run[-1].taken_at + REACH)
    is_of_run = among(photos.c.id, [row.id for row in run])
    is_needed = or_(photos.c.latitude.is_not(None), is_of_run)
    rows = read_photos(connection, photos.c.camera_id == camera_id, around, is_needed)
    with_gps = [row for row in rows if row.latitude is not None]
    by_id = {row.id: row for row in rows}
    for photo in run:
        near = rows_around(with_gps, photo.taken_at, REACH)
        if near and photo.id in by_id:
            yield from _passage(near, by_id[photo.id], max_gap_s)


def _passage(near: Sequence[Row[Any]], photo: Row[Any], max_gap_s: float) -> Iterator[Passage]:
    """The passage of a photo between those with GPS, if it has one."""
    wrong = contradicted_shots(near, max_gap_s)
    rows = sorted([*near, photo], key=lambda row: (row.taken_at, row.id))
    line = [shot for shot in shots_of(rows, {}) if shot.is_original and shot.photo_id not in wrong]
    place = next(index for index, shot in enumerate(line) if shot.photo_id == photo.id)
    taken = line[place]
    before, after = map(_whereabouts, (line[max(place - 1, 0) : place], line[place + 1 : place + 2]))
    if taken.at is not None and (before or after):
        yield Passage(photo.content_id, Moment(taken.at, taken.is_utc), before, after)


def _whereabouts(shots: Sequence[Shot]) -> Whereabouts | None:
    """Those of the first photo, if it has a time."""
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
