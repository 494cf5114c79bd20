"""Run jobs in the process of the command, without workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.output import console
from tagger.composition import parts

if TYPE_CHECKING:
    from tagger.cli.session import Session
    from tagger.database.connection import Database
    from tagger.database.enums import Runner
    from tagger.pipeline.profile import Profile
    from tagger.settings import Settings


def select_runner(session: Session, *, local: bool | None) -> Runner:
    """Who runs a new job: by default, the workers, but this process on SQLite where no worker runs."""
    from tagger.cli.supervisor import keeps_worker
    from tagger.database.enums import Runner
    from tagger.ledger.workers import list_workers

    settings, database = session
    if local is None:
        local = (
            database.is_sqlite
            and not list_workers(database)
            and not keeps_worker(settings.data_folder, database)
        )
        if local:
            console.info(
                "no worker runs, so this process does the work; to leave it to workers, use --no-local"
            )
    return Runner.LOCAL if local else Runner.WORKERS


def finish_in_process(session: Session, job: int, *, json: bool, profile: bool = False) -> int:
    """Run a local job and the metadata job that is chained to it, and print the results; returns the exit code."""
    from tagger.cli.derived_facts import update_derived_facts
    from tagger.cli.output.summary import print_profile
    from tagger.database.enums import METADATA_KINDS
    from tagger.ledger.progress import list_jobs

    settings, database = session
    times = run_local_job(database, settings, job, lines=not json)
    progress = list_jobs(database, job)[0]
    if profile and times is not None:
        print_profile(times, progress.done)
    if progress.kind not in METADATA_KINDS:
        update_derived_facts(session)  # some photos may be examples that had no embedding of the model before
    code = _print_end(database, job, json=json)
    code = _run_chained_write(database, settings, job, lines=not json) or code
    for end in parts("local_job_end").values():
        end(database, settings)
    return code


def run_local_job(database: Database, settings: Settings, job: int, *, lines: bool) -> Profile | None:
    """Run a local job; `lines` prints a line for each photo. Returns None if the job has nothing to do."""
    from tagger.cli.output.photo_lines import StoredPrinter
    from tagger.ledger.progress import list_jobs
    from tagger.model.devices import quiet_threads

    if list_jobs(database, job)[0].is_over:
        return None
    quiet_threads()
    from tagger.jobs.processing.executor import run_job

    with StoredPrinter(database, settings, job, lines=lines) as printer:
        return run_job(database, settings, job, printer.show)


def _print_end(database: Database, job: int, *, json: bool) -> int:
    """Print the result of a local job; returns the exit code. A job that waits for a folder is cancelled."""
    from tagger.cli.job_submission import print_end
    from tagger.database.enums import JobState
    from tagger.ledger.jobs import cancel_job
    from tagger.ledger.progress import list_jobs

    progress = list_jobs(database, job)[0]
    if progress.state is JobState.WAITING:
        with database.write() as connection:
            cancel_job(connection, job, f"{progress.note}; run the same command again when it is available")
    return print_end(database, job, json=json)


def _run_chained_write(database: Database, settings: Settings, job: int, *, lines: bool) -> int:
    """Run the metadata job that is chained to `job`, if there is one; returns the exit code."""
    from tagger.jobs.enqueue.metadata_jobs import select_parent_photos
    from tagger.ledger.progress import list_jobs

    chained = list_jobs(database, job)[0].write_job
    if chained is None:
        return console.DONE
    select_parent_photos(database, chained)
    run_local_job(database, settings, chained, lines=lines)
    return _print_end(database, chained, json=False)
