"""The lines of `tagger status`."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tagger.cli.output.job_text import overview_lines, service_lines
from tagger.database.enums import JobState
from tagger.errors import RedisMisconfigured, RedisUnavailable, TaggerError
from tagger.ledger.job_control import JobProgress
from tagger.ledger.workers import LastTick, WorkerStatus

NO_QUEUES = {"interactive": None, "bulk": None}


def job(number: int, state: JobState = JobState.RUNNING, **values: object) -> JobProgress:
    """A job of 37 photos."""
    numbers = dict.fromkeys(
        (
            *("queued", "running", "tagged", "unknown", "written", "unchanged", "refused"),
            *("skipped", "failed", "cancelled", "items_removed", "other_files", "skipped_folders"),
        ),
        0,
    )
    about = dict.fromkeys(
        ("parent", "note", "note_message", "write_job", "author", "started_at", "finished_at")
    )
    kind = {"kind": "tag", "runner": "workers", "priority": "bulk", "model": "m", "total": 37}
    rates = {
        "photos_per_second": 0.0,
        "eta_seconds": None,
        "created_at": datetime(2026, 5, 1, 14, 30, tzinfo=UTC),
    }
    facts: dict[str, Any] = numbers | about | kind | rates | values
    return JobProgress(job=number, state=state, **facts)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (None, "Redis is not running; a worker starts it"),
        (RedisUnavailable(url="redis://127.0.0.1:1/0", reason="refused"), "Redis does not answer"),
        (RedisMisconfigured(url="redis://127.0.0.1:1/0", reason="refused"), "Redis cannot be used"),
    ],
)
def test_unknown_queues_say_why(problem: TaggerError | None, text: str) -> None:
    tick = LastTick(datetime.now(UTC), 12.3, is_late=False)
    lines = service_lines((), NO_QUEUES, problem, tick)
    assert lines == ["workers: none", f"queued messages: {text}", "schedules: last tick 12 s ago"]


def test_nothing_is_promised_of_workers_that_are_silent() -> None:
    lines = service_lines([WorkerStatus("a@rack", "cpu", datetime.now(UTC), 26.0, 2)], NO_QUEUES, None, None)
    assert lines[0] == "workers: a@rack (cpu, last seen 26 s ago)"
    (line,) = overview_lines([job(5, eta_seconds=18.0)], 0, is_served=False)
    assert "left" not in line
    (line,) = overview_lines([job(5, eta_seconds=18.0, runner="local")], 0, is_served=False)
    assert "about 18 s left" in line


def test_the_overview_says_what_metadata_jobs_wrote() -> None:
    jobs = [job(number, JobState.FINISHED, kind="write", written=35, refused=2) for number in (7, 6)]
    tagging = job(5, note="waits for the folder", paths=["/photos", "/phone", "/old"])
    written = "metadata written: 37 photos: 35 written, 0 unchanged, 2 refused"
    running = "37 photos: 0 tagged, 0 unknown, 0 skipped; 0 running, 0 queued"
    lines = overview_lines([*jobs, tagging, job(4, JobState.FINISHED, kind="backfill")], 3, is_served=True)
    assert lines == [
        f"job 7 finished, {written} (2026-05-01 14:30 UTC)",
        f"job 6 finished, {written} (2026-05-01 14:30 UTC)",
        f"job 5 running: {running} (2026-05-01 14:30 UTC, /photos, /phone, …)",
        "  waits for the folder",
        "job 4 finished: 37 photos: 0 tagged, 0 unknown, 0 skipped (2026-05-01 14:30 UTC, backfill)",
        "… and 3 older jobs, finished; to list all, run: tagger job list",
    ]
