"""Brings positions up to date with their evidence: of photos whose evidence has changed, and around them.

Whoever changes evidence records it in the queue `position_changes`. Each transaction takes some of these
rows, computes the positions anew, and stores the differences: the next update continues one that was
interrupted. A photo without a position of its own gets one from photos taken before and after: of the same
camera, and of cameras that are used with it.
"""

from bisect import bisect_left
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Connection, Table, delete, func, select

from tagger.cameras import LOCAL_TIMES, clock_seconds, clock_time
from tagger.database.connection import Database
from tagger.database.enums import STATED, PositionSource
from tagger.database.recorded_changes import follow_some
from tagger.database.statements import LockTimedOut, among, lock_timeout, pages
from tagger.database.tables import (
    cameras,
    count_changes,
    ledgers,
    photos,
    position_changes,
    trip_changes,
    visit_changes,
)
from tagger.positions import companions, estimation, tag_odds, trip_positions
from tagger.positions.camera_days import days_of
from tagger.positions.companions import estimate_together
from tagger.positions.evidence import TRUST, Fix, Shot, read_shots
from tagger.positions.measured_positions import lock_positions, store_positions
from tagger.query.kept_counts import has_changed_counts, update_counts, update_some_counts
from tagger.tags.contents import record_matching_photos
from tagger.trips.visits import has_changed_visits, update_some_visits, update_visits

# Changes that are sorted at a time, in some 50 MB.
MOST_SORTED = 1_000_000
# Rows that are read at a time.
_ROWS = 10_000

Ids = npt.NDArray[np.int64]
# A camera's id and its local time; None: unknown.
Moment = tuple[int | None, datetime | None]


class Change(NamedTuple):
    """A change of a photo, with its camera and time of now, and of before."""

    photo_id: int
    now: Moment
    before: Moment


def expand_images(connection: Connection, limit: int, after: int = 0) -> int | None:
    """Replace changes of at most `limit` images by those of their photos: the first with ids above `after`.

    Returns the last of their ids, after which the next call continues, so that it skips deleted rows. None:
    there were none.
    """
    lock_positions(connection)
    is_next = position_changes.c.photo_id.is_(None) & (position_changes.c.id > after)
    of_images = select(position_changes.c.id).where(is_next).order_by(position_changes.c.id).limit(limit)
    taken = delete(position_changes).where(position_changes.c.id.in_(of_images))
    columns = (position_changes.c.id, position_changes.c.content_id)
    rows = connection.execute(taken.returning(*columns)).all()
    if not rows:
        return None
    images = {row.content_id for row in rows}
    record_matching_photos(connection, among(photos.c.content_id, images))
    return int(max(row.id for row in rows))


def changes_in_order(connection: Connection) -> Ids:
    """The ids of changes by time, so that what the photos of a day say about each other is decided once."""
    query = (
        select(position_changes.c.id)
        .outerjoin(photos, photos.c.id == position_changes.c.photo_id)
        .where(position_changes.c.photo_id.is_not(None))
        .order_by(photos.c.taken_at, photos.c.camera_id)
        .limit(MOST_SORTED)
        .execution_options(yield_per=_ROWS)
    )
    return np.fromiter(connection.scalars(query), np.int64)


def take_changes(connection: Connection, ids: Sequence[int]) -> list[Change]:
    """Take changes out of the queue. Those that another process has taken meanwhile are left out.

    Read the evidence afterwards: a change that is too late for that is recorded again.
    """
    lock_positions(connection)
    columns = (position_changes.c.photo_id, position_changes.c.camera_id, position_changes.c.taken_at)
    taken = delete(position_changes).where(among(position_changes.c.id, ids)).returning(*columns)
    rows = connection.execute(taken).all()
    is_changed = among(photos.c.id, {row.photo_id for row in rows})
    query = select(photos.c.id, photos.c.camera_id, photos.c.taken_at).where(is_changed)
    now = {photo_id: (camera_id, taken_at) for photo_id, camera_id, taken_at in connection.execute(query)}
    return [
        Change(photo_id, now.get(photo_id, (None, None)), (camera_id, taken_at))
        for photo_id, camera_id, taken_at in rows
    ]


# Changes per transaction. It takes a second or two if they change all that is around them.
BATCH = 2_000
# Each round may change evidence of further photos: of a few rounds, the last ones are small.
# Changes that other processes record meanwhile are not waited for without end.
MOST_ROUNDS = 20
# Changes that span a longer time are not computed together: photos of years may lie between them.
LONGEST_RUN = timedelta(days=100)
# How long a small batch waits for another update.
LOCK_S = 2.0

_NONE: Ids = np.empty(0, np.int64)

# Called with what is done, and how much of it, of how much; None: not known.
Progress = Callable[[str, int, int | None], None]


def _no_progress(_step: str, _done: int, _total: int | None) -> None:
    pass


