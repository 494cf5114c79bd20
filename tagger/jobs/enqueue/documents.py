"""Jobs, workers, failures and schedules as JSON, the same from the command line and the API."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from tagger.database.enums import Runner
from tagger.jobs.enqueue.backfill import backfill_options
from tagger.jobs.enqueue.schedule_runs import ScheduleRun
from tagger.jobs.enqueue.schedules import Schedule
from tagger.jobs.enqueue.ticks import LastTick
from tagger.ledger.failures import FailingPhoto
from tagger.ledger.jobs import CLAIMABLE
from tagger.ledger.progress import JobProgress
from tagger.ledger.workers import WorkerStatus, by_device
from tagger.webhooks.messages import MessageCounts


def job_document(progress: JobProgress) -> dict[str, Any]:
    """A job. The states of its items add up to `total`."""
    times = {
        "created_at": progress.created_at,
        "started_at": progress.started_at,
        "finished_at": progress.finished_at,
    }
    return vars(progress) | {name: time and time.isoformat() for name, time in times.items()}


def waiting_document(jobs: Sequence[JobProgress], now: datetime) -> dict[str, Any]:
    """How much waits for workers, for what starts and stops them: photos, and the seconds since the oldest job of them was made.

    `now` is the database's time. Photos of jobs that are paused or wait for a folder do not count: more workers would not help.
    """
    waiting = [job for job in jobs if job.runner == Runner.WORKERS and job.state in CLAIMABLE and job.queued]
    oldest = min((job.created_at for job in waiting), default=None)
    return {
        "waiting_photos": sum(job.queued for job in waiting),
        "oldest_waiting_s": oldest and max(0.0, round((now - oldest).total_seconds(), 1)),
    }


def worker_document(worker: WorkerStatus) -> dict[str, Any]:
    """A worker with a recent heartbeat."""
    return vars(worker) | {"started_at": worker.started_at.isoformat()}


def device_documents(workers: Sequence[WorkerStatus]) -> list[dict[str, Any]]:
    """The workers of each kind of device together."""
    return [vars(kind) for kind in by_device(workers)]


def last_tick_document(tick: LastTick | None) -> dict[str, Any] | None:
    """The last tick of beat; null if no schedule is enabled."""
    return None if tick is None else vars(tick) | {"at": tick.at and tick.at.isoformat()}


def webhooks_document(counts: Mapping[str, MessageCounts]) -> dict[str, Any]:
    """How many events are not delivered to receivers of webhooks, together and to each that has not accepted all."""
    numbers = {name: {"pending": each.pending, "given_up": each.given_up} for name, each in counts.items()}
    sums = {state: sum(each[state] for each in numbers.values()) for state in ("pending", "given_up")}
    return {**sums, "receivers": numbers}


def failure_document(path: Path, photo: FailingPhoto) -> dict[str, Any]:
    """A photo that fails now, and the reason."""
    return {
        "path": str(path),
        "kind": photo.kind,
        "text": photo.text,
        "attempts": photo.attempts,
        "job": photo.job,
    }


def schedule_document(schedule: Schedule) -> dict[str, Any]:
    """A schedule, with its next due time."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "what": schedule.backfill.scope,
        "options": backfill_options(schedule.backfill),
        "priority": schedule.priority,
        "paused": schedule.paused,
        "next_due": schedule.next_due.isoformat(),
        "until": schedule.until,
    }


def run_document(run: ScheduleRun) -> dict[str, Any]:
    """A run of a schedule. `job` is null if none was started."""
    return {
        "due_at": run.due_at.isoformat(),
        "started_at": run.started_at.isoformat(),
        "job": run.job,
        "state": run.state,
        "note": run.note,
    }
