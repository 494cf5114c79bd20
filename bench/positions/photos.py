"""Photos that a person with a phone and a camera could have taken on a track, drawn with a seed.

Nobody publishes a library with its photos, its tracks and a licence that allows their use, so only the movement is real. What is
drawn: bursts of 1 to 8 photos, minutes to hours apart and mostly where the person stops; the phone's GPS error, at times a position
that is some minutes old; a camera without GPS with a clock that is right, minutes off, or hours off because it stays in the
time zone or daylight saving time of home, and that is set during the trip at times; half of these cameras say their time zone; landmarks on
some photos of the camera, and of the phone where it has GPS, some of them recognised wrongly; photos without a date.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bench.positions.movement import STEP_S, Movement
from tagger.positions.estimation import QUANTILE_90, Floats, Indices, Truth

PHONE, CAMERA = 0, 1
DEVICES = ("phone", "camera")

BURST_GAP_S = 900.0
"""Median time between bursts; two thirds of the times are within a factor of e^BURST_SPREAD."""
BURST_SPREAD = 1.2
MOST_IN_BURST = 8
IN_BURST_S = 12.0
STOP_WINDOW = 30
"""Steps: a burst is taken at the slowest moment within five minutes …"""
STOPS = 0.7
"""… with this probability, otherwise wherever the person is."""
CAMERA_SHARE = 0.35

PHONE_ERROR_M = (5.0, 30.0)
STALE = 0.03
STALE_S = 900.0
LANDMARK_PLACES = 0.5
"""Of the cells of a map with a landmark, …"""
LANDMARK_CELL = 0.005
"""… whose sides are so many degrees, …"""
LANDMARK_BURSTS = 0.5
"""… and of the bursts there that show it."""
LANDMARK_ERROR_M = (200.0, 500.0)
WRONG_LANDMARKS = 0.02
WRONG_KM = (30.0, 9000.0)
UNDATED = 0.02
CLOCK_RIGHT_S = 30.0
CLOCK_MINUTES_S = 1200.0
CLOCK_HOURS = (-9, 9)
CLOCK_ZONE = 0.5
"""Cameras that write the time zone that they are set to."""
CLOCK_SET = 0.3
"""Cameras whose clock is set, to the right time, during the trip."""
M_PER_DEGREE = 111_195.0


@dataclass(frozen=True)
class Photos:
    """Photos of one person, N of them, in order of the time when they were taken."""

    at: Floats
    """(N,) Seconds since 1970 UTC when the photo was taken."""
    clock: Floats
    """(N,) What the device's clock showed: UTC for the phone, the local time of somewhere for the camera."""
    utc: Floats
    """(N,) What programs that know the place's time zone take for `at`."""
    is_dated: Truth
    device: Indices
    latitude: Floats
    """(N,) Where the photo was taken. So is longitude."""
    longitude: Floats
    gps_latitude: Floats
    """(N,) What the file says; not a number: no GPS, or hidden. So are longitude and error."""
    gps_longitude: Floats
    gps_error_m: Floats
    landmark_latitude: Floats
    """(N,) Of the landmark that was recognised; not a number: none. So are longitude and error."""
    landmark_longitude: Floats
    landmark_error_m: Floats
    landmark_id: Indices
    """(N,) -1: none."""
    zone_s: Floats
    """(N,) How far the clock is ahead of UTC, as the file says; not a number: it does not say."""
    kind: Indices

    def __len__(self) -> int:
        return len(self.at)

    def only(self, chosen: Truth | Indices) -> Photos:
        """Return some of the photos."""
        return Photos(*(getattr(self, field.name)[chosen] for field in fields(self)))


