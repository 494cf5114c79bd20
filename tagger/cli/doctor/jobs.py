"""Checks of Redis, workers, jobs and schedules, and whether the roots of photos are available."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.doctor import failed, note, ok, wrong
from tagger.cli.output.job_text import (
    START_BEAT,
    count_of,
    duration_text,
    idle_workers_text,
    tick_text,
    worker_text,
)
from tagger.database.enums import JobState
from tagger.errors import TaggerError
from tagger.ledger.progress import list_recent_jobs
from tagger.ledger.workers import find_last_tick, list_workers, silent_workers, waiting_chunks
from tagger.roots.availability import unavailable_folders
from tagger.roots.roots import count_root_photos, list_roots
from worker.broker import check_accepts_messages, find_broker, is_stopped, queue_depths
from worker.embedded_redis import server_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database
    from tagger.ledger.progress import JobProgress
    from tagger.roots.roots import RootPaths
    from tagger.settings import Settings

SHOWN = 10
"""Jobs and roots that are named."""
NO_LEDGER = ""
"""In place of the ledger's id where the database cannot be opened: it has no messages."""


def check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check that Redis answers and accepts messages."""
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        check_accepts_messages(broker)
        if (problem := queue_depths(broker)[1]) is not None:  # of a right that workers lack
            raise problem
    except TaggerError as error:
        if broker.embedded and server_program() is None:
            found = "no Redis is configured, and the extra `embedded` is not installed"
            yield note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
        elif is_stopped(broker, error.__cause__):
            yield ok("redis", "the embedded Redis is not running; it starts when it is needed")
        else:
            yield failed("redis", error)
    else:
        server = "the embedded Redis" if broker.embedded else broker.redacted_url
        yield ok("redis", f"{server} answers and accepts messages")


def check_jobs(database: Database) -> Iterator[Finding]:
    """Check the workers, the jobs that they have, and the schedules."""
    yield _check_workers(database)
    for worker in silent_workers(database):
        found = f"{worker.name} has been silent for {duration_text(worker.silent_s)}: it was killed or hangs"
        remedy = "start it again, read its log, and look with dmesg whether memory ran out"
        yield note("workers", found, remedy)
    jobs, _ = list_recent_jobs(database, 0)
    problems = [finding for job in jobs if (finding := _check_job(job)) is not None]
    yield from problems[:SHOWN]
    if not problems:
        yield ok("jobs", count_of(len(jobs), "open job") if jobs else "none is open")
    if (last_tick := find_last_tick(database)) is not None:
        text = tick_text(last_tick)
        late = last_tick.is_late
        yield wrong("schedules", f"they do not run: {text}", START_BEAT) if late else ok("schedules", text)


def _check_workers(database: Database) -> Finding:
    workers = list_workers(database)
    idle = idle_workers_text(workers)
    if idle is not None and any(waiting_chunks(database).values()):
        if workers:
            return note(
                "workers", f"photos wait: {idle}", "remove what they wait for, or start another worker"
            )
        return wrong("workers", "photos wait: no worker is running", "tagger worker")
    return ok("workers", ", ".join(map(worker_text, workers)) or "none is running, and no job needs one")


def _check_job(job: JobProgress) -> Finding | None:
    if job.state == JobState.WAITING:
        found, _, remedy = (job.note or "waits").partition(". ")
        remedy = remedy or "mount the folder, or set its location with TAGGER_ROOTS"
        return wrong("jobs", f"job {job.job} {found}", remedy)
    return note("jobs", f"job {job.job}: {job.note}", f"tagger job show {job.job}") if job.note else None


def check_roots(database: Database, root_paths: RootPaths) -> Iterator[Finding]:
    """Check that the folders and buckets of photos are there, and that TAGGER_ROOTS names roots."""
    with database.read() as connection:
        roots = list_roots(connection, root_paths)
        problems = [
            each.error(connection)
            for each in unavailable_folders(connection, roots)
            if each.mount.problem or count_root_photos(connection, each.root, each.folder)
        ]
    names = [root.name for root in roots]
    if names and (unknown := root_paths.keys() - names):
        found = f"TAGGER_ROOTS names {min(unknown)}, which is not a root; the roots are {', '.join(names)}"
        yield note("roots", found, "correct or remove it in TAGGER_ROOTS")
    for problem in problems[:SHOWN]:
        yield failed("roots", problem)
    if not problems:
        yield ok("roots", f"{', '.join(names[:SHOWN])}: available" if roots else "none yet")
