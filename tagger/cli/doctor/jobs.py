"""Checks of Redis, workers, jobs and schedules, and whether the roots of photos are available."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from tagger.catalog.roots import count_root_photos, list_roots, root_mounts
from tagger.cli.doctor import note, ok, wrong
from tagger.cli.output.job_text import (
    START_BEAT,
    count_of,
    duration_text,
    idle_workers_text,
    tick_text,
    worker_text,
)
from tagger.database.enums import JobState, NoteCode, has_code
from tagger.ledger.progress import list_recent_jobs
from tagger.ledger.workers import find_last_tick, list_workers, silent_workers, waiting_chunks
from tagger.photos.folders import Mount, MountState
from tagger.photos.paths import ObjectPath

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.catalog.roots import Root, RootPaths
    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database
    from tagger.ledger.progress import JobProgress
    from tagger.ledger.workers import WorkerStatus
from contextlib import suppress
from typing import TYPE_CHECKING

import redis

from tagger.errors import RedisMisconfigured, RedisRefused, TaggerError
from worker.broker import check_accepts_messages, find_broker, is_stopped, queue_depths
from worker.embedded_redis import server_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings
    from worker.broker import RedisEndpoint


PROBLEMS_SHOWN = 10


def check_jobs(database: Database) -> Iterator[Finding]:
    """Check the workers, the jobs that they have, and the schedules."""
    workers = list_workers(database)
    yield _check_workers(database, workers)
    yield from (_check_silent_worker(worker, has_worker=bool(workers)) for worker in silent_workers(database))
    jobs, _ = list_recent_jobs(database, 0)
    problems = [finding for job in jobs if (finding := _check_job(job)) is not None]
    yield from problems[:PROBLEMS_SHOWN]
    if not problems:
        yield ok("jobs", count_of(len(jobs), "open job") if jobs else "none is open")
    if (last_tick := find_last_tick(database)) is not None:
        text = tick_text(last_tick)
        late = last_tick.is_late
        yield wrong("schedules", f"they do not run: {text}", START_BEAT) if late else ok("schedules", text)


def _check_workers(database: Database, workers: Sequence[WorkerStatus]) -> Finding:
    idle = idle_workers_text(workers)
    if idle is not None and any(waiting_chunks(database).values()):
        make_finding = note if workers else wrong
        return make_finding("workers", f"photos wait: {idle}", _idle_remedy(workers))
    if workers:
        return ok("workers", ", ".join(map(worker_text, workers)))
    return ok("workers", "no worker is running, and no job needs one")


def _idle_remedy(workers: Sequence[WorkerStatus]) -> str:
    if not workers:
        return "tagger worker"
    refused = (has_code(each.waits_for, each.waits_for_message, NoteCode.REDIS_REFUSES) for each in workers)
    if any(refused):
        return "let Redis accept messages: see `redis` above"
    return "remove what they wait for, or start a worker on another machine"


def _check_silent_worker(worker: Any, *, has_worker: bool) -> Finding:
    """A worker that stops removes its row; one that was killed or hangs leaves it."""
    found = f"{worker.name} has been silent for {duration_text(worker.silent_s)}: it was killed or hangs"
    if worker.claimed and not has_worker:
        found = f"{found}, while it processed photos, and no other worker is running to take them over"
        return wrong("workers", found, "tagger worker")
    host = worker.name.rpartition("@")[2]
    remedy = f"read the log of the worker, and run dmesg on {host} to check whether memory ran out"
    return note("workers", found, remedy)


def _check_job(job: JobProgress) -> Finding | None:
    if job.state == JobState.WAITING:
        found, _, remedy = (job.note or "waits").partition(". ")
        remedy = remedy or "mount the folder, or set its location with TAGGER_ROOTS"
        return wrong("jobs", f"job {job.job} {found}", remedy)
    if job.note:
        return note("jobs", f"job {job.job}: {job.note}", f"tagger job show {job.job}")
    return None


def check_roots(database: Database, root_paths: RootPaths) -> Iterator[Finding]:
    with database.read() as connection:
        roots = list_roots(connection, root_paths)
    names = [root.name for root in roots]
    if names and (unknown := root_paths.keys() - names):
        found = f"TAGGER_ROOTS names {min(unknown)}, which is not a root; the roots are {', '.join(names)}"
        yield note("roots", found, "correct or remove it in TAGGER_ROOTS")
    checks = (_check_root(database, *each) for each in zip(roots, root_mounts(roots), strict=True))
    problems = [finding for finding in checks if finding is not None]
    yield from problems[:PROBLEMS_SHOWN]
    if not problems:
        yield ok("roots", f"{', '.join(names[:PROBLEMS_SHOWN])}: available" if roots else "none yet")


def _check_root(database: Database, root: Root, mount: Mount) -> Finding | None:
    """An empty folder or bucket is a problem only if the database has photos in it."""
    folder = root.folder
    if mount.state is MountState.FILLED:
        return None
    if mount.problem:
        reason, _, remedy = mount.problem.partition(". ")
        return wrong("roots", f"{folder} is not available: {reason}", remedy or "tagger doctor")
    if mount.state is MountState.SILENT:
        found = f"{folder} does not answer; its share seems to be dead"
        return wrong("roots", found, f"umount -l {folder}, then mount it again")
    is_folder = not isinstance(folder, ObjectPath)
    if is_folder and folder.exists() and not os.access(folder, os.R_OK | os.X_OK):
        return wrong("roots", f"the current user cannot read {folder}", f"sudo chmod -R a+rX {folder}")
    with database.read() as connection:
        count = count_root_photos(connection, root)
    if not count:
        return None
    found = f"{folder} is missing or empty, but the database has {count_of(count, 'photo')} in it"
    mapping = f'TAGGER_ROOTS=\'{{"{root.name}": "/new/location"}}\''
    remedy = (
        f"mount it; or set {mapping}"
        if not isinstance(folder, ObjectPath)
        else "check the bucket and the endpoint"
    )
    return wrong("roots", found, f"{remedy}; or, if it is deleted: tagger forget {folder}")


NO_LEDGER = ""
"""In place of the ledger's id where the database cannot be opened: the server is checked, and it has no messages."""