def take_photos(movement: Movement, hidden: float, generator: np.random.Generator) -> Photos:
    """Draw the photos of one person; bursts of the phone lose their GPS with the probability `hidden`."""
    bursts = _draw_bursts(movement, generator)
    sizes = np.minimum(generator.geometric(0.4, len(bursts)), MOST_IN_BURST)
    burst = np.repeat(np.arange(len(bursts)), sizes)
    within_s = generator.uniform(0, 2 * IN_BURST_S, len(burst))
    start = np.repeat(np.cumsum(sizes) - sizes, sizes)
    waited = np.cumsum(within_s)
    seconds = waited - waited[start] if len(burst) else waited
    index = np.minimum(bursts[burst] + np.round(seconds / STEP_S).astype(np.int64), len(movement.at) - 1)
    # A burst at the end of a known span has no position beyond it.
    is_known = movement.at[index] - movement.at[bursts[burst]] <= seconds + STEP_S
    index, burst, seconds = index[is_known], burst[is_known], seconds[is_known]
    at = movement.at[bursts[burst]] + seconds
    order = np.argsort(at, kind="stable")
    index, burst, at = index[order], burst[order], at[order]

    device = np.where(generator.random(len(bursts)) < CAMERA_SHARE, CAMERA, PHONE)[burst]
    is_hidden = (generator.random(len(bursts)) < hidden)[burst] | (device == CAMERA)
    latitude, longitude = movement.latitude[index], movement.longitude[index]
    gps = _gps(movement, index, at, generator)
    landmark_id = _landmark_ids(latitude, longitude, burst, is_hidden & (device == PHONE), generator)
    landmark = _landmarks(latitude, longitude, landmark_id, generator)
    camera_ahead_s, camera_zone_s = _camera_clock(movement, at, generator)
    ahead_s = np.where(device == CAMERA, camera_ahead_s, 0.0)
    zone_s = np.where(device == CAMERA, _zone_s(movement, at), 0.0)
    return Photos(
        at=at,
        clock=at + ahead_s,
        utc=at + ahead_s - zone_s,
        is_dated=generator.random(len(at)) >= UNDATED,
        device=device,
        latitude=latitude,
        longitude=longitude,
        gps_latitude=np.where(is_hidden, np.nan, gps[0]),
        gps_longitude=np.where(is_hidden, np.nan, gps[1]),
        gps_error_m=np.where(is_hidden, np.nan, gps[2]),
        landmark_latitude=landmark[0],
        landmark_longitude=landmark[1],
        landmark_error_m=landmark[2],
        landmark_id=landmark_id,
        zone_s=np.where(device == CAMERA, camera_zone_s, 0.0),
        kind=movement.kind[index],
    )


def _draw_bursts(movement: Movement, generator: np.random.Generator) -> Indices:
    """Return steps of the movement (B,), ascending."""
    steps = []
    at = movement.at[0]
    while at < movement.at[-1]:
        at += BURST_GAP_S * float(np.exp(BURST_SPREAD * generator.standard_normal()))
        step = int(np.searchsorted(movement.at, at))
        stops = generator.random() < STOPS
        if step < len(movement.at) and movement.at[step] - at <= STEP_S:
            steps.append(_slowest(movement, step) if stops else step)
        else:  # nothing is known here: the next photo is taken when it is
            at = movement.at[min(step, len(movement.at) - 1)]
    return np.unique(np.array(steps, np.int64))


def _slowest(movement: Movement, step: int) -> int:
    first = max(0, step - STOP_WINDOW)
    nearby = slice(first, step + STOP_WINDOW + 1)
    is_near = np.abs(movement.at[nearby] - movement.at[step]) <= STOP_WINDOW * STEP_S
    return first + int(np.argmin(np.where(is_near, movement.speed_m_s[nearby], np.inf)))


