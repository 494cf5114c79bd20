"""Run jobs in the process of the command, without workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli.output import console
from tagger.composition import parts

if TYPE_CHECKING:
    from tagger.database.connection import Database
    from tagger.pipeline.profile import Profile
    from tagger.settings import Settings


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


def finish_local_job(database: Database, job: int, *, json: bool) -> int:
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


def end_local_jobs(database: Database, settings: Settings) -> None:
    """Do what other rooms do after the jobs of a command."""
    for end in parts("local_job_end").values():
        end(database, settings)


def run_chained_write(database: Database, settings: Settings, job: int, *, lines: bool) -> int:
    """Run the metadata job that is chained to `job`, if there is one; returns the exit code."""
    from tagger.jobs.enqueue.metadata_jobs import select_parent_photos
    from tagger.ledger.progress import list_jobs

    chained = list_jobs(database, job)[0].write_job
    if chained is None:
        return console.DONE
    select_parent_photos(database, chained)
    run_local_job(database, settings, chained, lines=lines)
    return finish_local_job(database, chained, json=False)