def check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check Redis as every command does, and whether it drops messages when it is full."""
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        check_accepts_messages(broker)
        if (problem := queue_depths(broker)[1]) is not None:  # of a right that workers lack
            raise problem
    except TaggerError as error:
        yield _unavailable(broker, error)
        return
    server = "the embedded Redis" if broker.embedded else broker.redacted_url
    yield ok("redis", f"{server} answers and accepts messages")
    # A user may lack the right to ask, which no other command needs.
    with suppress(redis.ResponseError), broker.client() as client:
        memory = dict(client.info("memory"))
        policy = memory.get("maxmemory_policy", "noeviction")
        if int(memory.get("maxmemory", 0)) and policy != "noeviction":
            found = f"maxmemory-policy is {policy}: a full Redis drops messages"
            yield wrong("redis", found, "config set maxmemory-policy noeviction (and in redis.conf)")


def _unavailable(broker: RedisEndpoint, error: TaggerError) -> Finding:
    reason = error.values.get("reason", error)
    if isinstance(error, RedisRefused):
        remedy = "give it more memory or disk, or repair its replication"
        return wrong("redis", f"it refuses messages: {reason}", remedy)
    if not broker.embedded and isinstance(error, RedisMisconfigured):
        found = f"Redis at {broker.redacted_url} cannot be used: {reason}"
        return wrong("redis", found, "correct TAGGER_REDIS_URL, or the user's rights in Redis")
    if not broker.embedded:
        found = f"Redis at {broker.redacted_url} does not answer: {reason}"
        return wrong("redis", found, "start it, or correct TAGGER_REDIS_URL")
    if server_program() is None:
        found = "no Redis is configured, and the extra `embedded` is not installed"
        return note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
    if is_stopped(broker, error.__cause__):
        return ok("redis", "the embedded Redis is not running; it starts when it is needed")
    found = f"the embedded Redis runs and does not answer at {broker.redacted_url}"
    return wrong("redis", found, "continue or kill its process valkey-server; the next worker starts it")
