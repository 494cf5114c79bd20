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
    from tagger.registry import RegisteredModel
    from tagger.scan import Look, Selection
    from tagger.settings import Settings
    from tagger.tables import Priority, Runner


def load(**options: object) -> Settings:
    """The settings, with the options that were given."""
    from tagger.settings import load_settings

    return load_settings(**options)


def opened(settings: Settings) -> Database:
    """The database, with what dead processes left in it settled."""
    from tagger.database import open_database
    from tagger.ledger.jobs import settle_abandoned

    database = open_database(settings.effective_database_url)
    settle_abandoned(database)
    return database


def select(
    paths: Sequence[Path], include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> Selection:
    from tagger.scan import select_paths

    return select_paths(paths, include or (), exclude or ())


def model_of(database: Database, settings: Settings) -> RegisteredModel:
    """The model that new jobs get."""
    from tagger.registry import resolve_model

    return resolve_model(database, settings.model)


def record(
    database: Database,
    settings: Settings,
    selection: Selection,
    *,
    runner: Runner,
    priority: Priority,
    again: bool = False,
) -> int:
    """Scan what was named into a new job; returns its number."""
    from tagger.ledger.jobs import NewJob, create_job, finish_scan
    from tagger.scan import Scan, check_roots

    check_roots(database, selection, settings.roots)
    look = _look(database, settings, again=again)
    new = NewJob(
        model_id=look.model_id,
        top_k=look.top_k,
        threshold=look.threshold,
        runner=runner,
        priority=priority,
        again=again,
        options={"paths": [ascii(str(path)) for path in (*selection.folders, *selection.files)][:100]},
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
) -> int:
    """Record a job for the workers and send its messages; returns its number."""
    from tagger.tables import Runner
    from worker.broker import find_broker, send_waiting

    broker = find_broker(settings, start=start_redis)
    job = record(database, settings, selection, runner=Runner.WORKERS, priority=priority, again=again)
    problem = send_waiting(database, broker, job)
    if problem:
        console.warn(f"{problem} Job {job} is recorded and will be sent when Redis and a worker are there.")
    return job


def print_preview(settings: Settings, selection: Selection, *, again: bool) -> None:
    """What a job would do, without recording it."""
    from tagger.scan import check_roots, preview

    database = opened(settings)
    check_roots(database, selection, settings.roots)
    found, seen = preview(database, selection, _look(database, settings, again=again), settings.roots)
    skipped = f", {seen} skipped as this model has looked at them before" if seen else ""
    typer.echo(f"{found - seen} photos would be looked at{skipped}; nothing was recorded")


def _look(database: Database, settings: Settings, *, again: bool) -> Look:
    from tagger.scan import Look

    model = model_of(database, settings)
    threshold = model.manifest.threshold if settings.threshold is None else settings.threshold
    return Look(model.id, settings.top_k, threshold, again)
