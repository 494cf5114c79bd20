"""Workers: the chunk that one processes next, how many to wake, and how others see workers and beat.

Redis carries wake-ups only, which say nothing: a worker that receives one claims what is next here. So a
wake-up too many finds nothing, and one too few is sent by the next sweep. All times are the database's.
"""

import re
import threading
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    tuple_,
    update,
)

from tagger.database import (
    JobState,
    Note,
    NoteCode,
    Priority,
    has_code,
    note_columns,
)
from tagger.database.connection import Database
from tagger.database.statements import current_time, db_now, insert_missing
from tagger.database.tables import (
    chunks,
    job_items,
    jobs,
    ledgers,
    photos,
    schedules,
    workers,
)
from tagger.ledger import (
    CLAIMABLE,
    IS_LOCAL,
    IS_UNFILLED,
    LEASE_S,
    RENEW_S,
    update_job,
)
from tagger.ledger.chunks import IS_FREE, Claim, claim_first_chunk
from tagger.texts import document_of

# A worker without a heartbeat for this long is not active. Heartbeats come every 10 s.
WORKER_TIMEOUT_S = 30.0
# The places that are assumed before the first workers send heartbeats.
FEWEST_PLACES = 8
# How many chunks a worker processes at once: the next one is read while the current one is stored.
FEWEST_AT_ONCE = 2
# The same on a GPU. Its pipeline holds up to three batches of 512 photos, and chunks have 256: with two, its
# batches would be part empty whenever a chunk ends.
MOST_AT_ONCE = 8
# Interactive chunks that a worker claims before a bulk one.
INTERACTIVE_IN_A_ROW = 3
# How long a process claims no chunks of a job after one of them failed in it.
RETRY_S = 10.0

_HAS_WORKERS = (~IS_LOCAL, jobs.c.state.in_(CLAIMABLE))


class ChunkClaimer:
    """Claims chunks for the threads of one worker. The jobs of a priority take turns."""

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker
        self._lock = threading.Lock()
        # The job of the latest claim, by priority.
        self._latest: dict[Priority, int] = {}
        # Interactive chunks since the last bulk one.
        self._in_a_row = 0
        # Jobs of which no chunk is claimed now, and until when, by the monotonic clock.
        self._deferred_until: dict[int, float] = {}

    def claim(self, priorities: Collection[Priority]) -> Claim | None:
        """Claim the first free chunk of the job whose turn it is. None if no job of these priorities has one.

        Interactive jobs come first, except that every fourth chunk may be a bulk one.
        """
        is_bulk_next = self._in_a_row >= INTERACTIVE_IN_A_ROW
        now = time.monotonic()
        with self._lock:
            self._deferred_until = {
                job: until for job, until in self._deferred_until.items() if until > now
            }
            passed = set(self._deferred_until)
        with self._database.write() as connection:
            for priority in sorted(
                priorities, key=lambda each: (each is Priority.BULK) != is_bulk_next
            ):
                while job := _next_job(
                    connection, priority, self._latest.get(priority, 0), passed
                ):
                    self._latest[priority] = job.id
                    claim = claim_first_chunk(connection, job, self._worker)
                    if claim is not None:
                        self._in_a_row = (
                            0 if priority is Priority.BULK else self._in_a_row + 1
                        )
                        return claim
                    # Other workers have claimed its last chunks, or it was paused.
                    passed.add(job.id)
        return None

    def defer(self, job_id: int) -> None:
        """Claim no chunk of this job for RETRY_S: one has failed in this process."""
        with self._lock:
            self._deferred_until[job_id] = time.monotonic() + RETRY_S


