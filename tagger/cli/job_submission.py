"""Record jobs and send them to the workers, with progress and messages for the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import (
    NO_WORKER_YET,
    count_of,
    gone_text,
    idle_workers_text,
    other_files_lines,
)
from tagger.cli.output.summary import print_next_steps
from tagger.cli.session import Session, open_session
from tagger.system.interruption import set_advice

if TYPE_CHECKING:
    from tagger.database.connection import Database
    from tagger.database.enums import Priority, Runner
    from tagger.jobs.enqueue.metadata_options import MetadataOptions
    from tagger.jobs.enqueue.selection import Selection
    from tagger.settings import Settings
    from worker.broker import Broker


def submit_tag_job(
    session: Session,
    selection: Selection,
    priority: Priority,
    *,
    reprocess: bool = False,
    write: MetadataOptions | None = None,
    start_redis: bool,
) -> int:
    """Record a tagging job for the workers and send its messages; returns its number."""
    from tagger.database.enums import Runner
    from worker.broker import find_broker

    settings, database = session
    broker = find_broker(settings, start=start_redis)
    job = create_tag_job(session, selection, Runner.WORKERS, priority, reprocess=reprocess, write=write)
    wake_workers(database, broker, job)
    return job


def create_tag_job(
    session: Session,
    selection: Selection,
    runner: Runner,
    priority: Priority,
    *,
    reprocess: bool = False,
    write: MetadataOptions | None = None,
) -> int:
    """Record a tagging job and scan its folders; returns its number. Prints what could not be scanned."""
    from tagger.jobs.enqueue.tag_jobs import record_tag_job, tag_job

    settings, database = session
    new = tag_job(
        database, settings, selection, runner=runner, priority=priority, reprocess=reprocess, write=write
    )
    with ProgressLine("scanning folders") as line:
        job, report = record_tag_job(
            database,
            new,
            selection,
            settings.roots,
            lambda count: line.show("scanning folders", count, None),
        )
    for problem in report.problems:
        console.warning(f"{printable(str(problem.path))}: {problem.text}")
    for text in other_files_lines(report.other_files):
        console.info(text)
    if report.gone:
        console.info(gone_text(report.gone))
    if not report.found:
        console.warning("no photos were found there")
    return job


def wake_workers(database: Database, broker: Broker, job: int) -> None:
    """Wake workers for a recorded job; print a warning if that is impossible now."""
    from worker.producer import try_wake

    problem = try_wake(database, broker)
    if problem:
        console.warning(f"{problem} Job {job} is recorded; workers process it when Redis is available.")


def finish_submission(session: Session, job: int, *, wait: bool, json: bool) -> None:
    """Print the job's number; with `wait`, follow the job until it ends, and exit with its exit code."""
    from tagger.cli.follow import follow

    if not json:
        typer.echo(job)
    if wait:
        set_advice(f"job {job} continues. Follow it with: tagger status {job} --watch")
        code = follow(session.database, job, json=json, wait_for_worker=True)
        if not json:
            print_next_steps(session.database, job)
        raise typer.Exit(code)
    _print_submission(session, job, json=json)


def _print_submission(session: Session, job: int, *, json: bool) -> None:
    from tagger.ledger.progress import has_write_option, list_jobs

    settings, database = session
    progress = list_jobs(database, job)[0]
    if json:
        write_json(progress)
    skipped = f", {progress.skipped} of them skipped as classified already" if progress.skipped else ""
    then = "; then the tags are written to metadata" if has_write_option(database, job) else ""
    console.info(
        f"job {job}: {count_of(progress.total, 'photo')}{skipped}{then}. Follow it with: tagger status {job} --watch"
    )
    problem = None if progress.is_over else _idle_workers(settings, database)
    if problem is not None:
        console.info(problem)


def _idle_workers(settings: Settings, database: Database) -> str | None:
    from tagger.cli.up_lock import keeps_worker
    from tagger.ledger.workers import list_workers

    workers = list_workers(database)
    is_starting = not workers and keeps_worker(settings.data_folder, database)
    return NO_WORKER_YET if is_starting else idle_workers_text(workers)


def print_plan(
    settings: Settings, selection: Selection, *, reprocess: bool, write: MetadataOptions | None
) -> None:
    """Print how many photos a tagging job would classify, without recording it."""
    from tagger.jobs.enqueue.inference_options import inference_options
    from tagger.jobs.enqueue.scan import preview_scan
    from tagger.jobs.enqueue.selection import require_available_roots

    database = open_session(settings, settle_jobs=True).database
    require_available_roots(database, selection, settings.roots)
    options = inference_options(database, settings, reprocess=reprocess)
    total, classified, other_files = preview_scan(database, selection, options, settings.roots)
    skipped = f", {classified} skipped as classified already" if classified else ""
    typer.echo(f"{count_of(total - classified, 'photo')} would be classified{skipped}; nothing was recorded")
    for text in other_files_lines(other_files):
        console.info(text)
    if write is not None:
        console.info(
            "then their tags would be written to metadata. To see each change for photos that are tagged already, "
            f"run: tagger metadata write --to {write.to} --dry-run"
        )
