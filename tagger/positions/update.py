"""Computes positions anew, of photos whose evidence has changed, and around them.

A photo without a position of its own gets one from photos taken before and after: of the same camera, and of
cameras that are used with it.
"""

import json
from bisect import bisect_left
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
from sqlalchemy import ColumnElement, Connection, Text, cast, delete, select, update

from tagger.cameras import LOCAL_TIMES, clock_seconds, clock_time
from tagger.database import STATED, PositionSource, VerdictKind
from tagger.database.statements import among, insert_page, pages
from tagger.database.tables import cameras, ledgers, photos, positions, sight_verdicts
from tagger.positions import companions, estimation, tag_odds
from tagger.positions.cities import places_of
from tagger.positions.companions import estimate_together
from tagger.positions.evidence import Fix, Shot, anchors_of, read_shots, runs_of
from tagger.sights import NO_SIGHT, library_sights

Moment = tuple[int | None, datetime | None]


class Change(NamedTuple):
    photo_id: int
    now: Moment
    before: Moment


# Photos whose positions are stored at once.
_PAGE = 2_000


def update_positions(connection: Connection, changes: Sequence[Change]) -> int:
    """Store the positions of changed photos and of those around them; returns how many moved."""
    max_gap_s = float(connection.execute(select(ledgers.c.max_gap_s)).scalar_one())
    reach = timedelta(seconds=companions.reach_s(max_gap_s)) + LOCAL_TIMES
    moved = 0
    fixes: dict[int, Fix | None] = {}
    changed = {change.photo_id for change in changes}
    near: set[int] = set()
    estimated: set[int] = set()
    times = [at for change in changes for _, at in (change.now, change.before)]
    days = {at.date() for at in times if at is not None}
    tag_odds.weigh_positions(connection, changed, days)
    # The cameras that are used together with each camera that has companions, itself among them.
    query = select(cameras.c.id, cameras.c.companions_id).where(
        cameras.c.companions_id.is_not(None)
    )
    groups: dict[int, list[int]] = {}
    group_of = {}
    for row in connection.execute(query.order_by(cameras.c.id)):
        group_of[row.id] = groups.setdefault(row.companions_id, [])
        group_of[row.id].append(row.id)
    for conditions, moments in _windows(changes, group_of, reach):
        lines = [read_shots(connection, condition) for condition in conditions]
        estimates = estimate_fixes(lines, max_gap_s) if moments else {}
        fixes |= {
            shot.photo_id: estimates.get(shot.photo_id, shot.fix)
            for line in lines
            for shot in line
            if not moments or _is_near(moments, shot, reach)
        }
        estimated |= estimates.keys()
        near |= fixes.keys() - changed
        if len(fixes) >= _PAGE:
            moved += store_positions(connection, fixes)
            fixes = {}
    moved += store_positions(connection, fixes)
    tag_odds.record_changes(connection, near, estimated)
    return moved


def _windows(
    changes: Sequence[Change],
    group_of: Mapping[int, Sequence[int]],
    reach: timedelta,
) -> Iterator[tuple[list[ColumnElement[bool]], list[datetime]]]:
    # Conditions on photos of cameras that are used together, one for each, and the times of their changes.
    #
    # They include all photos from which the changed ones, and those within `reach` of them, may be estimated.
    # No times: the photos have no common clock.
    by_group: dict[tuple[int, ...], set[datetime]] = {}
    single = set()
    for change in changes:
        if None in change.now:
            single.add(change.photo_id)
        for camera_id, taken_at in (change.now, change.before):
            if camera_id is not None and taken_at is not None:
                group = tuple(group_of.get(camera_id, (camera_id,)))
                by_group.setdefault(group, set()).add(taken_at)
    for page in pages(sorted(single)):
        yield [photos.c.id.in_(page)], []
    # Photos near a change are estimated from anchors that are near them. Both distances are in local time.
    reach = 2 * reach
    for group, times in sorted(by_group.items()):
        for moments in runs_of(sorted(times), 2 * reach):
            first, last = clock_seconds(moments[0]), clock_seconds(moments[-1])
            reach_s = reach.total_seconds()
            is_near = photos.c.taken_at.between(
                clock_time(first - reach_s), clock_time(last + reach_s)
            )
            yield (
                [(photos.c.camera_id == camera_id) & is_near for camera_id in group],
                moments,
            )


def _is_near(moments: Sequence[datetime], shot: Shot, reach: timedelta) -> bool:
    # Whether one of the ascending moments is so near that the photo may be estimated from it.
    if shot.taken_at is None:
        return False
    place = bisect_left(moments, shot.taken_at)
    beside = moments[max(place - 1, 0) : place + 1]
    return any(abs(moment - shot.taken_at) <= reach for moment in beside)


def estimate_fixes(
    cameras: Sequence[Sequence[Shot]], max_gap_s: float
) -> dict[int, Fix]:
    """Estimates by photo id, of photos of cameras that are used together.

    An anchor by a camera's GPS keeps its position, even if others contradict it. Photos whose time is not
    known in UTC are estimated from those of their own camera.
    """
    lines = [
        [shot for shot in shots if shot.at is not None and shot.is_original]
        for shots in cameras
    ]
    fixes: dict[int, Fix] = {}
    for line in lines:
        companions = [
            shot
            for other in lines
            if other is not line
            for shot in other
            if shot.is_utc and shot.fix
        ]
        companions.sort(key=lambda shot: (shot.at or 0.0, shot.photo_id))
        own = anchors_of(line)
        if not companions or not all(shot.is_utc for shot in line):
            alone = estimation.estimate(own, max_gap_s)
            is_utc = {False} if companions else {False, True}
            fixes |= _fixes(line, line, alone, is_utc)
        if companions:
            together = estimate_together(own, anchors_of(companions), max_gap_s)
            fixes |= _fixes(
                line,
                [*line, *companions],
                together,
                {True},
            )
    return fixes


