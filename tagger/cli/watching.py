"""`tagger status --watch`: everything at a glance, anew every second, until Ctrl-C.

On a terminal it fills the screen and leaves it as it was; elsewhere it prints a line for each job that has moved.
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

from tagger.cli.pace import Pace
from tagger.cli.view import View, fitted, job_line, lines_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.database import Database
    from tagger.settings import Settings

REFRESH_S = 1.0
OVER_SHOWN = 5
"""Jobs that are over are shown while they are among so many newest."""

LINE_CELLS = 500
"""Where there is no terminal nothing is cut but what nobody reads to its end."""


def watch(settings: Settings, database: Database) -> None:
    """Show what goes on until the person has seen enough; that is its ordinary end."""
    console = Console()
    try:
        if console.is_terminal and not console.is_dumb_terminal:
            _draw(console, _views(settings, database))
        else:
            _print(_views(settings, database))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:  # whoever read the lines has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _views(settings: Settings, database: Database) -> Iterator[View]:
    """One look a second; while the database is away, the last one, saying so."""
    from sqlalchemy.exc import SQLAlchemyError

    pace, last = Pace(), View(clock="")
    while True:
        try:
            last = _look(settings, database, pace)
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
            trouble = f"the database does not answer, asking again: {reason}"
            last = replace(last, clock=_clock(), troubles=[trouble])
        yield last
        time.sleep(REFRESH_S)


def _look(settings: Settings, database: Database, pace: Pace) -> View:
    from tagger.ledger.progress import list_held, list_latest, list_workers
    from worker.broker import find_broker, queue_depths

    jobs, _ = list_latest(database, OVER_SHOWN)
    now_s = time.monotonic()
    queues, problem = queue_depths(find_broker(settings, start=False))
    return View(
        clock=_clock(),
        jobs=jobs,
        rates={job.job: pace.photos_per_second(job, now_s) for job in jobs},
        workers=list_workers(database),
        held=list_held(database),
        queues=queues,
        troubles=[problem] if problem else [],
    )


def _draw(console: Console, views: Iterator[View]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(console=console, screen=True, auto_refresh=False) as live:
        for view in views:
            shown = "\n".join(lines_of(view, console.width, console.height))
            live.update(Text(shown, no_wrap=True, overflow="crop"), refresh=True)


def _print(views: Iterator[View]) -> None:
    said: set[object] = set()
    for view in views:
        lines: dict[object, str] = {trouble: trouble for trouble in view.troubles}
        for job in view.jobs:
            lines[job.job, job.state, job.queued + job.running] = job_line(job, view.rates[job.job])
        for about, line in lines.items():
            if about not in said:
                typer.echo(fitted(line, LINE_CELLS))
        said = set(lines)
        sys.stdout.flush()


def _clock() -> str:
    return datetime.now().astimezone().strftime("%H:%M:%S")