def _next_job(
    connection: Connection, priority: Priority, latest: int, without: Collection[int]
) -> Row[Any] | None:
    # The job with a free chunk whose id follows that of the latest, or the first one.
    query = (
        select(jobs)
        .where(*_HAS_WORKERS, jobs.c.priority == priority, jobs.c.id.not_in(without))
        .where(exists().where(chunks.c.job_id == jobs.c.id, *IS_FREE))
        .order_by(jobs.c.id <= latest, jobs.c.id)
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def waiting_chunks(database: Database) -> Mapping[Priority, int]:
    """How many chunks of each priority active workers could claim now, at most one for each place.

    A job whose photos are not selected yet counts as one.
    """
    active = (
        select(workers.c.device, func.count().label("number"))
        .where(_silent_s() < WORKER_TIMEOUT_S)
        .group_by(workers.c.device)
    )
    with database.read() as connection:
        rows = connection.execute(active)
        places = sum(chunks_at_once(row.device) * int(row.number) for row in rows)
        counts = [
            select(func.count())
            .select_from(
                select(literal(1))
                .select_from(
                    jobs.outerjoin(
                        chunks,
                        and_(chunks.c.job_id == jobs.c.id, *IS_FREE),
                    )
                )
                .where(*_HAS_WORKERS, or_(chunks.c.job_id.is_not(None), IS_UNFILLED))
                .where(jobs.c.priority == priority)
                .limit(max(FEWEST_PLACES, places))
                .subquery()
            )
            .scalar_subquery()
            for priority in Priority
        ]
        row = connection.execute(select(*counts)).one()
    return dict(zip(Priority, row, strict=True))


def is_worker_needed(database: Database) -> bool:
    with database.read() as connection:
        is_due = (
            schedules.c.paused.is_(False),
            schedules.c.next_due <= current_time(connection),
        )
        needed = select(or_(exists().where(*_HAS_WORKERS), exists().where(*is_due)))
        return bool(connection.scalar(needed))


def chunks_at_once(device: str) -> int:
    return MOST_AT_ONCE if device == "cuda" else FEWEST_AT_ONCE


class ExpiredLeases:
    """Chunks whose worker has not renewed its lease: of one job, or of all.

    The sweepers of workers release those of all jobs, and who runs a local job releases those of this one.
    """

    def __init__(self, database: Database, job_id: int | None = None) -> None:
        self._database = database
        self._job_id = job_id
        # By the database's clock.
        self._checked_at: float | None = None
        self._grace_until = 0.0

    def can_judge(self) -> bool:
        """Whether an expired lease tells that its holder ended; after an outage, holders have RENEW_S.

        So they have after this machine slept, or this process was stopped with its workers. Call it at least
        every RENEW_S.
        """
        now = self._database.scalar(select(db_now())) or 0.0
        if now - (self._checked_at or now) > LEASE_S - RENEW_S:
            self._grace_until = time.monotonic() + RENEW_S
        self._checked_at = now
        return time.monotonic() >= self._grace_until

    def release(self) -> list[str]:
        return release_expired(self._database, self._job_id) if self.can_judge() else []


def release_expired(database: Database, job_id: int | None = None) -> list[str]:
    """Release the chunks whose lease has expired, of one job or of all. Returns the worker of each.

    The token stays valid until the next claim. A chunk that its worker has locked waits.
    """
    key = chunks.c.job_id, chunks.c.chunk
    expired = select(*key).where(
        chunks.c.done.is_(False),
        chunks.c.lease_until < db_now(),
    )
    if job_id is not None:
        expired = expired.where(chunks.c.job_id == job_id)
    is_free = tuple_(*key).in_(expired.with_for_update(skip_locked=True))
    released = (
        update(chunks)
        .where(is_free)
        .values(lease_until=None)
        .returning(chunks.c.worker)
    )
    with database.write() as connection:
        return list(connection.scalars(released))


def release_chunks_of(database: Database, job_id: int, worker: str) -> None:
    """Release the chunks of a job that a worker held when it died, as after the end of its lease."""
    held = (
        chunks.c.job_id == job_id,
        chunks.c.worker == worker,
        chunks.c.done.is_(False),
    )
    database.execute(update(chunks).where(*held).values(lease_until=None))


def list_suspended_jobs(database: Database) -> dict[int, tuple[str | None, list[int]]]:
    """The jobs that wait, by id: for which folder (see suspend_for_root), and the roots of their open items.

    The ends of their chunks tell the roots.
    """
    ends = job_items.c.position.in_((chunks.c.first, chunks.c.last))
    query = (
        select(jobs.c.id, photos.c.root_id)
        .join(chunks, chunks.c.job_id == jobs.c.id)
        .join(job_items, (job_items.c.job_id == chunks.c.job_id) & ends)
        .join(photos, photos.c.id == job_items.c.photo_id)
        .where(jobs.c.state == JobState.WAITING, chunks.c.done.is_(False))
        .distinct()
    )
    root_ids: dict[int, list[int]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            root_ids.setdefault(row.id, []).append(row.root_id)
        notes = select(jobs.c.id, jobs.c.note_message).where(jobs.c.id.in_(root_ids))
        rows = connection.execute(notes).all() if root_ids else ()
    messages = {row.id: row.note_message or {} for row in rows}
    return {
        job_id: (message.get("values", {}).get("name"), root_ids[job_id])
        for job_id, message in messages.items()
    }


def resume_suspended_jobs(database: Database, job_ids: Iterable[int]) -> None:
    """Queue the open items of jobs whose roots are available again."""
    with database.write() as connection:
        for job_id in job_ids:
            values = {"state": JobState.QUEUED} | note_columns(None)
            update_job(connection, job_id, values, jobs.c.state == JobState.WAITING)


def _silent_s() -> ColumnElement[float]:
    # Seconds since the heartbeat. After the clock was set back, one counts as old as it is ahead.
    return func.abs(db_now() - workers.c.heartbeat_at)


# How long a silent worker without chunks is reported. Others have taken over its work long before.
SILENT_WORKER_S = 600.0


@dataclass(frozen=True)
class WorkerStatus:
    name: str
    device: str
    started_at: datetime
    seen_seconds_ago: float
    chunks: int
    waits_for: str | None = None
    waits_for_message: Mapping[str, Any] | None = None
    photos_per_second: float | None = None
    processes: int = 1

    @property
    def is_starting(self) -> bool:
        return has_code(self.waits_for, self.waits_for_message, NoteCode.STARTING)


@dataclass(frozen=True)
class DeviceStatus:
    device: str
    workers: int
    photos_per_second: float


def record_heartbeat(
    database: Database,
    name: str,
    device: str,
    waits_for: Note | None = None,
    photos_per_second: float | None = None,
) -> None:
    """Record that the worker is alive, why it waits, and its rate. Its first heartbeat adds it."""
    state = {
        "device": device,
        "heartbeat_at": db_now(),
        "photos_per_second": photos_per_second,
    } | note_columns(waits_for, "waits_for")
    with database.write() as connection:
        started_at = current_time(connection)
        row = {
            "name": name,
            "device": device,
            "started_at": started_at,
            "heartbeat_at": 0.0,
        }
        insert_missing(connection, workers, [row])
        connection.execute(update(workers).where(workers.c.name == name).values(state))


def remove_worker(database: Database, name: str) -> None:
    database.execute(delete(workers).where(workers.c.name == name))


def list_workers(database: Database) -> list[WorkerStatus]:
    """The active workers, by name. The processes of one worker are one."""
    age = _silent_s().label("age")
    query = select(workers, age).where(age < WORKER_TIMEOUT_S).order_by(workers.c.name)
    is_claimed = (chunks.c.done.is_(False), chunks.c.lease_until > db_now())
    counts = select(chunks.c.worker, func.count().label("claimed")).where(*is_claimed)
    claims = database.rows(counts.group_by(chunks.c.worker))
    claimed = {row.worker: row.claimed for row in claims}
    groups: dict[str, list[Row[Any]]] = {}
    for row in database.rows(query):
        groups.setdefault(worker_of(row.name)[0], []).append(row)
    statuses = []
    for name, processes in groups.items():
        rates = [row.photos_per_second for row in processes]
        known_rates = [rate for rate in rates if rate is not None]
        # It waits only if all its processes do.
        at_work = [row for row in processes if not row.waits_for]
        status = document_of(
            WorkerStatus,
            (at_work or processes)[0],
            name=name,
            started_at=min(row.started_at for row in processes),
            seen_seconds_ago=float(min(row.age for row in processes)),
            chunks=sum(claimed.get(row.name, 0) for row in processes),
            photos_per_second=round(sum(known_rates), 2) if known_rates else None,
            processes=len(processes),
        )
        statuses.append(status)
    return statuses


_PROCESS = re.compile(r"(tagger-\d+)\.(\d+)(@.*)")


def worker_of(name: str) -> tuple[str, int | None]:
    """The worker that a process belongs to, and the number of the process: `tagger-7.2@rack` is its second.

    None: the worker has no other process.
    """
    match = _PROCESS.fullmatch(name)
    return (match[1] + match[3], int(match[2])) if match else (name, None)


def by_device(active: Iterable[WorkerStatus]) -> list[DeviceStatus]:
    groups: dict[str, list[WorkerStatus]] = {}
    for worker in active:
        groups.setdefault(worker.device, []).append(worker)
    kinds = [
        DeviceStatus(
            device, len(group), sum(worker.photos_per_second or 0.0 for worker in group)
        )
        for device, group in groups.items()
    ]
    return sorted(kinds, key=lambda kind: (-kind.photos_per_second, kind.device))


def silent_workers(database: Database) -> list[Row[Any]]:
    """The workers that fell silent without a shutdown, lately or with chunks, the longest silent first."""
    claimed = (
        select(func.count())
        .where(chunks.c.worker == workers.c.name, chunks.c.lease_until.is_not(None))
        .scalar_subquery()
    )
    silent = _silent_s().label("silent_s")
    query = select(workers.c.name, silent, claimed.label("claimed")).where(
        silent > WORKER_TIMEOUT_S
    )
    rows = database.rows(query.order_by(silent.desc()))
    return [row for row in rows if row.claimed or row.silent_s < SILENT_WORKER_S]


# Beat sends a tick every 20 s, and a worker takes it between two chunks.
LATE_TICK_S = 180.0


@dataclass(frozen=True)
class LastTick:
    """The last check for due schedules; None before the first. `is_late`: none for LATE_TICK_S.

    `seconds_ago` is negative if the clock was set back since.
    """

    at: datetime | None
    seconds_ago: float | None
    is_late: bool


def record_tick(database: Database) -> None:
    database.execute(update(ledgers).values(last_tick_at=db_now()))


def find_last_tick(database: Database) -> LastTick | None:
    """The last tick; None if no schedule is enabled, as ticks then have nothing to start."""
    last_tick_at = select(ledgers.c.last_tick_at).scalar_subquery()
    query = select(
        db_now().label("now"),
        last_tick_at.label("tick"),
        func.min(schedules.c.created_at).label("added"),
    ).where(schedules.c.paused.is_(False))
    (row,) = database.rows(query)
    if row.added is None:
        return None
    if row.tick is None:
        return LastTick(None, None, row.now - row.added.timestamp() > LATE_TICK_S)
    seconds_ago = row.now - row.tick
    return LastTick(
        datetime.fromtimestamp(row.tick, UTC),
        seconds_ago,
        abs(seconds_ago) > LATE_TICK_S,
    )
