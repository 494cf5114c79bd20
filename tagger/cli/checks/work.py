"""Checks of the work: workers are there where work waits, none fell silent, nothing takes them down, jobs move."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tagger.cli.checks.findings import note, ok, wrong
from tagger.ledger.progress import list_workers
from tagger.ledger.troubles import OLD_S, hard_chunks, open_jobs, silent_workers, waiting_chunks
from tagger.schedules import list_schedules
from tagger.tables import JobState, Runner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tagger.cli.checks.findings import Finding
    from tagger.database import Database
    from tagger.ledger.progress import WorkerSeen
    from tagger.ledger.troubles import OpenJob, SilentWorker

JOBS_SHOWN = 10
LATE_S = 300.0
"""Clocks tick every 20 s; a run that is later than this is not coming."""


def check_work(database: Database) -> Iterator[Finding]:
    seen, silent, jobs = list_workers(database), silent_workers(database), open_jobs(database)
    yield _check_workers(database, seen)
    yield from (_judge_silent(worker, seen) for worker in silent)
    yield from _check_jobs(jobs, seen)
    yield from _check_attempts(database)
    yield from _check_schedules(database)


def _check_workers(database: Database, seen: Sequence[WorkerSeen]) -> Finding:
    if seen:
        return ok("workers", ", ".join(f"{each.name} ({each.device}, {each.chunks} chunks)" for each in seen))
    waiting = waiting_chunks(database).count
    if waiting:
        return wrong(
            "workers",
            f"none is there, and {_count(waiting, 'chunk')} of photos wait for one",
            "tagger worker",
        )
    return ok("workers", "none is there, and nothing waits for one")


def _judge_silent(worker: SilentWorker, seen: Sequence[WorkerSeen]) -> Finding:
    """One that ends takes its row away; one that was killed or stands still leaves it."""
    since = f"{worker.name} has been silent for {_duration(worker.silent_s)}"
    host = worker.name.rpartition("@")[2]
    look = f"look at its log and, for lack of memory, at dmesg on {host}"
    if not worker.chunks:
        return note("workers", f"{since}: it was killed or stands still", look)
    held = f"{since} with {_count(worker.chunks, 'chunk')} in hand"
    if seen:
        return note("workers", f"{held}; the other workers take them over within a minute", look)
    return wrong("workers", f"{held}, and nobody is there to take them over", "tagger worker")


def _check_jobs(jobs: Sequence[OpenJob], seen: Sequence[WorkerSeen]) -> Iterator[Finding]:
    troubles = [each for job in jobs if (each := _judge_job(job, seen)) is not None]
    yield from troubles[:JOBS_SHOWN]
    if len(troubles) > JOBS_SHOWN:
        yield note("jobs", f"{len(troubles) - JOBS_SHOWN} more of this kind", "tagger status --json")
    if not troubles:
        yield ok("jobs", f"{len(jobs)} open, none stands still" if jobs else "none is open")


def _judge_job(job: OpenJob, seen: Sequence[WorkerSeen]) -> Finding | None:
    if job.owner_is_late:
        found = f"the process that made job {job.job} is gone; the next command that sees it settles that"
        return note("jobs", found, "tagger status")
    if job.state == JobState.WAITING:
        return wrong(
            "jobs", f"job {job.job} {job.note or 'waits'}", "mount it, or say where it is with TAGGER_ROOTS"
        )
    if job.runner == Runner.WORKERS and not seen and job.age_s > OLD_S and job.state != JobState.PAUSED:
        found = f"job {job.job} was made {_duration(job.age_s)} ago, has photos left, and no worker is there"
        return wrong("jobs", found, "tagger worker")
    if job.note:
        return note("jobs", f"job {job.job}: {job.note}", f"tagger status {job.job}")
    return None


def _check_attempts(database: Database) -> Iterator[Finding]:
    hard = hard_chunks(database)
    for chunk in hard:
        photos = f"photos {chunk.first + 1} to {chunk.last + 1} of job {chunk.job}"
        found = f"{photos} were begun {chunk.attempts} times and are not done: something ends their workers"
        yield note(
            "attempts",
            found,
            "look at the end of the workers' logs; the photo that does it will fail as crashed",
        )
    if not hard:
        yield ok("attempts", "no photos were begun in vain")


def _check_schedules(database: Database) -> Iterator[Finding]:
    running = [each for each in list_schedules(database) if not each.paused]
    late = [each for each in running if (datetime.now(UTC) - each.next_due).total_seconds() > LATE_S]
    if late:
        found = f"{', '.join(each.name for each in late)}: due since {late[0].next_due:%Y-%m-%d %H:%M} UTC, and not run"
        yield wrong("schedules", found, "tagger beat, and a worker (or both: tagger up)")
    elif running:
        yield ok("schedules", f"{_count(len(running), 'schedule')}, none is late")


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
