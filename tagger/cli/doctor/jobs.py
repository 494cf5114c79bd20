"""Checks of jobs and workers: whether workers are running, jobs progress, and schedules run on time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.doctor.findings import note, ok, wrong
from tagger.cli.output.job_text import (
    NO_WORKER_YET,
    START_BEAT,
    count_of,
    idle_workers_text,
    tick_text,
    worker_text,
)
from tagger.cli.supervisor import keeps_worker
from tagger.database.enums import JobState, Runner
from tagger.database.statements import current_time
from tagger.jobs.enqueue.schedules import list_schedules
from tagger.ledger.dispatch import waiting_chunks
from tagger.ledger.workers import (
    OLD_JOB_S,
    find_last_tick,
    list_workers,
    open_jobs,
    silent_workers,
    stuck_chunks,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.ledger.workers import OpenJob, SilentWorker, WorkerStatus

JOBS_SHOWN = 10
LATE_S = 300.0
"""A tick comes every 20 s, so a run that is this late has no beat or no worker, or fails."""


def check_jobs(database: Database, data_folder: Path) -> Iterator[Finding]:
    """Check the workers, which may be starting: see `keeps_worker`. Then the jobs that they have, and the schedules."""
    workers, silent, jobs = list_workers(database), silent_workers(database), open_jobs(database)
    is_starting = not workers and keeps_worker(data_folder, database)
    yield _check_starting_worker(database, data_folder) if is_starting else _check_workers(database, workers)
    has_worker = is_starting or bool(workers)
    yield from (_check_silent_worker(worker, has_worker=has_worker) for worker in silent)
    yield from _check_open_jobs(jobs, has_worker=has_worker)
    yield from _check_attempts(database)
    yield from _check_schedules(database)


def _check_workers(database: Database, workers: Sequence[WorkerStatus]) -> Finding:
    waiting = sum(waiting_chunks(database).values())
    idle = idle_workers_text(workers)
    if workers and waiting and idle is not None:
        found = f"{count_of(waiting, 'chunk')} of photos wait: {idle}"
        return note("workers", found, "tagger worker, on a machine or with options that let it work now")
    if workers:
        return ok("workers", ", ".join(map(worker_text, workers)))
    if waiting:
        found = f"no worker is running, and {count_of(waiting, 'chunk')} of photos are waiting for one"
        return wrong("workers", found, "tagger worker")
    return ok("workers", "no worker is running, and no job needs one")


def _check_starting_worker(database: Database, data_folder: Path) -> Finding:
    if not any(waiting_chunks(database).values()):
        return ok("workers", NO_WORKER_YET)
    return note("workers", NO_WORKER_YET, f"if none starts, read {data_folder / 'worker.log'}")


def _check_silent_worker(worker: SilentWorker, *, has_worker: bool) -> Finding:
    """A worker that stops removes its row; one that was killed or hangs leaves it."""
    silence = f"{worker.name} has been silent for {_duration(worker.silent_s)}"
    host = worker.name.rpartition("@")[2]
    remedy = f"read the log of the worker, and run dmesg on {host} to check whether memory ran out"
    if not worker.chunks:
        return note("workers", f"{silence}: it was killed or hangs", remedy)
    claims = f"{silence} with {count_of(worker.chunks, 'claimed chunk')}"
    if has_worker:
        return note("workers", f"{claims}; other workers take them over within a minute", remedy)
    return wrong("workers", f"{claims}, and no other worker is running to take them over", "tagger worker")


def _check_open_jobs(jobs: Sequence[OpenJob], *, has_worker: bool) -> Iterator[Finding]:
    problems = [finding for job in jobs if (finding := _check_job(job, has_worker=has_worker)) is not None]
    yield from problems[:JOBS_SHOWN]
    if len(problems) > JOBS_SHOWN:
        yield note("jobs", f"{len(problems) - JOBS_SHOWN} more jobs have problems", "tagger status --json")
    if not problems:
        yield ok("jobs", f"{count_of(len(jobs), 'open job')}, none is blocked" if jobs else "none is open")


def _check_job(job: OpenJob, *, has_worker: bool) -> Finding | None:
    if job.owner_lease_expired:
        found = f"the process of job {job.job} has exited; the next command that manages jobs ends or continues the job"
        return note("jobs", found, "tagger status")
    if job.state == JobState.WAITING:
        found, _, remedy = (job.note or "waits").partition(". ")
        remedy = remedy or "mount the folder, or set its location with TAGGER_ROOTS"
        return wrong("jobs", f"job {job.job} {found}", remedy)
    needs_worker = job.runner == Runner.WORKERS and job.state != JobState.PAUSED
    if needs_worker and not has_worker and job.age_s > OLD_JOB_S:
        found = (
            f"job {job.job} was created {_duration(job.age_s)} ago and is not done, and no worker is running"
        )
        return wrong("jobs", found, "tagger worker")
    if job.note:
        return note("jobs", f"job {job.job}: {job.note}", f"tagger job show {job.job}")
    return None


def _check_attempts(database: Database) -> Iterator[Finding]:
    chunks = stuck_chunks(database)
    for chunk in chunks:
        photos = f"photos {chunk.first + 1} to {chunk.last + 1} of job {chunk.job}"
        found = (
            f"{photos} were started {chunk.attempts} times and are not done: something kills their workers"
        )
        remedy = "read the end of the workers' logs; a photo that crashes workers will fail as crashed"
        yield note("attempts", found, remedy)
    if not chunks:
        yield ok("attempts", "no chunk has failed repeatedly")


def _check_schedules(database: Database) -> Iterator[Finding]:
    last_tick = find_last_tick(database)
    if last_tick is None:
        return
    active = [schedule for schedule in list_schedules(database) if not schedule.paused]
    with database.read() as connection:
        now = current_time(connection)
    late = [schedule for schedule in active if (now - schedule.next_due).total_seconds() > LATE_S]
    if late:
        names = ", ".join(schedule.name for schedule in late)
        found = f"{names}: due since {late[0].next_due:%Y-%m-%d %H:%M} UTC, but has not run; {tick_text(last_tick)}"
        runs = last_tick.at is not None and not last_tick.is_late
        yield wrong("schedules", found, "read the logs of the workers" if runs else START_BEAT)
    elif last_tick.is_late:
        yield wrong(
            "schedules",
            f"{count_of(len(active), 'schedule')} will not run: {tick_text(last_tick)}",
            START_BEAT,
        )
    else:
        yield ok("schedules", f"{count_of(len(active), 'schedule')}, none is late; {tick_text(last_tick)}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
