"""What cameras say of each other: whose clock is wrong by how much, and which were together.

A camera without a time zone and a phone that says its own were both at the Colosseum: the difference of their
times at several landmarks tells how far the camera's clock is ahead of UTC. Cameras whose photos may be on
tracks, but whose clocks are unknown, are listed too.

Where a camera was at some time follows from its own anchors (see estimation). An anchor of another camera at
that time agrees with this, or contradicts it, or nothing follows: nobody knows where a camera on the motorway
was half an hour later. Cameras are used together where their newest photos and those of others at that time
were taken nearby.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import product
from statistics import median
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    or_,
    select,
    true,
    update,
)

from tagger.cameras import LOCAL_TIMES, clock_seconds, clock_time, is_named
from tagger.database import ClockSource, PositionSource
from tagger.database.connection import Database
from tagger.database.statements import among
from tagger.database.tables import (
    cameras,
    effective_tags,
    landmarks,
    photos,
    track_parts,
)
from tagger.positions import estimation
from tagger.positions.estimation import (
    Indices,
    PhotoSequence,
    Truth,
    distances_m,
    sequence_of,
)
from tagger.positions.evidence import LANDMARK_ERROR_M, TRUST, gps_error_m, read_shots
from tagger.sphere import Floats
from tagger.tags import record_camera, record_matching_photos

# Photos of one landmark that are this near in time may be of one visit.
AGREEMENT_S = 900.0
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

    At least two landmarks must agree on a difference within AGREEMENT_S, and twice as many as on any other.
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
        each for each in differences if abs(each[0] - 60 * best_minute) <= AGREEMENT_S
    ]
    offset_s = median(difference for difference, _, _ in near)
    rivals = [
        minute
        for minute in landmarks_at
        if abs(60 * minute - offset_s) > 2 * AGREEMENT_S
    ]
    most_rivals = max(
        (_support(landmarks_at, minute) for minute in rivals),
        default=0,
    )
    landmarks = _support(landmarks_at, best_minute)
    is_local_time = any(
        zone_s is not None and abs(offset_s - zone_s) <= AGREEMENT_S
        for _, _, zone_s in near
    )
    if landmarks < 2 * most_rivals or not (landmarks >= 2 or is_local_time):
        return None
    return round(offset_s)


def _support(landmarks_at: Mapping[int, set[int]], minute: int) -> int:
    # The number of landmarks with about this difference.
    reach = int(AGREEMENT_S / 60)
    near = (landmarks_at.get(minute + step, ()) for step in range(-reach, reach + 1))
    return len({landmark_id for landmarks in near for landmark_id in landmarks})


# The most photos that are read of each side, the newest: the clock may have been set since others.
MOST_DATED_PHOTOS = 1000
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
        .limit(MOST_DATED_PHOTOS)
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
        .limit(MOST_DATED_PHOTOS)
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


# Anchors of two cameras are compared if they are this near in time.
TOGETHER_S = 1800.0
# People who are together are nearer to each other than this, apart from the errors of anchors.
TOGETHER_M = 1000.0
# An anchor with a larger error, such as a landmark that is an area, does not tell who was there
# together.
MAX_ERROR_M = 2000.0
MAX_GAP_S = 7200.0

OCCASION_S = 3600.0
LEAST_OCCASIONS = 3
# The least share of occasions that agree. A few contradict even for cameras in one bag.
LEAST_AGREEMENT = 0.9
# All occasions at the usual place count as one: people who live together need not go out together.
USUAL_PLACE_M = 2000.0
# A companion's anchor is left out if most anchors so near in time contradict: its owner is
# elsewhere.
OUTING_S = 6 * 3600.0

_AGREES, _CONTRADICTS = 1, -1


@dataclass(frozen=True)
class CoLocations:
    """`elsewhere`: not at their usual place."""

    agreeing: int
    elsewhere: int
    contradicting: int

    @property
    def occasions(self) -> int:
        return self.agreeing + self.contradicting

    @property
    def are_companions(self) -> bool:
        return self.elsewhere >= LEAST_OCCASIONS - 1 and not self.are_apart

    @property
    def are_apart(self) -> bool:
        return self.agreeing < LEAST_AGREEMENT * self.occasions


def count_co_locations(first: PhotoSequence, second: PhotoSequence) -> CoLocations:
    """Compare the anchors of two cameras, which are in order of UTC."""
    first = _select(first, first.error_m <= MAX_ERROR_M)
    second = _select(second, second.error_m <= MAX_ERROR_M)
    at, says = _votes(first, second)
    latitude = np.concatenate([second.latitude, first.latitude])
    longitude = np.concatenate([second.longitude, first.longitude])
    _, occasion = np.unique(at // OCCASION_S, return_inverse=True)
    votes = np.bincount(occasion, says)
    # Of each occasion on which more agree than contradict, the first that agrees.
    _, example = np.unique(
        np.where(says == _AGREES, occasion, -1),
        return_index=True,
    )
    agrees = (says[example] == _AGREES) & (votes[occasion[example]] > 0)
    latitude = latitude[example[agrees]]
    longitude = longitude[example[agrees]]
    distance_m = distances_m(
        latitude[:, None],
        longitude[:, None],
        latitude,
        longitude,
    )
    usual = int((distance_m <= USUAL_PLACE_M).sum(axis=0).max(initial=0))
    return CoLocations(
        agreeing=len(latitude),
        elsewhere=len(latitude) - usual,
        contradicting=int((votes < 0).sum()),
    )


def _votes(first: PhotoSequence, second: PhotoSequence) -> tuple[Floats, Indices]:
    # Times and votes of the anchors of `second`, then those of `first`.
    times = np.concatenate([second.at, first.at])
    return times, np.concatenate([_compare(first, second), _compare(second, first)])


def _compare(own: PhotoSequence, other: PhotoSequence) -> Indices:
    # What the anchors of a camera say about each anchor (N,) of another: _AGREES, _CONTRADICTS, or 0.
    nothing = np.zeros_like(other.trust)
    joined, place = _join(own, replace(other, trust=nothing))
    estimates = estimation.estimate(joined, MAX_GAP_S)
    place = place[len(own.at) :]
    error_m = estimates.error_m[place]
    distance_m = distances_m(
        estimates.latitude[place],
        estimates.longitude[place],
        other.latitude,
        other.longitude,
    )
    nearest_s = np.full(len(place), np.inf)
    for anchors in (estimates.before[place], estimates.after[place]):
        seconds = np.abs(joined.at[anchors] - other.at)
        nearest_s = np.minimum(
            nearest_s,
            np.where(anchors >= 0, seconds, np.inf),
        )
    is_near = nearest_s <= TOGETHER_S
    apart_m = distance_m - TOGETHER_M - other.error_m
    agrees = is_near & (apart_m <= np.minimum(error_m, TOGETHER_M))
    contradicts = is_near & (apart_m > 2 * error_m)
    votes = np.select(
        [agrees, contradicts],
        [_AGREES, _CONTRADICTS],
        0,
    )
    return np.asarray(votes, np.int64)


def group_companions(
    co_locations: Mapping[tuple[int, int], CoLocations],
) -> dict[int, frozenset[int]]:
    """The group of each camera that has companions. No two cameras of a group are apart."""
    group_of: dict[int, frozenset[int]] = {}
    apart = {
        frozenset(pair) for pair, counts in co_locations.items() if counts.are_apart
    }
    companions = [
        pair for pair, counts in co_locations.items() if counts.are_companions
    ]
    companions.sort(key=lambda pair: (-co_locations[pair].agreeing, pair))
    for first, second in companions:
        one = group_of.get(first, frozenset([first]))
        other = group_of.get(second, frozenset([second]))
        if apart.isdisjoint(map(frozenset, product(one, other))):
            joined = one | other
            group_of |= dict.fromkeys(joined, joined)
    return group_of


def reach_s(max_gap_s: float) -> float:
    return estimation.reach_s(max_gap_s) + OUTING_S + estimation.reach_s(MAX_GAP_S)


def estimate_together(
    own: PhotoSequence, others: PhotoSequence, max_gap_s: float
) -> estimation.Estimates:
    """Estimate a camera's photos from its own anchors, and its companions' that these do not contradict.

    `others` are anchors only. Estimates are of the photos of `own`. They refer to their anchors by numbers
    that count `own` first, then `others`.
    """
    # Of companions, the anchors of which at least as many within OUTING_S agree as contradict.
    at, says = _votes(_select(own, own.trust > 0), others)
    order = np.argsort(at, kind="stable")
    votes = np.concatenate([[0], np.cumsum(says[order])])
    first = np.searchsorted(at[order], others.at - OUTING_S, "left")
    last = np.searchsorted(at[order], others.at + OUTING_S, "right")
    used = np.flatnonzero(votes[last] >= votes[first])
    # Own anchors are trusted more than any anchor of a companion.
    trust = np.where(
        own.trust > 0,
        own.trust + others.trust.max(initial=0),
        0,
    )
    joined, place = _join(replace(own, trust=trust), _select(others, used))
    estimates = estimation.estimate(joined, max_gap_s)
    number = np.empty(len(place) + 1, np.int64)
    number[place] = np.concatenate(
        [
            np.arange(len(own.at)),
            len(own.at) + used,
        ]
    )
    number[-1] = -1  # no anchor
    place = place[: len(own.at)]
    return estimation.Estimates(
        estimates.latitude[place],
        estimates.longitude[place],
        estimates.error_m[place],
        before=number[estimates.before[place]],
        after=number[estimates.after[place]],
    )


def _join(first: PhotoSequence, second: PhotoSequence) -> tuple[PhotoSequence, Indices]:
    # The photos of both in order of time, and the index there of each photo of `first`, then of `second`.
    order = np.argsort(np.concatenate([first.at, second.at]), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    both = zip(
        vars(first).values(),
        vars(second).values(),
        strict=True,
    )
    return PhotoSequence(*(np.concatenate(values)[order] for values in both)), place


def _select(photos: PhotoSequence, chosen: Truth | Indices) -> PhotoSequence:
    return PhotoSequence(*(values[chosen] for values in vars(photos).values()))


# The most photos of a camera that are compared, the newest ones: who travels together changes.
MOST_PHOTOS = 500
# The most times between pauses of a camera that are compared, the newest ones.
MOST_OUTINGS = 50
# The most photos with GPS of all other cameras that are read, the newest ones.
MOST_OTHERS = 1000
# The most cameras that one is compared with, those with most of these photos.
MOST_CANDIDATES = 8
PAUSE_S = 24 * 3600.0
# Clocks that show the time of some zone, roughly. Others locate nothing but their own photos.
CLOCKS = range(-12 * 3600, 14 * 3600 + 1)


@dataclass(frozen=True)
class Companions:
    cameras: tuple[str, str]
    agreeing: int
    occasions: int


def find_companions(connection: Connection) -> list[Companions]:
    stored = {row.id: row for row in connection.execute(select(cameras))}
    # The co-locations of pairs of ids, ascending: the larger count of both cameras' newest photos.
    counts: dict[tuple[int, int], CoLocations] = {}
    query = select(cameras.c.id).where(_has_clock()).order_by(cameras.c.id)
    camera_ids = connection.scalars(query).all()
    for camera_id in camera_ids if len(camera_ids) > 1 else ():
        own = _own_anchors(connection, camera_id)
        for other_id, others in _other_anchors(connection, camera_id, own):
            co_locations = count_co_locations(own, others)
            pair = min(camera_id, other_id), max(camera_id, other_id)
            if pair not in counts or co_locations.occasions > counts[pair].occasions:
                counts[pair] = co_locations
    groups = group_companions(counts)
    old = {camera_id: row.companions_id for camera_id, row in stored.items()}
    new = {camera_id: min(group) for camera_id, group in groups.items()}
    changed = {camera_id for camera_id in old if old[camera_id] != new.get(camera_id)}
    for camera_id in sorted(changed):
        is_camera = cameras.c.id == camera_id
        values = {"companions_id": new.get(camera_id)}
        connection.execute(update(cameras).where(is_camera).values(values))
    # Photos of cameras in groups that change are estimated again.
    affected = set(changed)
    for group_of in (old, new):
        changed_groups = {group_of.get(camera_id) for camera_id in changed} - {None}
        affected.update(
            each for each, group in group_of.items() if group in changed_groups
        )
    if affected:
        record_matching_photos(
            connection,
            among(photos.c.camera_id, sorted(affected)),
        )
    return [
        Companions(
            cameras=(stored[first].name, stored[second].name),
            agreeing=co_locations.agreeing,
            occasions=co_locations.occasions,
        )
        for (first, second), co_locations in sorted(counts.items())
        if co_locations.are_companions and second in groups.get(first, ())
    ]


def _has_clock() -> ColumnElement[bool]:
    # Whether photos name the camera, and its clock may show the time of some zone.
    offset = cameras.c.clock_offset_s
    return and_(
        is_named(),
        or_(
            offset.is_(None),
            offset.between(CLOCKS.start, CLOCKS.stop - 1),
        ),
    )


def _own_anchors(connection: Connection, camera_id: int) -> PhotoSequence:
    # Anchors of the newest photos of a camera. Tracks say nothing: they locate photos of all cameras.
    is_own = (photos.c.camera_id == camera_id) & photos.c.taken_at.is_not(None)
    newest = select(photos.c.taken_at).where(is_own).order_by(photos.c.taken_at.desc())
    first = connection.scalar(newest.offset(MOST_PHOTOS - 1).limit(1))
    is_new = [] if first is None else [photos.c.taken_at >= first]
    rows = []
    for shot in read_shots(connection, is_own, *is_new):
        fix = shot.fix
        is_timed = shot.at is not None and shot.is_utc and shot.is_original
        if is_timed and fix is not None and fix.source is not PositionSource.TRACK:
            rows.append(
                (
                    shot.at,
                    fix.latitude,
                    fix.longitude,
                    fix.error_m,
                    TRUST[fix.source],
                )
            )
    return sequence_of(rows)


def _other_anchors(
    connection: Connection,
    camera_id: int,
    own: PhotoSequence,
) -> list[tuple[int, PhotoSequence]]:
    # The anchors by GPS of other cameras at about these times, by camera.
    if not len(own.at):
        return []
    # The newest times between pauses, extended to what any camera's clock may have shown then.
    last = np.flatnonzero(np.append(np.diff(own.at) > PAUSE_S, [True]))
    first = np.append([0], last[:-1] + 1)
    around_s = LOCAL_TIMES.total_seconds()
    outings = [
        photos.c.taken_at.between(
            clock_time(start - around_s),
            clock_time(end + around_s),
        )
        for start, end in zip(
            own.at[first][-MOST_OUTINGS:],
            own.at[last][-MOST_OUTINGS:],
            strict=True,
        )
    ]
    offset_s = func.coalesce(photos.c.utc_offset_s, cameras.c.clock_offset_s)
    query: Select[Any] = (
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
        .where(or_(*outings))
        .order_by(photos.c.taken_at.desc(), photos.c.id)
        .limit(MOST_OTHERS)
    )
    rows_of = defaultdict[int, list[tuple[float, float, float, float, int]]](list)
    for row in connection.execute(query):
        rows_of[row.camera_id].append(
            (
                clock_seconds(row.taken_at) - row.offset_s,
                row.latitude,
                row.longitude,
                gps_error_m(row),
                TRUST[PositionSource.CAMERA],
            )
        )
    most_first = sorted(
        rows_of,
        key=lambda other_id: (-len(rows_of[other_id]), other_id),
    )
    return [
        (other_id, sequence_of(sorted(rows_of[other_id])))
        for other_id in most_first[:MOST_CANDIDATES]
    ]