def _gps(
    movement: Movement, index: Indices, at: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    age_s = np.where(generator.random(len(at)) < STALE, generator.uniform(0, STALE_S, len(at)), 0.0)
    seen = np.where(age_s > 0, np.searchsorted(movement.at, at - age_s), index)
    error_m = generator.uniform(*PHONE_ERROR_M, len(at))
    latitude, longitude = _displaced(movement.latitude[seen], movement.longitude[seen], error_m, generator)
    return latitude, longitude, error_m


def _landmark_ids(
    latitude: Floats, longitude: Floats, burst: Indices, has_none: Truth, generator: np.random.Generator
) -> Indices:
    """The landmark that one photo in some bursts shows; -1: none. Each cell of the map has one, or none."""
    count = int(burst.max(initial=-1)) + 1
    is_first = np.concatenate([[True], burst[1:] != burst[:-1]])[: len(burst)]
    cells = np.stack([np.round(latitude / LANDMARK_CELL), np.round(longitude / LANDMARK_CELL)], axis=-1)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    has_landmark = (generator.random(len(cells)) < LANDMARK_PLACES)[cell.reshape(-1)]
    shown = is_first & has_landmark & ~has_none & (generator.random(count) < LANDMARK_BURSTS)[burst]
    return np.where(shown, cell.reshape(-1), -1)


def _landmarks(
    latitude: Floats, longitude: Floats, landmark_id: Indices, generator: np.random.Generator
) -> tuple[Floats, Floats, Floats]:
    """The positions of landmarks: photos of 90 % are taken within their error, unless they are recognised wrongly."""
    error_m = generator.uniform(*LANDMARK_ERROR_M, len(landmark_id))
    latitudes, longitudes = _displaced(latitude, longitude, error_m, generator)
    is_wrong = generator.random(len(landmark_id)) < WRONG_LANDMARKS
    nearest_log, farthest_log = np.log(WRONG_KM)
    distance_m = 1000 * np.exp(generator.uniform(nearest_log, farthest_log, len(landmark_id)))
    bearing = generator.uniform(0, 2 * np.pi, len(landmark_id))
    wrong = _moved(latitude, longitude, distance_m * np.sin(bearing) / 2, distance_m * np.cos(bearing))
    landmark = (np.where(is_wrong, wrong[0], latitudes), np.where(is_wrong, wrong[1], longitudes), error_m)
    latitudes, longitudes, error_m = (np.where(landmark_id >= 0, values, np.nan) for values in landmark)
    return latitudes, longitudes, error_m


def _displaced(
    latitude: Floats, longitude: Floats, error_m: Floats, generator: np.random.Generator
) -> tuple[Floats, Floats]:
    """Positions of which 90 % lie within the error."""
    north, east = generator.standard_normal((2, len(latitude))) * error_m / QUANTILE_90
    return _moved(latitude, longitude, north, east)


def _moved(latitude: Floats, longitude: Floats, north_m: Floats, east_m: Floats) -> tuple[Floats, Floats]:
    moved = np.clip(latitude + north_m / M_PER_DEGREE, -89.0, 89.0)
    east = east_m / (M_PER_DEGREE * np.cos(np.radians(latitude)))
    return moved, (longitude + east + 180) % 360 - 180


def _camera_clock(movement: Movement, at: Floats, generator: np.random.Generator) -> tuple[Floats, Floats]:
    """What the camera's clock is ahead of UTC, in seconds (N,), and what it says it is: local time where it was set, with an error."""
    home_s = _zone_s(movement, movement.at[:1])
    error_s, hours_s = (
        (generator.uniform(-CLOCK_RIGHT_S, CLOCK_RIGHT_S), 0.0),
        (generator.uniform(-CLOCK_MINUTES_S, CLOCK_MINUTES_S), 0.0),
        (0.0, 3600.0 * generator.integers(*CLOCK_HOURS)),
    )[generator.integers(3)]
    set_at = movement.at[generator.integers(len(movement.at), size=1)]
    is_set = (at >= set_at) & (generator.random() < CLOCK_SET)
    zone_s = np.where(is_set, _zone_s(movement, set_at), home_s + hours_s)
    says_zone = generator.random() < CLOCK_ZONE
    return zone_s + np.where(is_set, 0.0, error_s), np.where(says_zone, zone_s, np.nan)


def _zone_s(movement: Movement, at: Floats) -> Floats:
    """Nautical time zones: every 15 degrees an hour."""
    longitude = np.interp(at, movement.at, np.unwrap(movement.longitude, period=360))
    return 3600 * np.round(longitude / 15)
