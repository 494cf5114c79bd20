"""The lines of `tagger status --watch` always fit the terminal."""

from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from tagger.cli.output.job_text import RECENT_S, JobRates, overview_lines
from tagger.cli.output.status_screen import View, job_line, view_lines
from tagger.database.enums import JobState
from tagger.errors import RedisKeyForeign, RedisUnavailable, TaggerError
from tagger.ledger.progress import JobProgress
from tagger.ledger.workers import ChunkProgress, LastTick, WorkerStatus

WIDE = "照片文件夹"
SIZES = [(80, 24), (40, 10), (200, 60), (20, 5)]


def job(number: int, state: JobState = JobState.RUNNING, **values: object) -> JobProgress:
    """A job of 1000 photos, of which 250 are done."""
    numbers = {"total": 1000, "queued": 700, "running": 50, "tagged": 250}
    numbers |= dict.fromkeys(
        (
            "unknown",
            "written",
            "unchanged",
            "refused",
            "skipped",
            "failed",
            "cancelled",
            "items_removed",
            "other_files",
        ),
        0,
    )
    about = {
        "parent": None,
        "kind": "tag",
        "runner": "workers",
        "priority": "bulk",
        "model": "m",
        "note": None,
        "write_job": None,
        "author": None,
    }
    times = {"created_at": datetime.now(UTC), "started_at": None, "finished_at": None}
    rates = {"photos_per_second": 0.0, "eta_seconds": None}
    return JobProgress(job=number, state=state, **(numbers | about | times | rates | values))  # type: ignore[arg-type]


def worker(name: str, seen_s: float = 1.0) -> WorkerStatus:
    return WorkerStatus(name, "cuda", datetime.now(UTC), seen_s, 2)


@pytest.mark.parametrize(("width", "height"), SIZES)
def test_a_hundred_jobs_with_long_names_and_wide_characters_fit(width: int, height: int) -> None:
    view = View(
        clock="12:00:00",
        jobs=[
            job(number, total=10**9, queued=10**9 - 300, note=f"waits for the folder “{WIDE * 30}”\n\x1b[2J")
            for number in range(100)
        ],
        rates=dict.fromkeys(range(100), 12345.6),
        workers=[worker(f"tagger-{number}@{WIDE * 9}", 29.9) for number in range(50)],
        chunks=[
            ChunkProgress(f"tagger-{number // 2}@{WIDE * 9}", 7, 4000, 256, 255) for number in range(100)
        ],
        queues={"interactive": 10**6, "bulk": 10**6},
        last_tick=LastTick(None, None, is_late=True),
        problems=["the database does not answer: " + WIDE * 50, "Redis does not answer"],
    )
    lines = view_lines(view, width, height)
    assert len(lines) <= height
    assert max(map(cell_len, lines)) <= width
    assert all(line.isprintable() for line in lines)


def test_what_has_no_room_is_counted() -> None:
    view = View(
        clock="12:00:00",
        jobs=[job(number) for number in range(1, 101)],
        workers=[worker(f"w{number}") for number in range(30)],
    )
    lines = view_lines(view, 80, 24)
    job_lines = [line for line in lines if " running " in line]
    assert f"… and {100 - len(job_lines)} more jobs" in lines
    assert job_lines[0].split()[0] == "100"
    assert len(job_lines) > 10
    assert any(line.endswith("more workers") for line in lines)