def _fixes(
    line: Sequence[Shot],
    evidence: Sequence[Shot],
    estimates: estimation.Estimates,
    is_utc: Container[bool],
) -> dict[int, Fix]:
    # The estimates by photo id, of photos whose time is known in UTC, or is not.
    located = [
        (line[index], index)
        for index in np.flatnonzero(np.isfinite(estimates.error_m)).tolist()
    ]
    return {
        photo.photo_id: Fix(
            float(estimates.latitude[index]),
            float(estimates.longitude[index]),
            float(estimates.error_m[index]),
            PositionSource.NEIGHBOUR,
            _evidence(
                photo,
                evidence,
                int(estimates.before[index]),
                int(estimates.after[index]),
            ),
        )
        for photo, index in located
        if photo.is_utc in is_utc and not (photo.fix and photo.fix.source in STATED)
    }


def _evidence(
    photo: Shot,
    evidence: Sequence[Shot],
    before: int,
    after: int,
) -> dict[str, Any]:
    anchors: dict[str, Any] = {}
    for name, anchor in (("before", before), ("after", after)):
        if anchor >= 0:
            seconds = abs((evidence[anchor].at or 0.0) - (photo.at or 0.0))
            anchors |= {
                name: evidence[anchor].photo_id,
                f"{name}_s": round(seconds),
            }
    return anchors


# The columns of a position that follow from a fix, and what is named after them.
_COLUMNS = ("latitude", "longitude", "error_m", "source", "evidence")
_PLACE = ("sight", "country", "region", "city")

# The values of _COLUMNS; the evidence is JSON.
_Facts = tuple[float, float, float, str, str]


def store_positions(connection: Connection, fixes: Mapping[int, Fix | None]) -> int:
    """Replace the positions and sights of photos that differ from the stored ones; returns how many moved.

    Positions that follow from trips stay where there is no other.
    """
    columns = [positions.c[name] for name in _COLUMNS[:-1]]
    query = select(
        positions.c.photo_id,
        *columns,
        cast(positions.c.evidence, Text),
        positions.c.sight,
    )
    rows = connection.execute(query.where(among(positions.c.photo_id, fixes)))
    stored: dict[int, tuple[Any, ...]] = {
        photo_id: (*values,) for photo_id, *values in rows
    }
    facts: dict[int, _Facts] = {}
    for photo_id, fix in fixes.items():
        if fix is not None:
            # Rounded to a centimetre, so that the same evidence gives the same row.
            facts[photo_id] = (
                round(fix.latitude, 7),
                round(fix.longitude, 7),
                float(round(fix.error_m)),
                str(fix.source),
                json.dumps(fix.evidence),
            )
    sights = _sights(connection, facts)
    values = {
        photo_id: (*fact, sights.get(photo_id)) for photo_id, fact in facts.items()
    }
    for photo_id in fixes.keys() & stored.keys() - values.keys():
        if stored[photo_id][3] == PositionSource.TRIP:
            values[photo_id] = stored[photo_id]
    different = sorted(each for each in fixes if values.get(each) != stored.get(each))
    old = [photo_id for photo_id in different if photo_id in stored]
    if old:
        connection.execute(delete(positions).where(among(positions.c.photo_id, old)))
    new = [
        (photo_id, *values[photo_id]) for photo_id in different if photo_id in values
    ]
    if new:
        places = places_of((latitude, longitude) for _, latitude, longitude, *_ in new)
        whole_rows = ((*row, *place) for row, place in zip(new, places, strict=True))
        insert_page(
            connection,
            positions,
            ("photo_id", *_COLUMNS, *_PLACE),
            whole_rows,
        )
    # One whose sight alone differs has not moved.
    moved = [
        photo_id
        for photo_id in different
        if values.get(photo_id, ())[:-1] != stored.get(photo_id, ())[:-1]
    ]
    return len(moved)


def update_sights(connection: Connection, content_ids: Collection[int]) -> None:
    """Called after a verdict about one of them."""
    columns = (
        positions.c[name] for name in ("photo_id", "latitude", "longitude", "error_m")
    )
    of_images = (
        select(*columns)
        .join(photos, photos.c.id == positions.c.photo_id)
        .where(among(photos.c.content_id, content_ids))
    )
    facts = {photo_id: fact for photo_id, *fact in connection.execute(of_images)}
    sights = _sights(connection, facts)
    for photo_id in facts:
        is_of_photo = positions.c.photo_id == photo_id
        values = {"sight": sights.get(photo_id)}
        connection.execute(update(positions).where(is_of_photo).values(values))


def _sights(
    connection: Connection, facts: Mapping[int, Sequence[Any]]
) -> dict[int, str]:
    # Where photos were taken, but for sights at which they were not, as people say.
    sights = library_sights(connection)
    fixes = np.array(
        [fact[:3] for fact in facts.values()],
        np.float64,
    ).reshape(-1, 3)
    indices = dict(zip(facts, sights.at(*fixes.T).tolist(), strict=True))
    rejected = (
        select(photos.c.id, sight_verdicts.c.sight)
        .join(sight_verdicts, sight_verdicts.c.content_id == photos.c.content_id)
        .where(
            among(photos.c.id, facts),
            sight_verdicts.c.verdict == VerdictKind.REJECTED,
        )
    )
    for photo_id, name in connection.execute(rejected):
        if indices[photo_id] in sights.called(name):
            indices[photo_id] = NO_SIGHT
    return {
        photo_id: sights.names[index]
        for photo_id, index in indices.items()
        if index >= 0
    }
