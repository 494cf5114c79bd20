"""Cameras that are used together, so that anchors of one locate photos of the others.

Where a camera was at some time follows from its own anchors (see estimation). An anchor of another camera at
that time agrees with this, or contradicts it, or nothing follows: nobody knows where a camera on the motorway
was half an hour later.

Which cameras of a database are used together is decided by where their newest photos and those of others at
that time were taken.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import product
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
    update,
)

from tagger.cameras import LOCAL_TIMES, clock_seconds, clock_time, is_named
from tagger.database.enums import PositionSource
from tagger.database.statements import among
from tagger.database.tables import cameras, photos
from tagger.positions import estimation
from tagger.positions.estimation import (
    Indices,
    Sequence,
    Truth,
    distances_m,
    sequence_of,
)
from tagger.positions.evidence import TRUST, gps_error_m, read_shots
from tagger.sphere import Floats
from tagger.tags.contents import record_matching_photos

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


def count_co_locations(first: Sequence, second: Sequence) -> CoLocations:
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


def _votes(first: Sequence, second: Sequence) -> tuple[Floats, Indices]:
    # Times and votes of the anchors of `second`, then those of `first`.
    times = np.concatenate([second.at, first.at])
    return times, np.concatenate([_compare(first, second), _compare(second, first)])


def _compare(own: Sequence, other: Sequence) -> Indices:
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
    own: Sequence, others: Sequence, max_gap_s: float
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


def _join(first: Sequence, second: Sequence) -> tuple[Sequence, Indices]:
    # The photos of both in order of time, and the index there of each photo of `first`, then of `second`.
    order = np.argsort(np.concatenate([first.at, second.at]), kind="stable")
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    both = zip(
        vars(first).values(),
        vars(second).values(),
        strict=True,
    )
    return Sequence(*(np.concatenate(values)[order] for values in both)), place


def _select(photos: Sequence, chosen: Truth | Indices) -> Sequence:
    return Sequence(*(values[chosen] for values in vars(photos).values()))


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


def _own_anchors(connection: Connection, camera_id: int) -> Sequence:
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
    own: Sequence,
) -> list[tuple[int, Sequence]]:
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