def test_a_job_shows_its_state_share_rate_and_time_left() -> None:
    view = View(
        clock="12:00:00",
        jobs=[job(7)],
        rates={7: 10.0},
        queues={"interactive": 0, "bulk": 8},
        last_tick=LastTick(datetime.now(UTC), 12.3, is_late=False),
    )
    title, _, line, *rest = view_lines(view, 80, 24)
    assert title.startswith("12:00:00  open jobs: 1, workers: 0, 10.0 photos/s")
    assert line.split() == [
        "7",
        "running",
        "████░░░░░░░░░░░░░░░",
        "25%",
        "250/1000",
        "10.0",
        "1",
        "min",
        "15",
        "s",
    ]
    assert rest == [
        "no worker is running; start one with: tagger worker",
        "queued messages: interactive 0, bulk 8",
        "schedules: last tick 12 s ago",
    ]
    assert job_line(job(7), 10.0) == "job 7 running: 250 of 1000 photos, 10.0 photos/s, about 1 min 15 s left"


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (None, "Redis is not running"),
        (RedisUnavailable(url="redis://127.0.0.1:1/0", reason="refused"), "Redis does not answer"),
        (
            RedisKeyForeign(key="bulk", url="redis://127.0.0.1", kind="set", should="should be a list"),
            "unknown",
        ),
    ],
)
def test_unknown_queues_say_why(problem: TaggerError | None, text: str) -> None:
    view = View(clock="", queues={"interactive": None, "bulk": None}, redis_problem=problem)
    assert f"queued messages: {text}" in view_lines(view, 80, 24)


def test_a_worker_shows_its_chunks_and_last_heartbeat() -> None:
    chunks = [ChunkProgress("w1", 7, 12, 256, 64), ChunkProgress("host/123", 8, 0, 32, 0)]
    lines = view_lines(View(clock="", workers=[worker("w1", 3.2), worker("w2")], chunks=chunks), 80, 24)
    assert "w1                   cuda, 3 s ago  job 7 chunk 12 64/256" in lines
    assert "w2                   cuda, 1 s ago  none" in lines
    assert "host/123             -              job 8 chunk 0 0/32" in lines


def test_jobs_at_work_come_before_those_that_stand_still_and_those_that_are_over() -> None:
    states = (JobState.FINISHED, JobState.QUEUED, JobState.RUNNING, JobState.PAUSED, JobState.SCANNING)
    view = View(clock="", jobs=[job(number, state) for number, state in enumerate(states)])
    assert [line.split()[1] for line in view_lines(view, 80, 24)[2:7]] == [
        *("running", "scanning", "paused", "queued", "finished")
    ]


def test_the_newest_notes_are_shown() -> None:
    view = View(clock="", jobs=[job(number, note=f"note {number}") for number in range(9)])
    assert view_lines(view, 80, 24)[-3:] == ["job 8: note 8", "job 7: note 7", "job 6: note 6"]


def test_the_rate_is_that_of_the_last_half_minute() -> None:
    rates = JobRates()
    assert rates.photos_per_second(job(1, tagged=0, photos_per_second=99.0), 0.0) == 99.0
    assert rates.photos_per_second(job(1, tagged=1000), 10.0) == 100.0
    assert rates.photos_per_second(job(1, tagged=1000), 10.0 + RECENT_S) == 0.0
    assert rates.photos_per_second(job(1, tagged=1100), 20.0 + RECENT_S) == 10.0
    finished = job(1, JobState.FINISHED, tagged=1100, photos_per_second=7.0)
    assert rates.photos_per_second(finished, 21.0 + RECENT_S) == 7.0


def test_without_workers_it_says_whether_one_is_starting() -> None:
    assert "no worker is running; start one with: tagger worker" in view_lines(View(clock=""), 80, 24)
    starting = view_lines(View(clock="", keeps_worker=True), 80, 24)
    assert "workers: none yet; one is starting" in starting


def test_the_overview_says_what_metadata_jobs_wrote() -> None:
    numbers = {"total": 37, "tagged": 0, "queued": 0, "running": 0, "written": 35, "refused": 2}
    jobs = [job(number, JobState.FINISHED, kind="write", **numbers) for number in range(7, 0, -1)]
    lines = overview_lines(jobs, 0, (), {}, None, redis_problem=None, keeps_worker=False)
    assert lines[0] == "job 7 finished, metadata written: 37 photos: 35 written, 0 unchanged, 2 refused"
    assert [line.split()[1] for line in lines[:7]] == list("7654321")
