"""Follow a job until it ends, for `--wait`, `status JOB --watch` and `tagger up`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.edited_photos import edited_photos
from tagger.cli.output.formats import write_json
from tagger.cli.output.job_text import JobRates, idle_workers_text, job_summary
from tagger.cli.output.refused_photos import refused_photos

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagger.database.connection import Database
    from tagger.ledger.progress import JobProgress

NO_WORKER_S = 30.0
POLL_S = 0.5


def follow(
    database: Database,
    job: int,
    *,
    json: bool = False,
    wait_for_worker: bool = False,
    on_poll: Callable[[], None] = lambda: None,
) -> int:
    """Show the progress of a job, then of the job chained to it; returns the exit code.

    With `wait_for_worker`, it stops if there is no worker for NO_WORKER_S.
    """
    from tagger.ledger.progress import list_jobs

    code = _follow_one(database, job, json=json, wait_for_worker=wait_for_worker, on_poll=on_poll)
    chained = None if code == console.NOT_DONE else list_jobs(database, job)[0].write_job
    if chained is None:
        return code
    chained_code = _follow_one(
        database, chained, json=False, wait_for_worker=wait_for_worker, on_poll=on_poll
    )
    return chained_code or code


def _follow_one(
    database: Database, job: int, *, json: bool, wait_for_worker: bool, on_poll: Callable[[], None]
) -> int:
    poller = _JobPoller(database)
    with ProgressLine(f"job {job}") as line:
        while (progress := poller.poll(job, line)) is None or not progress.is_over:
            if wait_for_worker and poller.seconds_without_worker > NO_WORKER_S:
                with line.cleared():
                    console.warning(
                        f"no worker has been running for {NO_WORKER_S:.0f} s. Job {job} stays in the database; "
                        "start a worker with: tagger worker"
                    )
                return console.NOT_DONE
            on_poll()
            time.sleep(POLL_S)
    return print_end(database, job, json=json)


class _JobPoller:
    """Reads the progress of a job; warns once while the database does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._rates = JobRates()
        self._worker_at = time.monotonic()
        self._is_unavailable = False
        self._waits: str | None = None

    @property
    def seconds_without_worker(self) -> float:
        return time.monotonic() - self._worker_at

    def poll(self, job: int, line: ProgressLine) -> JobProgress | None:
        """Show the progress on `line` and return it; None if the database does not answer."""
        from tagger.database.retry import DatabaseError, is_transient, outage_text

        try:
            progress = self._read(job, line)
        except DatabaseError as error:
            if not is_transient(error):
                raise
            self._warn_unavailable(f"{outage_text(error)}; trying again until it works", line)
            return None
        self._is_unavailable = False
        rate = self._rates.photos_per_second(progress, time.monotonic())
        line.show(f"job {job} {progress.state}", progress.done, progress.total, rate)
        return progress

    def _read(self, job: int, line: ProgressLine) -> JobProgress:
        from tagger.ledger.progress import list_jobs
        from tagger.ledger.workers import list_workers

        workers = list_workers(self._database)
        if workers:
            self._worker_at = time.monotonic()
            self._show_waits(idle_workers_text(workers), line)
        return list_jobs(self._database, job)[0]

    def _show_waits(self, waits: str | None, line: ProgressLine) -> None:
        """Say once why no worker starts work now, while the reason is the same."""
        if waits is not None and waits != self._waits:
            with line.cleared():
                console.info(waits)
        self._waits = waits

    def _warn_unavailable(self, text: str, line: ProgressLine) -> None:
        self._worker_at = time.monotonic()  # without the database, the time without a worker is unknown
        if not self._is_unavailable:
            with line.cleared():
                console.warning(text)
        self._is_unavailable = True


def print_end(database: Database, job: int, *, json: bool) -> int:
    """Print the result of a job that has ended; returns the exit code."""
    from tagger.database.enums import JobState
    from tagger.ledger.progress import list_jobs

    progress = list_jobs(database, job)[0]
    edited, refused = edited_photos(database, progress), refused_photos(database, progress)
    if json:
        write_json(vars(progress) | edited.document() | refused.document())
    console.info(job_summary(progress))
    if progress.state is JobState.CANCELLED:
        console.warning(f"job {job} was cancelled: {progress.note or 'by request'}")
        return console.NOT_DONE
    for line in (*edited.lines(), *refused.lines()):
        console.info(line)
    if progress.refused:
        console.info(f"to list the photos that were not written, and why, run: tagger failures {job}")
    elif progress.failed:
        console.info(f"to list the photos that failed, run: tagger failures {job}")
    return console.SOME_PHOTOS_FAILED if progress.failed else console.DONE
