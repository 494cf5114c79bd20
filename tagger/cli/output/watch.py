"""`tagger status --watch` without a JOB: all jobs, workers and queues, refreshed every second until Ctrl-C.

On a terminal it uses the whole screen, and restores it at the end. Otherwise it prints a line for each job that changes.
"""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from tagger.cli.output.job_rate import JobRates
from tagger.cli.output.job_text import late_tick_problem
from tagger.cli.output.watch_view import View, fit_width, job_line, view_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.database.connection import Database
    from tagger.settings import Settings

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
    from tagger.database.errors import DatabaseError, outage_text

    rates, view = JobRates(), View(clock="")
    while True:
        try:
            view = _read_view(settings, database, rates)
        except DatabaseError as error:
            view = replace(view, clock=_clock(), problems=[f"{outage_text(error)}; trying again"])
        yield view
        time.sleep(REFRESH_S)


def _read_view(settings: Settings, database: Database, rates: JobRates) -> View:
    from tagger.cli.up_lock import keeps_worker
    from tagger.jobs.enqueue.ticks import find_last_tick
    from tagger.ledger.progress import list_recent_jobs
    from tagger.ledger.workers import list_chunk_progress, list_workers
    from worker.broker import find_broker, queue_depths

    jobs, _ = list_recent_jobs(database, FINISHED_SHOWN)
    last_tick = find_last_tick(database)
    now_s = time.monotonic()
    queues, redis_problem = queue_depths(find_broker(settings, start=False))
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
