"""Estimates how cameras' clocks are set, from landmarks that they photographed, and others photographed or passed at about the same time.

Knows nothing of SQL. A camera without a time zone and a phone that says its own were both at the Colosseum: the difference of
their times at several landmarks tells how far the camera's clock is ahead of UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from tagger.library.catalog.camera_times import LOCAL_TIMES
from tagger.library.positions.estimation import distances_m

TOGETHER_S = 900.0
"""Photos of one landmark that are this near in time may be of one visit."""
VISIT_S = 300.0
WIDEST_S = LOCAL_TIMES.total_seconds()


@dataclass(frozen=True)
class Sighting:
    """A landmark in a photo, and when: seconds since 1970. `zone_s`: how far local time was ahead of UTC there, if known."""

    landmark_id: int
    at: float
    zone_s: int | None = None


@dataclass(frozen=True)
class Passage:
    """A photo with GPS, and when, in UTC: it may have been taken beside a landmark, whatever it shows."""

    at: float
    zone_s: int
    latitude: float
    longitude: float
    error_m: float


@dataclass(frozen=True)
class Site:
    """A landmark in degrees. Photos of it are taken within `error_m`."""

    landmark_id: int
    latitude: float
    longitude: float
    error_m: float


def passed_landmarks(passages: Sequence[Passage], sites: Sequence[Site]) -> list[Sighting]:
    """The landmarks that photos were taken beside, one of each in VISIT_S."""
    latitude, longitude, error_m = (
        [np.array([getattr(each, name) for each in places]) for places in (passages, sites)]
        for name in ("latitude", "longitude", "error_m")
    )
    distance_m = distances_m(latitude[0][:, None], longitude[0][:, None], latitude[1], longitude[1])
    found = {}
    for passage, site in np.argwhere(distance_m <= error_m[0][:, None] + error_m[1]).tolist():
        at, landmark_id = passages[passage].at, sites[site].landmark_id
        found[at // VISIT_S, landmark_id] = Sighting(landmark_id, at, passages[passage].zone_s)
    return list(found.values())


def estimate_clock(own: Sequence[Sighting], others: Sequence[Sighting]) -> int | None:
    """How far a camera's clock is ahead of UTC, in seconds; None: the sightings do not tell.

    Two landmarks must agree within TOGETHER_S, and twice as many as on any other difference. One landmark is enough if the
    camera then shows about the local time of the others.

    Args:
        own: the camera's, in its own time.
        others: those of other cameras, in UTC.
    """
    differences = [
        (mine.at - theirs.at, mine.landmark_id, theirs.zone_s)
        for mine in own
        for theirs in others
        if mine.landmark_id == theirs.landmark_id and abs(mine.at - theirs.at) <= WIDEST_S
    ]
    if not differences:
        return None
    landmarks_at = _landmarks_by_minute(differences)
    best_minute = max(landmarks_at, key=lambda minute: (_support(landmarks_at, minute), -abs(minute)))
    near = [each for each in differences if abs(each[0] - 60 * best_minute) <= TOGETHER_S]
    offset_s = median(difference for difference, _, _ in near)
    rivals = [minute for minute in landmarks_at if abs(60 * minute - offset_s) > 2 * TOGETHER_S]
    most_rivals = max((_support(landmarks_at, minute) for minute in rivals), default=0)
    landmarks = _support(landmarks_at, best_minute)
    is_local_time = any(zone_s is not None and abs(offset_s - zone_s) <= TOGETHER_S for _, _, zone_s in near)
    if landmarks < 2 * most_rivals or not (landmarks >= 2 or is_local_time):
        return None
    return round(offset_s)


def _landmarks_by_minute(differences: Iterable[tuple[float, int, int | None]]) -> dict[int, set[int]]:
    """The landmarks that were photographed with each difference, in whole minutes: few, however many photos there are."""
    landmarks_at: dict[int, set[int]] = {}
    for difference, landmark_id, _ in differences:
        landmarks_at.setdefault(round(difference / 60), set()).add(landmark_id)
    return landmarks_at


def _support(landmarks_at: Mapping[int, set[int]], minute: int) -> int:
    """The number of landmarks with about this difference."""
    reach = int(TOGETHER_S / 60)
    near = (landmarks_at.get(minute + step, ()) for step in range(-reach, reach + 1))
    return len({landmark_id for landmarks in near for landmark_id in landmarks})
