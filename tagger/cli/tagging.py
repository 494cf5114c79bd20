"""`tagger tag`, `look`, `enqueue`, `forget`: photos in, tags into the database."""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.options import (
    Again,
    BatchSize,
    DeviceName,
    DryRun,
    Exclude,
    Include,
    Json,
    ModelName,
    Paths,
    Threshold,
    TopK,
)
from tagger.cli.progress import ProgressLine

if TYPE_CHECKING:
    from tagger.database import Database
    from tagger.registry import RegisteredModel
    from tagger.scan import Selection
    from tagger.settings import Settings
    from tagger.tables import Priority, Runner
    from tagger.tagging import Stored


def tag(
    paths: Paths,
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    again: Again = False,
    include: Include = None,
    exclude: Exclude = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Tag photos in this process; no server is needed.

    Prints a line per photo and stores everything in the database. Photos that were tagged before are skipped,
    so the same command again goes on where it stopped. Photos are only read.

    Example: tagger tag ~/Pictures, then: tagger landmarks
    """
    from tagger.devices import quiet_threads

    quiet_threads()
    from tagger.local import run_job
    from tagger.tables import Priority, Runner

    settings = _settings(top_k=top_k, threshold=threshold, model=model, device=device, batch_size=batch_size)
    selection = _select(paths, include, exclude)
    if dry_run:
        _print_dry_run(selection)
        return
    database = _database(settings)
    registered = _model(database, settings)
    job = _record(
        database,
        settings,
        selection,
        registered,
        runner=Runner.LOCAL,
        priority=Priority.INTERACTIVE,
        again=again,
    )
    names = [(label.slug, label.name) for label in registered.manifest.labels]
    printer = _Printer(database, settings, job, names, quiet=json)
    with printer:
        run_job(database, settings, job, printer.show)
    _end(database, job, json=json)


def look(
    files: Annotated[
        list[str], typer.Argument(help="Photos, or - for one on standard input.", metavar="FILE")
    ],
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    device: DeviceName = None,
    json: Json = False,
) -> None:
    """Show the top-k landmarks of photos; nothing is stored.

    Example: tagger look holiday.jpg, or: curl … | tagger look -
    """
    from tagger.devices import quiet_threads

    quiet_threads()
    from tagger.cli.looking import look_at

    settings = _settings(top_k=top_k, threshold=threshold, model=model, device=device, batch_size=1)
    database = _database(settings)
    failed = look_at(files, settings, _model(database, settings), json=json)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if failed else console.DONE)


def enqueue(
    paths: Paths,
    priority: Annotated[
        str, typer.Option("--priority", help="interactive goes first, bulk when there is time.")
    ] = "bulk",
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    again: Again = False,
    include: Include = None,
    exclude: Exclude = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the job to its end.")] = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Record photos as a job for the workers, and print its number.

    The job is in the database before anything is sent: if Redis or the workers are away, it waits for them.

    Example: tagger enqueue ~/Pictures --wait (with tagger worker running in another terminal)
    """
    from tagger.cli.following import follow
    from tagger.tables import Priority

    if priority not in set(Priority):
        raise typer.BadParameter("it is interactive or bulk", param_hint="--priority")
    settings = _settings(top_k=top_k, threshold=threshold, model=model)
    selection = _select(paths, include, exclude)
    if dry_run:
        _print_dry_run(selection)
        return
    database, job = _submit(settings, selection, Priority(priority), again=again, start=wait)
    if wait:
        raise typer.Exit(follow(database, job, json=json, wait_for_worker=True))
    _print_job(database, job, json=json)


def submit(settings: Settings, paths: list[Path]) -> int:
    """Enqueue everything under `paths` as `tagger enqueue` does; returns the job."""
    from tagger.tables import Priority

    return _submit(settings, _select(paths, None, None), Priority.BULK, again=False, start=True)[1]


def forget(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Photos or folders; they need not be there any more.", metavar="PATH"),
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take photos out of the database. The files stay, and so do people's verdicts on their pictures.

    Example: tagger forget ~/Pictures/Screenshots
    """
    from json import dumps

    from tagger.forgetting import forget_path

    settings = _settings()
    database = _database(settings)
    counts = {str(path): forget_path(database, path, settings.roots, dry_run=dry_run) for path in paths}
    if json:
        typer.echo(dumps({"forgotten": sum(counts.values()), "paths": counts, "dry_run": dry_run}))
        return
    for path, count in counts.items():
        verb = "would be forgotten" if dry_run else "forgotten"
        typer.echo(f"{path}: {count} photo{'' if count == 1 else 's'} {verb}")


# ── steps ──


def _submit(
    settings: Settings, selection: Selection, priority: Priority, *, again: bool, start: bool
) -> tuple[Database, int]:
    """Record a job for the workers and send its messages; `start` an embedded Redis if there is none."""
    from tagger.tables import Runner
    from worker.broker import find_broker, send_waiting

    database = _database(settings)
    registered = _model(database, settings)
    broker = find_broker(settings, start=start)
    job = _record(
        database, settings, selection, registered, runner=Runner.WORKERS, priority=priority, again=again
    )
    problem = send_waiting(database, broker, job)
    if problem:
        console.warn(f"{problem} Job {job} is recorded and will be sent when Redis and a worker are there.")
    return database, job


def _settings(**options: object) -> Settings:
    from tagger.settings import load_settings

    return load_settings(**options)


def _database(settings: Settings) -> Database:
    from tagger.database import open_database
    from tagger.ledger.jobs import settle_abandoned

    database = open_database(settings.effective_database_url)
    settle_abandoned(database)
    return database


def _model(database: Database, settings: Settings) -> RegisteredModel:
    from tagger.registry import resolve_model

    return resolve_model(database, settings.model)


def _select(paths: list[Path], include: list[str] | None, exclude: list[str] | None) -> Selection:
    from tagger.scan import select_paths

    return select_paths(paths, include or (), exclude or ())


def _print_dry_run(selection: Selection) -> None:
    from tagger.photos import FoundPhoto, find_photos

    walks = (
        find_photos(folder, include=selection.include, exclude=selection.exclude)
        for folder in selection.folders
    )
    found = len(selection.files) + sum(isinstance(met, FoundPhoto) for walk in walks for met in walk)
    typer.echo(f"{found} photos would be looked at; nothing was recorded")


def _record(
    database: Database,
    settings: Settings,
    selection: Selection,
    model: RegisteredModel,
    *,
    runner: Runner,
    priority: Priority,
    again: bool,
) -> int:
    """Scan what was named into a new job; returns its number."""
    from tagger.ledger.jobs import NewJob, create_job, finish_scan
    from tagger.scan import Look, Scan, check_roots

    check_roots(database, selection, settings.roots)
    threshold = model.manifest.threshold if settings.threshold is None else settings.threshold
    options: dict[str, object] = {
        "paths": [ascii(str(path)) for path in (*selection.folders, *selection.files)][:100]
    }
    new = NewJob(
        model_id=model.id,
        top_k=settings.top_k,
        threshold=threshold,
        runner=runner,
        priority=priority,
        again=again,
        options=options,
    )
    job = create_job(database, new)
    scan = Scan(database, job, Look(model.id, settings.top_k, threshold, again), settings.roots)
    with ProgressLine("looking for photos") as line:
        report = scan.run(selection, lambda count: line.show("looking for photos", count, None))
    finish_scan(database, job)
    for problem in report.problems:
        console.warn(f"{str(problem.path)!a}: {problem.text}")
    if not report.found:
        console.warn("no photos were found there")
    return job


class _Printer:
    """Prints a line per photo as it is stored, and the progress."""

    def __init__(
        self, database: Database, settings: Settings, job: int, labels: list[tuple[str, str]], *, quiet: bool
    ) -> None:
        from tagger.ledger.progress import list_jobs
        from tagger.roots import list_roots

        self._labels = labels
        self._quiet = quiet
        self._lock = threading.Lock()
        with database.read() as connection:
            self._roots = {root.id: root for root in list_roots(connection, settings.roots)}
        progress = list_jobs(database, job)[0]
        self._done, self._total = progress.done, progress.total
        self._looked, self._began = 0, time.monotonic()
        self._line = ProgressLine("tagging")

    def __enter__(self) -> None:
        self._line.__enter__()

    def __exit__(self, *exc: object) -> None:
        self._line.__exit__(None, None, None)

    def show(self, stored: Stored) -> None:
        from tagger.cli.lines import photo_line

        with self._lock:
            for found, outcome in sorted(stored, key=lambda pair: pair[1].position):
                if not self._quiet:
                    root = self._roots[found.item.root_id]
                    path = root.path_of(found.item.path, found.item.path_bytes)
                    typer.echo(photo_line(path, found.result, outcome, self._labels))
            self._done += len(stored)
            self._looked += len(stored)
            rate = self._looked / max(time.monotonic() - self._began, 0.001)
            self._line.show("tagging", self._done, self._total, rate)


def _end(database: Database, job: int, *, json: bool) -> None:
    """Print how a local job ended, and leave with the code that says so."""
    from tagger.cli.following import end_of_job
    from tagger.ledger.jobs import cancel_job
    from tagger.ledger.progress import list_jobs
    from tagger.tables import JobState

    progress = list_jobs(database, job)[0]
    if progress.state is JobState.WAITING:
        with database.write() as connection:
            cancel_job(connection, job, f"{progress.note}; run the same command again when it is there")
    raise typer.Exit(end_of_job(database, job, json=json))


def _print_job(database: Database, job: int, *, json: bool) -> None:
    from tagger.cli.following import job_json, print_json
    from tagger.ledger.progress import list_jobs, list_workers

    progress = list_jobs(database, job)[0]
    if json:
        print_json(job_json(progress))
    else:
        sys.stdout.write(f"{job}\n")
    skipped = f", {progress.skipped} of them looked at before" if progress.skipped else ""
    console.say(f"job {job}: {progress.total} photos{skipped}. Follow it with: tagger status {job}")
    if not progress.is_over and not list_workers(database):
        console.say("no worker is running; start one with: tagger worker (or everything with: tagger up)")
