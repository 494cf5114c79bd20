"""Jobs, workers, failures and schedules as programs read them: the same JSON from the commands and from the API."""

from pathlib import Path
from typing import Any

from tagger.backfill import options_of
from tagger.ledger.progress import FailingPhoto, JobProgress, WorkerSeen
from tagger.schedules import Run, Schedule


def job_document(progress: JobProgress) -> dict[str, Any]:
    """A job; the states of its items add up to `total`."""
    times = {
        "created_at": progress.created_at,
        "started_at": progress.started_at,
        "finished_at": progress.finished_at,
    }
    return vars(progress) | {name: when and when.isoformat() for name, when in times.items()}


def worker_document(worker: WorkerSeen) -> dict[str, Any]:
    """A worker that was seen lately."""
    return vars(worker) | {"started_at": worker.started_at.isoformat()}


def failure_document(path: Path, photo: FailingPhoto) -> dict[str, Any]:
    """A photo that fails, and why."""
    return {
        "path": str(path),
        "kind": photo.kind,
        "text": photo.text,
        "attempts": photo.attempts,
        "job": photo.job,
    }


def schedule_document(schedule: Schedule) -> dict[str, Any]:
    """A schedule, and when it is due next."""
    return {
        "name": schedule.name,
        "cron": schedule.cron,
        "zone": schedule.zone,
        "what": schedule.backfill.what,
        "options": options_of(schedule.backfill),
        "priority": schedule.priority,
        "paused": schedule.paused,
        "next_due": schedule.next_due.isoformat(),
    }


def run_document(run: Run) -> dict[str, Any]:
    """A run of a schedule; `job` is null where none was started."""
    return {
        "due_at": run.due_at.isoformat(),
        "started_at": run.started_at.isoformat(),
        "job": run.job,
        "state": run.state,
        "note": run.note,
    }