def update_positions(database: Database, on_progress: Progress = _no_progress) -> int:
    """Compute the positions that may have changed; visits, trips and counts. Returns how many moved."""
    moved = 0 if is_up_to_date(database) else _update_all(database.write, on_progress)
    update_visits(database, _page_progress(database, visit_changes, "finding trips", on_progress))
    moved += trip_positions.update_trip_positions(
        database, _page_progress(database, trip_changes, "finding trips", on_progress)
    )
    update_counts(database, _page_progress(database, count_changes, "counting photos", on_progress))
    return moved


def _page_progress(database: Database, queue: Table, step: str, on_progress: Progress) -> Callable[[], None]:
    """What tells, after each page of a step, how many days of its queue are done, of all."""

    def length() -> int:
        with database.read() as connection:
            return int(connection.scalar(select(func.count()).select_from(queue)) or 0)

    total = length()

    def tell() -> None:
        left = length()
        # Other processes may have recorded more days meanwhile.
        on_progress(step, max(0, total - left), max(total, left))

    return tell


def update_positions_in(connection: Connection, on_progress: Progress) -> int:
    """Like `update_positions`, but in one transaction, which may be rolled back."""
    moved = _update_all(lambda: nullcontext(connection), on_progress)
    while update_some_visits(connection):
        pass
    return moved + trip_positions.update_trip_positions_in(connection)


def _update_all(transaction: Callable[[], AbstractContextManager[Connection]], on_progress: Progress) -> int:
    step, moved, done = "locating photos", 0, 0
    for _ in range(MOST_ROUNDS):
        last: int | None = 0
        while last is not None:
            with transaction() as connection:
                last = expand_images(connection, BATCH, last)
            on_progress(step, done, None)
        with transaction() as connection:
            ids = changes_in_order(connection)
            if not len(ids):
                break
            total = done + connection.execute(select(func.count()).select_from(position_changes)).scalar_one()
        for start in range(0, len(ids), BATCH):
            batch = ids[start : start + BATCH].tolist()
            with transaction() as connection:
                moved += _update(connection, batch)
            done += len(batch)
            on_progress(step, done, total)
    return moved


