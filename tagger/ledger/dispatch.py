"""Which chunk a worker processes next, and how many workers to wake for the chunks that wait.

Redis carries wake-ups only, which say nothing: a worker that receives one claims what is next here. So a
wake-up too many finds nothing, and one too few is sent by the next sweep.
"""

import threading
import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Row, exists, func, literal, select, tuple_, update

from tagger.database.connection import Database
from tagger.database.enums import JobState, Priority, Runner, note_columns
from tagger.database.statements import db_now
from tagger.database.tables import chunks, job_items, jobs, photos, workers
from tagger.ledger.chunks import IS_FREE, Claim, claim_first_chunk
from tagger.ledger.jobs import CLAIMABLE

WORKER_TIMEOUT_S = 30.0
"""A worker without a heartbeat for this long is not active. Heartbeats come every 10 s."""
FEWEST_PLACES = 8
"""The places that are assumed before the first workers send heartbeats."""
CHUNKS_AT_ONCE = {"cuda": 8}
"""How many chunks a worker on a device processes at once. A GPU's pipeline holds up to three batches of 512 photos, and
chunks have 256: with two, its batches would be part empty whenever a chunk ends."""
FEWEST_AT_ONCE = 2
"""The same for all other devices: the next chunk is read while the last batches of the current one are stored."""
INTERACTIVE_IN_A_ROW = 3
"""Interactive chunks that a worker claims before a bulk one."""
RETRY_S = 10.0
"""How long a process claims no chunks of a job after one of them failed in it."""

_HAS_WORKERS = (jobs.c.runner == Runner.WORKERS, jobs.c.state.in_(CLAIMABLE))


class ChunkClaimer:
    """Claims chunks for the threads of one worker. The jobs of a priority take turns."""

    def __init__(self, database: Database, worker: str) -> None:
        self._database = database
        self._worker = worker
        self._lock = threading.Lock()
        self._latest: dict[Priority, int] = {}
        """The job of the latest claim, by priority."""
        self._in_a_row = 0
        """Interactive chunks since the last bulk one."""
        self._deferred_until: dict[int, float] = {}
        """Jobs of which no chunk is claimed now, and until when, by the monotonic clock."""

    def claim(self, priorities: Collection[Priority]) -> Claim | None:
        """Claim the first free chunk of the job whose turn it is. None if no job of these priorities has one.

        Interactive jobs come first, except that every fourth chunk may be a bulk one.
        """
        is_bulk_next = self._in_a_row >= INTERACTIVE_IN_A_ROW
        passed = set(self._deferred())
        with self._database.write() as connection:
            for priority in sorted(priorities, key=lambda each: (each is Priority.BULK) != is_bulk_next):
                while job := _next_job(connection, priority, self._latest.get(priority, 0), passed):
                    self._latest[priority] = job.id
                    claim = claim_first_chunk(connection, job, self._worker)
                    if claim is not None:
                        self._in_a_row = 0 if priority is Priority.BULK else self._in_a_row + 1
                        return claim
                    passed.add(job.id)  # other workers have claimed its last chunks, or it was paused
        return None

    def defer(self, job_id: int) -> None:
        """Claim no chunk of this job for RETRY_S: one has failed in this process."""
        with self._lock:
            self._deferred_until[job_id] = time.monotonic() + RETRY_S

    def _deferred(self) -> Collection[int]:
        now = time.monotonic()
        with self._lock:
            self._deferred_until = {job: until for job, until in self._deferred_until.items() if until > now}
            return tuple(self._deferred_until)


def _next_job(
    connection: Connection, priority: Priority, latest: int, without: Collection[int]
) -> Row[Any] | None:
    """The job with a free chunk whose id follows that of the latest, or the first one."""
    query = (
        select(jobs)
        .where(*_HAS_WORKERS, jobs.c.priority == priority, jobs.c.id.not_in(without))
        .where(exists().where(chunks.c.job_id == jobs.c.id, *IS_FREE))
        .order_by(jobs.c.id <= latest, jobs.c.id)
        .limit(1)
    )
    return connection.execute(query).one_or_none()


def waiting_chunks(database: Database) -> Mapping[Priority, int]:
    """How many chunks of each priority active workers could claim now: those that are free, at most one for each of their places."""
    with database.read() as connection:
        most = worker_places(connection)
        counts = [
            select(func.count())
            .select_from(
                select(literal(1))
                .select_from(jobs.join(chunks, chunks.c.job_id == jobs.c.id))
                .where(*_HAS_WORKERS, *IS_FREE, jobs.c.priority == priority)
                .limit(most)
                .subquery()
            )
            .scalar_subquery()
            for priority in Priority
        ]
        row = connection.execute(select(*counts)).one()
    return dict(zip(Priority, row, strict=True))


def worker_places(connection: Connection) -> int:
    """The number of chunks that all active workers process at once, at least FEWEST_PLACES."""
    active = workers.c.heartbeat_at > db_now() - WORKER_TIMEOUT_S
    query = select(workers.c.device, func.count()).where(active).group_by(workers.c.device)
    places = sum(chunks_at_once(row[0]) * int(row[1]) for row in connection.execute(query))
    return max(FEWEST_PLACES, places)


def chunks_at_once(device: str) -> int:
    """The number of chunks that a worker on this device processes at once."""
    return CHUNKS_AT_ONCE.get(device, FEWEST_AT_ONCE)


def release_expired(database: Database) -> int:
    """Release the chunks whose lease has expired. Returns their number.

    The token stays valid until the next claim: a worker that could not reach the database still stores its results. A chunk that one has
    locked waits: the server may not know yet that the machine is gone.
    """
    key = chunks.c.job_id, chunks.c.chunk
    expired = select(*key).where(chunks.c.done.is_(False), chunks.c.lease_until < db_now())
    is_free = tuple_(*key).in_(expired.with_for_update(skip_locked=True))
    with database.write() as connection:
        released = connection.execute(update(chunks).where(is_free).values(lease_until=None))
    return released.rowcount


def roots_of_suspended_jobs(database: Database) -> dict[int, list[int]]:
    """The jobs that wait for a root, with the roots of their open items.

    Items are ordered by root, so the first and last item of each chunk tell its roots and the rest is not read.
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
    roots: dict[int, list[int]] = {}
    with database.read() as connection:
        for row in connection.execute(query):
            roots.setdefault(row.id, []).append(row.root_id)
    return roots


def resume_suspended_jobs(database: Database, job_ids: Iterable[int]) -> None:
    """Queue the open items of jobs whose roots are available again."""
    with database.write() as connection:
        for job_id in job_ids:
            connection.execute(
                update(jobs)
                .where(jobs.c.id == job_id, jobs.c.state == JobState.WAITING)
                .values(state=JobState.QUEUED, **note_columns(None))
            )
