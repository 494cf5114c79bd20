"""Jobs that a command runs in its own process: run, followed by what is chained to them, and ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tagger.cli import console

if TYPE_CHECKING:
    from tagger.database import Database
    from tagger.profiling import Profile
    from tagger.settings import Settings


def run_here(database: Database, settings: Settings, job: int, *, lines: bool) -> Profile | None:
    """Run a local job in this process; None where nothing of it is left to do."""
    from tagger.cli.lines import StoredPrinter
    from tagger.devices import quiet_threads
    from tagger.ledger.progress import list_jobs

    if list_jobs(database, job)[0].is_over:
        return None
    quiet_threads()
    from tagger.local import run_job

    with StoredPrinter(database, settings, job, lines=lines) as printer:
        return run_job(database, settings, job, printer.show)


def end_here(database: Database, job: int, *, json: bool) -> int:
    """Print how a local job ended; returns the code that says so."""
    from tagger.cli.following import end_of_job
    from tagger.ledger.jobs import cancel_job
    from tagger.ledger.progress import list_jobs
    from tagger.tables import JobState

    progress = list_jobs(database, job)[0]
    if progress.state is JobState.WAITING:
        with database.write() as connection:
            cancel_job(connection, job, f"{progress.note}; run the same command again when it is there")
    return end_of_job(database, job, json=json)


def write_here(database: Database, settings: Settings, job: int, *, lines: bool) -> int:
    """Write the tags that a local job found, if that was asked for; returns the code that says how it went."""
    from tagger.ledger.progress import list_jobs
    from tagger.writing.chosen import choose_of_parent

    chained = list_jobs(database, job)[0].write_job
    if chained is None:
        return console.DONE
    choose_of_parent(database, chained)
    run_here(database, settings, chained, lines=lines)
    return end_here(database, chained, json=False)
