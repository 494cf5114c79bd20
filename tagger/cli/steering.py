"""`tagger pause`, `resume`, `cancel`: what a person does with jobs on their way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.options import Json
from tagger.errors import TaggerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagger.database import Database

JobNumbers = Annotated[list[int], typer.Argument(help="Jobs' numbers.", metavar="JOB")]


def pause(jobs: JobNumbers, json: Json = False) -> None:
    """Let jobs stand still until they are resumed. Batches in hand are stored; a scan goes on finding photos.

    Example: tagger pause 7, then: tagger resume 7
    """
    from tagger.ledger.steering import pause as pause_job

    _each(jobs, pause_job, json=json)


def resume(jobs: JobNumbers, json: Json = False) -> None:
    """Let paused jobs go on where they stopped.

    Example: tagger resume 7
    """
    from tagger.cli.recording import load, send_messages
    from tagger.ledger.steering import resume as resume_job
    from worker.broker import find_broker

    broker = find_broker(load(), start=False)

    def go_on(database: Database, job: int) -> None:
        if resume_job(database, job):
            send_messages(database, broker, job)
        else:
            console.say(f"job {job} was not paused")

    _each(jobs, go_on, json=json)


def cancel(jobs: JobNumbers, json: Json = False) -> None:
    """End jobs for good: what is not done is cancelled, what was stored stays.

    Also a job that `tagger tag` runs in another terminal.

    Example: tagger cancel 7 8
    """
    from tagger.ledger.steering import cancel as cancel_job

    _each(jobs, cancel_job, json=json)


def _each(jobs: list[int], steer: Callable[[Database, int], None], *, json: bool) -> None:
    """Do it to every job; one that it cannot be done to does not keep the others from it."""
    from tagger.cli.following import job_json, print_json, sums_of
    from tagger.cli.recording import load, opened
    from tagger.ledger.progress import list_jobs

    database = opened(load())
    done, errors = [], {}
    for job in dict.fromkeys(jobs):
        try:
            steer(database, job)
        except TaggerError as error:
            errors[job] = str(error)
            typer.echo(f"error: {error}", err=True)
            continue
        progress = list_jobs(database, job)[0]
        done.append(job_json(progress))
        if not json:
            typer.echo(sums_of(progress))
    if json:
        print_json({"jobs": done, "errors": [{"job": job, "error": text} for job, text in errors.items()]})
    if errors:
        raise typer.Exit(console.NOT_DONE)
