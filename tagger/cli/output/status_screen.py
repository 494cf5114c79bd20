"""`tagger status --watch` without a JOB: all jobs, workers and queues, refreshed every second until Ctrl-C.

A `View` is laid out to lines that fit the terminal. On a terminal it uses the whole screen, and restores it at the end. Otherwise
the command prints a line for each job that changes.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

import typer
from rich.cells import cell_len, set_cell_size
from rich.console import Console

from tagger.cli.output.formats import printable
from tagger.cli.output.job_text import (
    WORKER_STARTS,
    JobRates,
    duration_text,
    late_tick_problem,
    queues_line,
    seconds_left,
    tick_lines,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tagger.database.connection import Database
    from tagger.errors import TaggerError
    from tagger.ledger.progress import JobProgress
    from tagger.ledger.workers import ChunkProgress, LastTick, WorkerStatus
    from tagger.settings import Settings

MIN_BAR_CELLS, MAX_BAR_CELLS = 5, 40
JOB_COLUMNS_CELLS = 61
"""Width of a job's line without its bar."""
NAME_CELLS = 20
NOTES_SHOWN = 3
STATE_ORDER = ("running", "scanning", "waiting", "paused", "queued")
"""The order of jobs on the screen; finished jobs come last."""


@dataclass(frozen=True)
class View:
    """The state at one moment. `rates` are photos/s by job; `problems` are messages about Redis, the database or beat.

    `redis_problem`: why the queues cannot be read, if Redis should be running. `keeps_worker`: `tagger up` is running, so that a worker is starting if there is none.
    """

    clock: str
    jobs: Sequence[JobProgress] = ()
    rates: Mapping[int, float] = field(default_factory=dict)
    workers: Sequence[WorkerStatus] = ()
    chunks: Sequence[ChunkProgress] = ()
    queues: Mapping[str, int | None] = field(default_factory=dict)
    redis_problem: TaggerError | None = None
    last_tick: LastTick | None = None
    problems: Sequence[str] = ()
    keeps_worker: bool = False


NO_WORKER = "no worker is running; start one with: tagger worker"


