"""Estimates where a camera was from where it was shortly before and after. Knows nothing of SQL.

Between two anchors, photos whose position is known, a person moves like a Brownian bridge around the straight
line: after t1 seconds, and t2 seconds before the next anchor, the variance is proportional to t1 t2 / (t1 +
t2), and the faster the person moves, the larger it is (Horne et al., "Analyzing animal movements using
Brownian bridges", 2007). With an anchor on one side only, the person can have left in any direction, about as
fast as between the other anchors of that time. An estimate is never an anchor.

The constants are fitted to tracks (docs/explanation/positions.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tagger.geo import EARTH_RADIUS_KM
from tagger.sphere import Floats, unit_vectors

Indices = npt.NDArray[np.int64]
Truth = npt.NDArray[np.bool_]

# A photo with an anchor on one side only is estimated within this time of it.
ONE_ANCHOR_S = 1800.0

# Nobody takes photos at a higher speed. Airliners fly at 250 to 320 m/s over the ground.
MAX_SPEED_M_S = 340.0
# A fix may be this much older than its photo.
CLOCK_SLACK_S = 10.0

# 90 % of positions with the standard deviation 1 on both axes are nearer (Rayleigh distribution).
QUANTILE_90 = math.sqrt(-2 * math.log(0.1))
# Standard deviation on each axis of a person that stays around a place, in m/√s.
WANDERING = 4.0
# The same for a person that has moved on meanwhile, by more than MOVED_M: there and back, and
# around.
ROAMING = 40.0
MOVED_M = 300.0
# The part of two anchors' squared distance that the variance of a bridge has, per t1 t2 / (t1 +
# t2)².
#
# 0: the speed is constant; 1: the person stays at the first anchor, and is at the second one at
# once, at some moment.
DETOUR = 0.4
# Anchors less than MOVED_M apart are bridged over a gap so many times as long, such as a night.
STAY_GAPS = 7.0
# An estimate with a larger error says nothing, and is left out.
MAX_ERROR_M = 50_000.0

# Anchors that are nearer in time, as in a burst, say little about the speed minutes later.
FEW_SECONDS = 60.0
# The least speed that is expected: people who stand will leave.
STANDING_PACE_M_S = 0.7
# The least speed if only anchors of a burst are near in time.
PACE_OF_BURSTS_M_S = 5.0
# The least speed with a single anchor.
UNKNOWN_PACE_M_S = 14.0
# Ways between successive anchors that show the speed: three before and after that of the photo
# (-1).
PACE_LEGS = (-4, -3, -2, 0, 1, 2)


@dataclass(frozen=True)
class PhotoSequence:
    """Photos of one camera in order of time, N of them. Photos that are no anchor have the trust 0."""

    # (N,) Seconds on one clock, ascending.
    at: Floats
    # (N,) Degrees; NaN without an anchor. The same holds for longitude and error.
    latitude: Floats
    longitude: Floats
    error_m: Floats
    # (N,) The larger, the more an anchor is trusted.
    trust: Indices


def sequence_of(rows: Iterable[Iterable[float | None]]) -> PhotoSequence:
    """The sequence of rows in order of time: time, latitude, longitude, error and trust."""
    at, latitude, longitude, error_m, trust = (
        np.array(list(rows), np.float64).reshape(-1, 5).T
    )
    return PhotoSequence(
        at,
        latitude,
        longitude,
        error_m,
        trust.astype(np.int64),
    )


@dataclass(frozen=True)
class Estimates:
    """Positions of photos that are no anchor, and of anchors that are contradicted; NaN: none."""

    latitude: Floats
    longitude: Floats
    # 90 % of true positions are nearer.
    error_m: Floats
    # The anchor before that an estimate follows from; -1: none.
    before: Indices
    after: Indices


def estimate(sequence: PhotoSequence, max_gap_s: float) -> Estimates:
    """Estimate positions between two anchors at most `max_gap_s` apart, or near one.

    With an anchor on one side only, or with a longer gap, a photo gets the position of the nearer anchor if
    that is within ONE_ANCHOR_S. Anchors of one place are bridged for STAY_GAPS times as long.
    """
    is_anchor = sequence.trust > 0
    is_contradicted = contradicted(sequence, max_gap_s)
    anchors = np.flatnonzero(is_anchor & ~is_contradicted)
    photos = np.flatnonzero(~is_anchor | is_contradicted)
    # The anchors before and after each photo; -1: none.
    place = np.searchsorted(anchors, photos)
    padded = np.concatenate([[-1], anchors, [-1]]).astype(np.int64)
    before, after = padded[place], padded[place + 1]
    since_s = sequence.at[photos] - sequence.at[before]
    until_s = sequence.at[after] - sequence.at[photos]
    since = np.where(before >= 0, since_s, np.inf)
    until = np.where(after >= 0, until_s, np.inf)
    is_stay = (
        (before >= 0) & (after >= 0) & (_moved_m(sequence, before, after) <= MOVED_M)
    )
    is_between = since + until <= np.where(is_stay, STAY_GAPS, 1.0) * max_gap_s
    reach_s = min(ONE_ANCHOR_S, max_gap_s)
    is_after = ~is_between & (since <= until) & (since <= reach_s)
    is_before = ~is_between & ~is_after & (until <= reach_s)
    paces = _paces(sequence, anchors, photos, max_gap_s)
    between = _between(
        sequence,
        before,
        after,
        since,
        until,
        is_between,
    )
    behind = _near(sequence, before, since, paces, is_after)
    ahead = _near(sequence, after, until, paces, is_before)
    no_anchor = np.full(len(photos), -1, np.int64)
    size = len(sequence.at)
    estimates = Estimates(
        latitude=np.full(size, np.nan),
        longitude=np.full(size, np.nan),
        error_m=np.full(size, np.nan),
        before=np.full(size, -1, np.int64),
        after=np.full(size, -1, np.int64),
    )
    for chosen, (latitude, longitude, error_m), first, second in (
        (is_between, between, before, after),
        (is_after, behind, before, no_anchor),
        (is_before, ahead, no_anchor, after),
    ):
        says_something = error_m <= MAX_ERROR_M
        located = photos[chosen][says_something]
        estimates.latitude[located] = latitude[says_something]
        estimates.longitude[located] = longitude[says_something]
        estimates.error_m[located] = error_m[says_something]
        estimates.before[located] = first[chosen][says_something]
        estimates.after[located] = second[chosen][says_something]
    return estimates


def contradicted(sequence: PhotoSequence, max_gap_s: float) -> Truth:
    """Anchors that nobody can have reached from others that are trusted as much or more."""
    # The anchors that remain when, of two too far apart to travel, the less trusted one is left out.
    #
    # Of two that are trusted equally, the one that also contradicts its other neighbour is left out, else
    # both.
    remaining = np.flatnonzero(sequence.trust > 0)
    while len(remaining) > 1:
        first, second = remaining[:-1], remaining[1:]
        seconds = sequence.at[second] - sequence.at[first]
        most_m = MAX_SPEED_M_S * (seconds + CLOCK_SLACK_S)
        is_too_far = _moved_m(sequence, first, second) > most_m
        is_too_fast = is_too_far & (seconds <= max_gap_s)
        if not is_too_fast.any():
            break
        # Which of the anchors (N,) to leave out, by the contradictions between successive ones (N - 1,).
        trust_before, trust_after = sequence.trust[first], sequence.trust[second]
        none = np.zeros(1, np.bool_)
        contradicts_earlier = np.concatenate([none, is_too_fast[:-1]])
        contradicts_later = np.concatenate([is_too_fast[1:], none])
        is_even = trust_before == trust_after
        only_first = is_even & contradicts_earlier & ~contradicts_later
        only_second = is_even & contradicts_later & ~contradicts_earlier
        blames_first = is_too_fast & (
            (trust_before < trust_after) | (is_even & ~only_second)
        )
        blames_second = is_too_fast & (
            (trust_after < trust_before) | (is_even & ~only_first)
        )
        is_blamed = np.concatenate([blames_first, none])
        is_blamed |= np.concatenate([none, blames_second])
        remaining = remaining[~is_blamed]
    reachable: Truth = np.zeros(len(sequence.at), np.bool_)
    reachable[remaining] = True
    return (sequence.trust > 0) & ~reachable


def reach_s(max_gap_s: float) -> float:
    """The longest time, in seconds, between a photo and those that its estimate depends on."""
    return STAY_GAPS * max_gap_s


def distances_m(
    latitude: Floats,
    longitude: Floats,
    to_latitude: Floats,
    to_longitude: Floats,
) -> Floats:
    """Great-circle distances between positions in degrees (haversine formula)."""
    phi, to_phi = np.radians(latitude), np.radians(to_latitude)
    half_lambda = np.radians(to_longitude - longitude) / 2
    north = np.sin((to_phi - phi) / 2) ** 2
    east = np.cos(phi) * np.cos(to_phi) * np.sin(half_lambda) ** 2
    # Rounding can take opposite sides of the earth above 1.
    half_chord = np.sqrt(np.minimum(1.0, north + east))
    return np.asarray(2000 * EARTH_RADIUS_KM * np.arcsin(half_chord))


def interpolate(
    latitude: Floats,
    longitude: Floats,
    to_latitude: Floats,
    to_longitude: Floats,
    fraction: Floats,
) -> tuple[Floats, Floats]:
    """Points on great circles: `fraction` 0 is the first position of each, 1 the second."""
    start, end = (
        unit_vectors(latitude, longitude),
        unit_vectors(to_latitude, to_longitude),
    )
    angle = np.arccos(np.clip(np.sum(start * end, axis=0), -1.0, 1.0))
    sine = np.sin(angle)
    is_short = (
        sine < 1e-9
    )  # the same position, or opposite ones, between which any way is right
    safe = np.where(is_short, 1.0, sine)
    first = np.where(
        is_short,
        1 - fraction,
        np.sin((1 - fraction) * angle) / safe,
    )
    second = np.where(
        is_short,
        fraction,
        np.sin(fraction * angle) / safe,
    )
    x, y, z = first * start + second * end
    latitudes = np.degrees(np.arctan2(z, np.hypot(x, y)))
    longitudes = np.degrees(np.arctan2(y, x))
    return latitudes, longitudes


def _moved_m(sequence: PhotoSequence, first: Indices, second: Indices) -> Floats:
    # How far the anchors are apart beyond their errors; 0 or less: they may be at one place.
    distance = distances_m(
        *_positions(sequence, first),
        *_positions(sequence, second),
    )
    return distance - sequence.error_m[first] - sequence.error_m[second]


def _positions(sequence: PhotoSequence, anchors: Indices) -> tuple[Floats, Floats]:
    return sequence.latitude[anchors], sequence.longitude[anchors]


def _paces(
    sequence: PhotoSequence, anchors: Indices, photos: Indices, max_gap_s: float
) -> Floats:
    # The speed (photos,) expected around each photo: the highest between successive anchors near it.
    legs_s = np.diff(sequence.at[anchors])
    speeds = np.maximum(
        0.0,
        _moved_m(sequence, anchors[:-1], anchors[1:]),
    ) / np.maximum(legs_s, CLOCK_SLACK_S)
    place = np.searchsorted(anchors, photos)
    pace = np.zeros(len(photos))
    is_known, is_of_burst = (np.zeros(len(photos), np.bool_) for _ in range(2))
    for offset in PACE_LEGS:
        exists = (place + offset >= 0) & (place + offset < len(legs_s))
        leg = np.where(exists, place + offset, 0)
        if not exists.any():
            continue
        nearer_end = anchors[leg + (offset < 0)]
        away_s = np.abs(sequence.at[nearer_end] - sequence.at[photos])
        is_near = exists & (away_s <= max_gap_s) & (legs_s[leg] <= max_gap_s)
        pace = np.where(
            is_near,
            np.maximum(pace, speeds[leg]),
            pace,
        )
        is_known |= is_near & (legs_s[leg] >= FEW_SECONDS)
        is_of_burst |= is_near
    least = np.select(
        [is_known, is_of_burst],
        [STANDING_PACE_M_S, PACE_OF_BURSTS_M_S],
        UNKNOWN_PACE_M_S,
    )
    return np.asarray(np.maximum(pace, least))


def _between(
    sequence: PhotoSequence,
    before: Indices,
    after: Indices,
    since: Floats,
    until: Floats,
    chosen: Truth,
) -> tuple[Floats, Floats, Floats]:
    before = before[chosen]
    after = after[chosen]
    since = since[chosen]
    until = until[chosen]
    gap = since + until
    # Photos of the same second as both anchors lie in the middle.
    fraction = np.where(
        gap > 0,
        since / np.where(gap > 0, gap, 1.0),
        0.5,
    )
    ends = (
        *_positions(sequence, before),
        *_positions(sequence, after),
    )
    latitude, longitude = interpolate(*ends, fraction)
    deviation_before, deviation_after = (
        _deviations(sequence, before),
        _deviations(sequence, after),
    )
    squared_m = distances_m(*ends) ** 2
    errors_m = sequence.error_m[before] + sequence.error_m[after]
    has_moved = squared_m / (squared_m + MOVED_M**2 + errors_m**2)
    variance = (
        ((1 - fraction) * deviation_before) ** 2
        + (fraction * deviation_after) ** 2
        + (WANDERING**2 + ROAMING**2 * has_moved) * gap * fraction * (1 - fraction)
        + DETOUR * squared_m * fraction * (1 - fraction)
    )
    return latitude, longitude, QUANTILE_90 * np.sqrt(variance)


def _near(
    sequence: PhotoSequence,
    anchor: Indices,
    seconds: Floats,
    paces: Floats,
    chosen: Truth,
) -> tuple[Floats, Floats, Floats]:
    anchor = anchor[chosen]
    seconds = seconds[chosen]
    paces = paces[chosen]
    wandered_m2 = QUANTILE_90**2 * WANDERING**2 * seconds
    # The speed that 90 % do not exceed: those who stood may walk, those who walked may take a bus.
    leaving_m_s = 0.5 + 2.5 * np.sqrt(paces) + 1.2 * paces
    left_m2 = (leaving_m_s * seconds) ** 2
    error_m = np.sqrt(sequence.error_m[anchor] ** 2 + wandered_m2 + left_m2)
    return *_positions(sequence, anchor), error_m


def _deviations(sequence: PhotoSequence, anchors: Indices) -> Floats:
    return np.asarray(sequence.error_m[anchors] / QUANTILE_90)
