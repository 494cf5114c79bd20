"""From what a person named to a recorded job: settings, database, model, scan, and sending it to the workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tagger.cli import console
from tagger.cli.output import printable
from tagger.cli.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tagger.database import Database
    from tagger.scan import Selection
    from tagger.settings import Settings
    from tagger.tables import Priority, Runner
    from tagger.writing.asked import WriteAsked
    from worker.broker import Broker


def load(**options: object) -> Settings:
    """The settings, with the options that were given."""
    from tagger.settings import load_settings

    return load_settings(**options)


def opened(settings: Settings) -> Database:
    """The database, with what dead processes left in it settled."""
    from tagger.database import open_database
    from tagger.ledger.abandoned import settle_abandoned

    database = open_database(settings.effective_database_url)
    settle_abandoned(database)
    return database


def select(
    paths: Sequence[Path], include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> Selection:
    from tagger.scan import select_paths

    return select_paths(paths, include or (), exclude or ())


def record(
    database: Database,
    settings: Settings,
    selection: Selection,
    *,
    runner: Runner,
    priority: Priority,
    again: bool = False,
    write: WriteAsked | None = None,
) -> int:
    """Scan what was named into a new job; returns its number. `write`: its tags are written into metadata then."""
    from tagger.ledger.jobs import NewJob, create_job, finish_scan
    from tagger.looks import look_of
    from tagger.scan import Scan, check_roots

    check_roots(database, selection, settings.roots)
    look = look_of(database, settings, again=again)
    new = NewJob(
        model_id=look.model_id,
        top_k=look.top_k,
        threshold=look.threshold,
        runner=runner,
        priority=priority,
        again=again,
        options={
            "paths": [ascii(str(path)) for path in (*selection.folders, *selection.files)][:100],
            **(write.as_options() if write else {}),
        },
    )
    job = create_job(database, new)
    with ProgressLine("looking for photos") as line:
        report = Scan(database, job, look, settings.roots).run(
            selection, lambda count: line.show("looking for photos", count, None)
        )
    finish_scan(database, job)
    for problem in report.problems:
        console.warn(f"{printable(str(problem.path))}: {problem.text}")
    if not report.found:
        console.warn("no photos were found there")
    return job


def send(
    database: Database,
    settings: Settings,
    selection: Selection,
    priority: Priority,
    *,
    again: bool = False,
    start_redis: bool,
    write: WriteAsked | None = None,
) -> int:
    """Record a job for the workers and send its messages; returns its number."""
    from tagger.tables import Runner
    from worker.broker import find_broker

    broker = find_broker(settings, start=start_redis)
    job = record(
        database, settings, selection, runner=Runner.WORKERS, priority=priority, again=again, write=write
    )
    send_messages(database, broker, job)
    return job


def send_messages(database: Database, broker: Broker, job: int) -> None:
    """Send a recorded job to the workers; where that cannot be done, the job waits for it."""
    from worker.broker import send_waiting

    problem = send_waiting(database, broker, job)
    if problem:
        console.warn(f"{problem} Job {job} is recorded and will be sent when Redis and a worker are there.")


def end_of_recording(database: Database, job: int, *, wait: bool, json: bool) -> None:
    """Print the number of a job that was sent, and follow it to its end if asked to; ends the command."""
    from tagger.cli.following import follow

    if not json:
        typer.echo(job)
    if wait:
        raise typer.Exit(follow(database, job, json=json, wait_for_worker=True))
    _say_recorded(database, job, json=json)


def print_preview(
    settings: Settings, selection: Selection, *, again: bool, write: WriteAsked | None = None
) -> None:
    """What a job would do, without recording it."""
    from tagger.looks import look_of
    from tagger.scan import check_roots, preview

    database = opened(settings)
    check_roots(database, selection, settings.roots)
    found, seen = preview(database, selection, look_of(database, settings, again=again), settings.roots)
    skipped = f", {seen} skipped as this model has looked at them before" if seen else ""
    typer.echo(f"{found - seen} photos would be looked at{skipped}; nothing was recorded")
    if write is not None:
        console.say(
            "their tags would then be written; for photos tagged already, this shows each difference: "
            f"tagger metadata write --to {write.to} --dry-run"
        )


def _say_recorded(database: Database, job: int, *, json: bool) -> None:
    from tagger.cli.following import job_json, print_json
    from tagger.ledger.jobs import writes_tags
    from tagger.ledger.progress import list_jobs, list_workers

    progress = list_jobs(database, job)[0]
    if json:
        print_json(job_json(progress))
    skipped = f", {progress.skipped} of them looked at before" if progress.skipped else ""
    then = ", and then have their tags written into metadata" if writes_tags(database, job) else ""
    console.say(f"job {job}: {progress.total} photos{skipped}{then}. Follow it with: tagger status {job}")
    if not progress.is_over and not list_workers(database):
        console.say("no worker is running; start one with: tagger worker (or everything with: tagger up)")