def view_lines(view: View, width: int, height: int) -> list[str]:
    """Return at most `height` lines of at most `width` cells. A line says how many jobs and workers are left out."""
    notes, ticks = _notes(view)[:NOTES_SHOWN], tick_lines(view.last_tick)
    room = max(4, height - 2 - len(view.problems) - len(ticks) - len(notes))
    workers = _truncate(_worker_lines(view), max(2, room // 3), "workers")
    jobs = _truncate(_job_lines(view, width), room - len(workers), "jobs")
    lines = [_title(view), *view.problems, *jobs, *workers, _queues(view), *ticks, *notes]
    return [fit_width(line, width) for line in lines][:height]


def fit_width(text: str, width: int) -> str:
    """Shorten the text to `width` terminal cells and escape control characters. A wide character takes two cells."""
    shown = printable(text)
    return shown if cell_len(shown) <= width else set_cell_size(shown, width - 1).rstrip() + "…"


def job_line(job: JobProgress, rate: float) -> str:
    """The progress of a job as plain text, for output that is not a terminal."""
    left_s = seconds_left(job, rate)
    done = f"job {job.job} {job.state}: {job.total - job.queued - job.running} of {job.total} photos"
    speed = f", {rate:.1f} photos/s" if rate else ""
    return done + speed + (f", about {duration_text(left_s)} left" if left_s else "")


def _title(view: View) -> str:
    open_jobs = [job for job in view.jobs if not job.is_over]
    rate = sum(view.rates.get(job.job, 0.0) for job in open_jobs)
    return (
        f"{view.clock}  open jobs: {len(open_jobs)}, workers: {len(view.workers)}, {rate:.1f} photos/s; "
        "press Ctrl-C to exit"
    )


def _job_lines(view: View, width: int) -> list[str]:
    if not view.jobs:
        return ["there are no jobs; start one with: tagger enqueue FOLDER"]
    bar = max(MIN_BAR_CELLS, min(MAX_BAR_CELLS, width - JOB_COLUMNS_CELLS))
    names = f"{'job':>5} {'state':9} {'':{bar}} {'':>4} {'done':>17} {'photos/s':>8} {'left':>12}"
    ordered = sorted(view.jobs, key=lambda job: (_state_rank(job), -job.job))
    return [names, *(_job_row(job, view.rates.get(job.job, 0.0), bar) for job in ordered)]


def _state_rank(job: JobProgress) -> int:
    return STATE_ORDER.index(job.state) if job.state in STATE_ORDER else len(STATE_ORDER)


def _job_row(job: JobProgress, rate: float, bar: int) -> str:
    done = job.total - job.queued - job.running
    share = done / job.total if job.total else float(job.is_over)
    filled = "█" * int(share * bar)
    left_s = seconds_left(job, rate)
    shown_rate = f"{rate:.1f}" if rate else "-"
    shown_left = duration_text(left_s) if left_s else "-"
    return (
        f"{job.job:>5} {job.state:9} {filled:░<{bar}} {int(share * 100):>3}% "
        f"{f'{done}/{job.total}':>17} {shown_rate:>8} {shown_left:>12}"
    )


def _worker_lines(view: View) -> list[str]:
    if not view.workers and not view.chunks:
        return [f"workers: {WORKER_STARTS}"] if view.keeps_worker else [NO_WORKER]
    by_name: dict[str, list[ChunkProgress]] = {worker.name: [] for worker in view.workers}
    for chunk in view.chunks:
        by_name.setdefault(chunk.worker, []).append(chunk)
    heartbeats = {
        worker.name: f"{worker.device}, {worker.seen_seconds_ago:.0f} s ago" for worker in view.workers
    }
    waits = {worker.name: [f"waits: {worker.waits_for}"] for worker in view.workers if worker.waits_for}
    lines = [f"{'worker':{NAME_CELLS}} {'last seen':14} chunks"]
    for name, chunks in by_name.items():
        # A name that is not among the workers is a process with a local job, or a worker without heartbeats.
        parts = [f"job {c.job} chunk {c.chunk} {c.stored}/{c.photos}" for c in chunks]
        progress = ", ".join(parts + waits.get(name, []))
        shown = set_cell_size(fit_width(name, NAME_CELLS), NAME_CELLS)
        lines.append(f"{shown} {heartbeats.get(name, '-'):14} {progress or 'none'}")
    return lines


def _queues(view: View) -> str:
    return queues_line(view.queues, view.redis_problem, "Redis is not running")


def _notes(view: View) -> list[str]:
    """The notes of open jobs, newest job first."""
    noted = [job for job in view.jobs if job.note and not job.is_over]
    return [f"job {job.job}: {job.note}" for job in sorted(noted, key=lambda job: -job.job)]


def _truncate(lines: list[str], limit: int, noun: str) -> list[str]:
    """Return at most `limit` lines; the last one says how many are left out."""
    if len(lines) <= limit:
        return lines
    return [*lines[: limit - 1], f"… and {len(lines) - limit + 1} more {noun}"]


REFRESH_S = 1.0
FINISHED_SHOWN = 5
"""Finished jobs are shown if they are among this many newest jobs."""

MAX_LINE_CELLS = 500
"""Longest line without a terminal; only notes with very long paths exceed it."""


def watch(settings: Settings, database: Database) -> None:
    """Show the overview until Ctrl-C, or until the reader of the pipe exits."""
    console = Console()
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            _draw(console, _views(settings, database))
        else:
            _print(_views(settings, database))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _views(settings: Settings, database: Database) -> Iterator[View]:
    """Yield a view every second. While the database does not answer, repeat the last one with the problem."""
    from tagger.database.retry import DatabaseError, outage_text

    rates, view = JobRates(), View(clock="")
    while True:
        try:
            view = _read_view(settings, database, rates)
        except DatabaseError as error:
            view = replace(view, clock=_clock(), problems=[f"{outage_text(error)}; trying again"])
        yield view
        time.sleep(REFRESH_S)


def _read_view(settings: Settings, database: Database, rates: JobRates) -> View:
    from tagger.cli.supervisor import keeps_worker
    from tagger.ledger.progress import list_recent_jobs
    from tagger.ledger.workers import find_last_tick, list_chunk_progress, list_workers
    from worker.broker import find_broker, queue_depths

    jobs, _ = list_recent_jobs(database, FINISHED_SHOWN)
    last_tick = find_last_tick(database)
    now_s = time.monotonic()
    queues, redis_problem = queue_depths(find_broker(settings, database.ledger_id, start=False))
    problems = (str(redis_problem) if redis_problem else None, late_tick_problem(last_tick))
    return View(
        clock=_clock(),
        jobs=jobs,
        rates={job.job: rates.photos_per_second(job, now_s) for job in jobs},
        workers=list_workers(database),
        chunks=list_chunk_progress(database),
        queues=queues,
        redis_problem=redis_problem,
        last_tick=last_tick,
        problems=[*filter(None, problems)],
        keeps_worker=keeps_worker(settings.data_folder, database),
    )


def _draw(console: Console, views: Iterator[View]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, screen=True, auto_refresh=False) as live:
        for view in views:
            text = "\n".join(view_lines(view, console.width, console.height))
            live.update(Text(text, no_wrap=True, overflow="crop"), refresh=True)


def _print(views: Iterator[View]) -> None:
    printed: set[object] = set()
    for view in views:
        lines: dict[object, str] = {problem: problem for problem in view.problems}
        for job in view.jobs:
            lines[job.job, job.state, job.queued + job.running] = job_line(job, view.rates[job.job])
        for key, line in lines.items():
            if key not in printed:
                typer.echo(fit_width(line, MAX_LINE_CELLS))
        printed = set(lines)
        sys.stdout.flush()


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