class SmallUpdates:
    """Brings positions up to date a few at a time, for processes that have other work, too.

    Remembers the order of the changes, which is that of `changes_in_order`, until all of them are done.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ids: Ids = _NONE
        self._expanded = 0

    def update(self) -> bool:
        """Take one step in a short transaction. Returns whether there was anything to do.

        False, too, if another process does this, on PostgreSQL for longer than LOCK_S: it continues.
        """
        try:
            if is_up_to_date(self._database):
                self._ids = _NONE
                return self._update_visits() or self._update_counts()
            self._step()
        except LockTimedOut:
            return False
        return True

    def _update_counts(self) -> bool:
        """Store the numbers of some days that have changed. Returns whether there were any."""
        return follow_some(self._database, has_changed_counts, update_some_counts) is not None

    def _update_visits(self) -> bool:
        with self._database.read() as connection:
            has_changed = has_changed_visits(connection)
        if has_changed:
            with self._database.write() as connection, lock_timeout(connection, LOCK_S):
                return update_some_visits(connection)
        return trip_positions.update_some_trips(self._database) is not None

    def _step(self) -> None:
        if not len(self._ids):
            with self._database.write() as connection, lock_timeout(connection, LOCK_S):
                last = expand_images(connection, BATCH, self._expanded)
            self._expanded = last or 0
            if last is not None:
                return
            with self._database.read() as connection:
                self._ids = changes_in_order(connection)
        with self._database.write() as connection, lock_timeout(connection, LOCK_S):
            _update(connection, self._ids[:BATCH].tolist())
        self._ids = self._ids[BATCH:]


def is_up_to_date(database: Database) -> bool:
    """Whether no evidence has changed since the last update."""
    with database.read() as connection:
        return connection.execute(select(position_changes.c.id).limit(1)).first() is None


def _update(connection: Connection, ids: Sequence[int]) -> int:
    """Store the positions of changed photos and of those around them; returns how many moved."""
    changes = take_changes(connection, ids)
    max_gap_s = float(connection.execute(select(ledgers.c.max_gap_s)).scalar_one())
    reach = timedelta(seconds=companions.reach_s(max_gap_s)) + LOCAL_TIMES
    moved = 0
    fixes: dict[int, Fix | None] = {}
    changed = {change.photo_id for change in changes}
    near: set[int] = set()
    days = days_of(moment for change in changes for moment in (change.now, change.before))
    tag_odds.weigh_positions(connection, changed, days)
    for conditions, moments in _windows(changes, _groups(connection), reach):
        lines = [read_shots(connection, condition) for condition in conditions]
        estimates = estimate_fixes(lines, max_gap_s) if moments else {}
        fixes |= {
            shot.photo_id: estimates.get(shot.photo_id, shot.fix)
            for line in lines
            for shot in line
            if not moments or _is_near(moments, shot, reach)
        }
        near |= fixes.keys() - changed
        if len(fixes) >= BATCH:
            moved += store_positions(connection, fixes)
            fixes = {}
    moved += store_positions(connection, fixes)
    tag_odds.record_changes(connection, near)
    return moved


def _groups(connection: Connection) -> dict[int, list[int]]:
    """The cameras that are used together with each camera that has companions, itself among them."""
    query = select(cameras.c.id, cameras.c.companions_id).where(cameras.c.companions_id.is_not(None))
    groups: dict[int, list[int]] = {}
    group_of = {}
    for row in connection.execute(query.order_by(cameras.c.id)):
        group_of[row.id] = groups.setdefault(row.companions_id, [])
        group_of[row.id].append(row.id)
    return group_of


def _windows(
    changes: Sequence[Change], group_of: Mapping[int, Sequence[int]], reach: timedelta
) -> Iterator[tuple[list[ColumnElement[bool]], list[datetime]]]:
    """Conditions on photos of cameras that are used together, one for each, and the times of their changes.

    They include all photos from which the changed ones, and those within `reach` of them, may be estimated.
    No times: the photos have no common clock.
    """
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
        for moments in _runs(sorted(times), 2 * reach):
            first, last = clock_seconds(moments[0]), clock_seconds(moments[-1])
            reach_s = reach.total_seconds()
            is_near = photos.c.taken_at.between(clock_time(first - reach_s), clock_time(last + reach_s))
            yield [(photos.c.camera_id == camera_id) & is_near for camera_id in group], moments


def _runs(times: Sequence[datetime], longest_gap: timedelta) -> Iterator[list[datetime]]:
    """Ascending times, split where there are gaps, and where a run gets long."""
    run: list[datetime] = []
    for at in times:
        if run and (at - run[-1] > longest_gap or at - run[0] > LONGEST_RUN):
            yield run
            run = []
        run.append(at)
    if run:
        yield run


def _is_near(moments: Sequence[datetime], shot: Shot, reach: timedelta) -> bool:
    """Whether one of the ascending moments is so near that the photo may be estimated from it."""
    if shot.taken_at is None:
        return False
    place = bisect_left(moments, shot.taken_at)
    is_before = place < len(moments) and moments[place] - shot.taken_at <= reach
    return is_before or (place > 0 and shot.taken_at - moments[place - 1] <= reach)


def estimate_fixes(cameras: Sequence[Sequence[Shot]], max_gap_s: float) -> dict[int, Fix]:
    """Estimates by photo id, of photos of cameras that are used together.

    An anchor by a camera's GPS keeps its position, even if others contradict it. Photos whose time is not
    known in UTC are estimated from those of their own camera.
    """
    lines = [[shot for shot in shots if shot.at is not None and shot.is_original] for shots in cameras]
    found: dict[int, Fix] = {}
    for line in lines:
        others = (photo for other in lines if other is not line for photo in other)
        companions = sorted(
            (each for each in others if each.is_utc and each.fix),
            key=lambda photo: (photo.at or 0.0, photo.photo_id),
        )
        own = _sequence(line)
        if not companions or not all(photo.is_utc for photo in line):
            alone = estimation.estimate(own, max_gap_s)
            found |= _fixes(line, line, alone, {False} if companions else {False, True})
        if companions:
            together = estimate_together(own, _sequence(companions), max_gap_s)
            found |= _fixes(line, [*line, *companions], together, {True})
    return found


def _sequence(line: Sequence[Shot]) -> estimation.Sequence:
    nothing = (np.nan, np.nan, np.nan, 0)
    rows = [
        (photo.at, *((fix.latitude, fix.longitude, fix.error_m, TRUST[fix.source]) if fix else nothing))
        for photo in line
        for fix in (photo.fix,)
    ]
    return estimation.sequence_of(rows)


def _fixes(
    line: Sequence[Shot],
    evidence: Sequence[Shot],
    found: estimation.Estimates,
    is_utc: Container[bool],
) -> dict[int, Fix]:
    """The estimates by photo id, of photos whose time is known in UTC, or is not."""
    located = [(line[index], index) for index in np.flatnonzero(np.isfinite(found.error_m)).tolist()]
    return {
        photo.photo_id: Fix(
            float(found.latitude[index]),
            float(found.longitude[index]),
            float(found.error_m[index]),
            PositionSource.NEIGHBOUR,
            _evidence(photo, evidence, int(found.before[index]), int(found.after[index])),
        )
        for photo, index in located
        if photo.is_utc in is_utc and not (photo.fix and photo.fix.source in STATED)
    }


def _evidence(photo: Shot, evidence: Sequence[Shot], before: int, after: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, anchor in (("before", before), ("after", after)):
        if anchor >= 0:
            seconds = abs((evidence[anchor].at or 0.0) - (photo.at or 0.0))
            found |= {name: evidence[anchor].photo_id, f"{name}_s": round(seconds)}
    return found
