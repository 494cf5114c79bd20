"""Brings what is kept up to date: positions, then visits and numbers by day, then trips.

Each step takes rows of `changed_days`, in the order of days, a page in each transaction. One process at a
time takes a page; others do not wait for it, unless they have nothing else to do. `tagger locate` changes
settings of the estimates before, and counts what came of it.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, exists, func, or_, select, tuple_, update

from tagger.database import ClockSource, KeptStep, PositionSource
from tagger.database.changed_days import ChangedDay, are_due
from tagger.database.connection import Database
from tagger.database.statements import (
    AdvisoryLock,
    LockTimedOut,
    among,
    lock_timeout,
    take_lock,
    try_lock,
)
from tagger.database.tables import (
    cameras,
    changed_days,
    contents,
    ledgers,
    photos,
    positions,
)
from tagger.errors import CameraNotFound, NameAmbiguous
from tagger.kept import BEFORE_ALL, day_of_part, outdated_parts, store_days
from tagger.kept.stored_trips import outdated_trips, store_trips
from tagger.ledger.job_control import count_changes
from tagger.positions.companions import (
    CameraClock,
    Companions,
    estimate_clocks,
    find_companions,
)
from tagger.positions.tag_odds import count_overruled_by_gps
from tagger.positions.tracks import AddedTrack, read_track, store_track, track_spool
from tagger.positions.update import Change, update_positions
from tagger.tags import record_camera, record_matching_photos

# Each round may change evidence of further photos: of a few rounds, the last ones are small. Changes that
# other processes record meanwhile are not waited for without end.
MOST_ROUNDS = 20
# How long one process waits while others do the same: they go on with what it leaves.
LONGEST_WAIT_S = 60.0
# How long a page waits for the rows that others write. It is tried again.
LOCK_S = 2.0
_POLL_S = 0.1

# Called with what is done, and how much of it, of how much; None: not known.
Progress = Callable[[str, int, int | None], None]
_Write = Callable[[], AbstractContextManager[Connection]]


# Changes per transaction. It takes up to a second if they change all that is around them.
BATCH = 1_000

# The place of a change in the order of days, its part and its id; and the id of the last change of the round.
_Place = tuple[int, int, int | None]


class _Step(NamedTuple):
    # A step: its text, what it follows, where it begins, and the function that stores a page after another.
    #
    # This returns where the page ends and how many photos moved; None: there was none. What takes long, it
    # reads while others write.
    text: str
    changes: tuple[KeptStep, ...]
    start: Any
    store: Callable[[Connection, _Write, Any], tuple[Any, int] | None]


def _store_positions(
    _reading: Connection,
    write: _Write,
    after: _Place,
) -> tuple[_Place, int] | None:
    # Store the positions that some changes concern: the first ones after one, in the order of their days.
    #
    # So what the photos of a day say about each other is decided once.
    #
    # Returns the place of the last one, after which the next call continues, and how many photos moved; None:
    # there were none.
    *last_place, last_id = after
    is_change = changed_days.c.step == KeptStep.POSITIONS
    place = changed_days.c.part, changed_days.c.id
    of_images = (
        select(changed_days.c.id)
        .where(is_change, changed_days.c.part.is_(None))
        .limit(BATCH)
    )
    of_photos = (
        select(changed_days.c.id)
        .where(is_change, tuple_(*place) > tuple_(*last_place))
        .order_by(*place)
        .limit(BATCH)
    )
    taken = delete(changed_days).returning(*changed_days.c)
    with write() as connection:
        rows = connection.execute(taken.where(changed_days.c.id.in_(of_images))).all()
        if rows:
            record_matching_photos(
                connection,
                among(photos.c.content_id, {row.content_id for row in rows}),
            )
            return after, 0  # first all images, so that each photo is computed once
        if last_id is None:
            # What this round changes itself waits for the next one.
            last_id = connection.scalar(
                select(func.max(changed_days.c.id)).where(is_change)
            )
        if last_id is None:
            # Another process has stored them since this one has seen that there were any.
            return None
        of_round = of_photos.where(changed_days.c.id <= last_id)
        # Evidence is read afterwards: a change that is too late for that is recorded again.
        rows = connection.execute(taken.where(changed_days.c.id.in_(of_round))).all()
        if not rows:
            return None
        changed_photos = connection.execute(
            select(photos.c.id, photos.c.camera_id, photos.c.taken_at).where(
                among(photos.c.id, {row.photo_id for row in rows})
            )
        )
        now = {row.id: (row.camera_id, row.taken_at) for row in changed_photos}
        changes = [
            Change(
                row.photo_id,
                now.get(row.photo_id, (None, None)),
                (row.camera_id, row.taken_at),
            )
            for row in rows
        ]
        return max((row.part, row.id, last_id) for row in rows), update_positions(
            connection, changes
        )


_POSITIONS = _Step(
    "locating photos", (KeptStep.POSITIONS,), (BEFORE_ALL, 0, None), _store_positions
)
_DAYS = _Step(
    "counting photos",
    (KeptStep.DAYS, KeptStep.NUMBERS),
    BEFORE_ALL,
    store_days,
)
_STEPS = (
    _POSITIONS,
    _DAYS,
    _Step("finding trips", (KeptStep.TRIPS,), BEFORE_ALL, store_trips),
)


def update_kept(
    database: Database,
    on_progress: Progress = lambda _step, _done, _total: None,
) -> int:
    """Bring all that is kept up to date. It can be interrupted, and continued.

    Returns how many photos moved.
    """
    moved = 0
    # Positions that follow from trips change suggestions, and numbers of their days.
    for step in (*_STEPS, _POSITIONS, _DAYS):
        total = count_changes(database, step.changes)
        for _ in range(MOST_ROUNDS):
            page = _wait_for_page(database, step, step.start, on_progress)
            if page is None:
                break
            while page is not None:
                last, moved_now = page
                moved += moved_now
                left = count_changes(database, step.changes)
                # Other processes may have recorded more meanwhile.
                on_progress(step.text, max(0, total - left), max(total, left))
                page = _wait_for_page(database, step, last, on_progress)
    return moved


def update_some(database: Database) -> bool:
    """Store one page of what is due. Returns whether there was any.

    False, too, if another process does this: it continues.
    """
    try:
        return any(_store_briefly(database, step) is not None for step in _STEPS)
    except LockTimedOut:
        return False


def update_some_days(database: Database) -> None:
    """Store visits and numbers of some days, so that readers of a large job need not count its photos.

    While another process does it, the next one that does counts these photos too; at the latest, the last
    step of the job.
    """
    with suppress(LockTimedOut):
        _store_briefly(database, _DAYS)


def _wait_for_page(
    database: Database,
    step: _Step,
    after: Any,
    on_progress: Progress,
) -> tuple[Any, int] | None:
    # Store a page as soon as no other process stores one; None, too, if others do so for LONGEST_WAIT_S.
    end = time.monotonic() + LONGEST_WAIT_S
    while True:
        try:
            return _store_page(database, step, after, database.write)
        except LockTimedOut:
            if time.monotonic() >= end:
                return None
        on_progress(step.text, 0, None)
        time.sleep(_POLL_S)


def _store_briefly(database: Database, step: _Step) -> tuple[Any, int] | None:
    # Raises:
    # LockTimedOut: another process stores a page, or locks rows for longer than LOCK_S.
    @contextmanager
    def write() -> Iterator[Connection]:
        with database.write() as connection, lock_timeout(connection, LOCK_S):
            yield connection

    return _store_page(database, step, step.start, write)


def _store_page(
    database: Database,
    step: _Step,
    after: Any,
    write: _Write,
) -> tuple[Any, int] | None:
    # Raises:
    # LockTimedOut: another process stores a page.
    with database.read() as reading:
        if not are_due(reading, *step.changes):
            return None
        try_lock(reading, AdvisoryLock.UPDATE_KEPT)
        return step.store(reading, write, after)


# ----- check -----

# The end of a problem with what is kept of a day, which has been recorded as changed.
MENDED = "to compute it again, run: tagger locate"


def kept_problems(connection: Connection) -> Iterator[tuple[str, set[ChangedDay]]]:
    """Each with the days that have to be computed again."""
    for part in outdated_parts(connection):
        day = day_of_part(part)
        photos_of = f"photos of {day}" if day else "photos without a date"
        problem = "their stored visits or numbers do not follow from photos, tags and positions"
        yield f"{photos_of}: {problem}; {MENDED}", {ChangedDay(KeptStep.DAYS, part)}
    for trip_id, days in outdated_trips(connection):
        problem = f"trip {trip_id}: what is stored of it does not follow from visits and tags; {MENDED}"
        yield problem, {ChangedDay(KeptStep.TRIPS, day.toordinal()) for day in days}


@dataclass(frozen=True)
class EstimateSettings:
    """What to change before an update. `clock_offsets`: seconds ahead of UTC by camera.

    `position_odds`: whether positions count when tags are accepted. None: as before, and so for `max_gap_s`.
    `tracks`: GPX files to add.
    """

    max_gap_s: int | None
    clock_offsets: Mapping[str, int]
    position_odds: bool | None = None
    tracks: Sequence[Path] = ()


@dataclass(frozen=True)
class PositionCounts:
    """Numbers of photos, by the source of their position. `at_sights`: those that were taken at a sight.

    `moved`: positions that are new, moved or gone. `clocks`: the camera clocks that were estimated anew.
    `companions`: all pairs. `tracks`: those added. `doubtful` and `accepted`: numbers of all images with a
    tag that is not accepted, or is accepted, because of the position, although the score says otherwise.
    """

    photos: int
    sources: Mapping[PositionSource, int]
    at_sights: int
    moved: int
    clocks: Sequence[CameraClock]
    companions: Sequence[Companions]
    tracks: Sequence[AddedTrack]
    doubtful: int
    accepted: int

    @property
    def unknown(self) -> int:
        return self.photos - sum(self.sources.values())


def locate(
    database: Database,
    settings: EstimateSettings,
    photo_ids: Collection[int] | None,
    on_progress: Progress,
    *,
    dry_run: bool,
) -> PositionCounts:
    """Change settings, bring all positions up to date, and count those of `photo_ids`; None: of all.

    Settings and tracks stay: all, or none if one is refused. With `dry_run`, everything is rolled back, and
    other processes cannot write meanwhile.

    Raises:
        CameraNotFound, NameAmbiguous: a clock is set of a camera that is not known, or of several.
        PathNotFound, SystemRefused, ImportRefused: a track cannot be added; see `read_track`.
    """
    with track_spool() as spool:
        read = [read_track(database, file, spool) for file in settings.tracks]
        with database.rehearsal() if dry_run else nullcontext(database) as library:
            with library.write() as connection:
                if dry_run:
                    # Before the row of the settings, as updates do.
                    take_lock(connection, AdvisoryLock.UPDATE_KEPT)
                _apply(connection, settings)
                tracks = [store_track(connection, track, spool) for track in read]
                clocks = estimate_clocks(connection)
                companions = find_companions(connection)
            moved = update_kept(library, on_progress)
            with library.read() as connection:
                return _counts(connection, photo_ids, moved, clocks, companions, tracks)


def _apply(connection: Connection, settings: EstimateSettings) -> None:
    stored = connection.execute(
        select(ledgers.c.max_gap_s, ledgers.c.position_odds)
    ).one()
    if settings.position_odds not in (None, stored.position_odds):
        connection.execute(update(ledgers).values(position_odds=settings.position_odds))
        record_matching_photos(connection, photos.c.content_id.is_not(None))
    if settings.max_gap_s not in (None, stored.max_gap_s):
        connection.execute(update(ledgers).values(max_gap_s=settings.max_gap_s))
        record_matching_photos(connection, photos.c.camera_id.is_not(None))
    for name, offset_s in settings.clock_offsets.items():
        camera_id = _find_camera(connection, name)
        connection.execute(
            update(cameras)
            .where(cameras.c.id == camera_id)
            .values(clock_offset_s=offset_s, clock_source=ClockSource.GIVEN)
        )
        record_camera(connection, camera_id)


def _find_camera(connection: Connection, name: str) -> int:
    # The camera whose name contains the text; one with exactly this name, or key, comes first.
    rows = connection.execute(
        select(cameras).order_by(cameras.c.name, cameras.c.key)
    ).all()
    wanted = name.casefold()
    exact = [row for row in rows if wanted in (row.name.casefold(), row.key.casefold())]
    matching = exact or [
        row
        for row in rows
        if wanted in row.name.casefold() or wanted in row.key.casefold()
    ]
    if len(matching) == 1:
        return int(matching[0].id)
    if matching:
        keys = "; ".join(row.key for row in matching[:10])
        raise NameAmbiguous(kinds="cameras", name=name, key="whole name", keys=keys)
    names = (
        ", ".join(sorted({row.name for row in rows})[:20])
        or "none yet: run `tagger tag FOLDER` first"
    )
    raise CameraNotFound(name=name, names=names)


def _counts(
    connection: Connection,
    photo_ids: Collection[int] | None,
    moved: int,
    clocks: Sequence[CameraClock],
    companions: Sequence[Companions],
    tracks: Sequence[AddedTrack],
) -> PositionCounts:
    # The result of an update. Photos and their positions are counted now.
    query = (
        select(
            positions.c.source,
            func.count().label("photos"),
            func.count(positions.c.sight).label("at_sights"),
        )
        .select_from(photos.outerjoin(positions, positions.c.photo_id == photos.c.id))
        .group_by(positions.c.source)
    )
    if photo_ids is None:
        # Queries find no photo that failed and was never classified.
        is_classified = exists().where(
            contents.c.id == photos.c.content_id,
            contents.c.outcome.is_not(None),
        )
        is_found = or_(photos.c.failure_kind.is_(None), is_classified)
        is_read = photos.c.content_id.is_not(None) & photos.c.gone_since.is_(None)
        query = query.where(is_read, is_found)
    else:
        query = query.where(among(photos.c.id, photo_ids))
    rows = connection.execute(query).all()
    counts = {row.source: row.photos for row in rows}
    sources = {source: counts.get(source, 0) for source in PositionSource}
    overruled = count_overruled_by_gps(connection)
    return PositionCounts(
        sum(counts.values()),
        sources,
        sum(row.at_sights for row in rows),
        moved,
        clocks,
        companions,
        tracks,
        *overruled,
    )
