"""Record jobs; send them to the workers and follow them, or run them in the process of the command."""

from __future__ import annotations

import os
import shlex
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, NoReturn, Self

import typer

from tagger.cli import console
from tagger.cli.console import ProgressLine, count_of, printable, write_json
from tagger.cli.job_text import (
    JobLine,
    gone_text,
    job_report,
    job_summary,
    other_files_lines,
    photo_line,
    print_next_steps,
)
from tagger.cli.program import Session, open_for_reading
from tagger.database import METADATA_KINDS, JobState, Outcome, Priority
from tagger.database.engine import DatabaseError, is_transient, outage_text, with_retry
from tagger.jobs.enqueue.job_texts import idle_text
from tagger.ledger import PUT_BACK
from tagger.ledger.job_control import find_job, has_write_option
from tagger.ledger.workers import list_workers
from tagger.processes import resume_collection, set_message
from tagger.query.photo_json import JobPhotos

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tagger.database.connection import Database
    from tagger.jobs.enqueue.selection import ScanReport
    from tagger.jobs.enqueue.submission import JobRequest, Tagging
    from tagger.jobs.processing.chunk_runner import StoredBatch
    from tagger.photos.folders import FolderProblem
    from tagger.settings import Settings


def submit_job(
    session: Session,
    request: JobRequest,
    priority: Priority,
    text: str,
    *,
    local: bool = False,
) -> tuple[int, ScanReport]:
    """Record a job with its photos, behind a line of progress; returns its number and the scan's report.

    Prints what could not be scanned.
    """
    from tagger.jobs.enqueue.submission import submit

    settings, database = session
    with ProgressLine(text) as line:
        job, report = submit(
            database, settings, request, priority, line.show, local=local
        )
    print_problems(report.problems)
    console.info(*report.other_job_lines())
    return job, report


def submit_tagging(
    session: Session, request: Tagging, priority: Priority, *, local: bool = False
) -> tuple[int, ScanReport]:
    """Record a tagging job and scan its folders, as `submit_job`. Prints what was left out."""
    job, report = submit_job(
        session, request, priority, "scanning folders", local=local
    )
    print_left_out(report)
    if report.gone:
        console.info(gone_text(report.gone))
    if not report.found:
        console.warning("no photos were found there")
    return job, report


def print_left_out(report: ScanReport) -> None:
    console.info(*other_files_lines(report.other_files))
    for old, new in report.moved:
        command = shlex.join(["tagger", "db", "move", str(old), str(new)])
        console.warning(
            f"{printable(str(old))} is not there any more, and its photos are in {printable(str(new))}. "
            f"If you moved them, run: {printable(command)}"
        )


def print_problems(problems: Iterable[FolderProblem]) -> None:
    for problem in problems:
        console.warning(f"{printable(str(problem.path))}: {problem.text}")


def send_job(session: Session, job: int, *, start_redis: bool) -> None:
    """Wake workers for a recorded job; print a warning if that is impossible now."""
    from worker.producer import wake_workers

    settings, database = session
    problem = wake_workers(database, settings, start_redis=start_redis)
    if problem:
        console.warning(
            f"{problem} Job {job} is recorded; workers process it when Redis is available."
        )


def finish_job(
    session: Session,
    job: int,
    other_jobs: Iterable[int] = (),
    *,
    wait: bool,
    json: bool,
) -> None:
    """Run a recorded job in this process, or wake the workers for it and print its number.

    With `wait`, the job of workers is followed until it ends, and the others that have photos of it too.
    """
    if find_job(session.database, job).is_local:
        set_message(f"interrupted; no work is lost; {PUT_BACK}")
        raise typer.Exit(finish_in_process(session, job, json=json))
    send_job(session, job, start_redis=wait)
    if not json:
        typer.echo(f"job {job}" if sys.stdout.isatty() else job)
    if not wait:
        _print_submission(session, job, json=json)
        return
    follow_to_end(session.database, job, other_jobs, json=json)


def follow_to_end(
    database: Database, job: int, other_jobs: Iterable[int] = (), *, json: bool
) -> NoReturn:
    """Follow a job of workers until it ends, then others, and end the command as they do."""
    set_message(
        f"interrupted; job {job} continues. Follow it with: tagger job show {job} --watch"
    )
    code = follow(database, job, json=json)
    for other in other_jobs:
        code = follow(database, other) or code
    if not json:
        print_next_steps(database, job)
    raise typer.Exit(code)


def _print_submission(session: Session, job: int, *, json: bool) -> None:
    database = session.database
    progress = find_job(database, job)
    if json:
        write_json(progress)
    skipped = (
        f", {progress.skipped} of them skipped as classified already"
        if progress.skipped
        else ""
    )
    then = (
        "; then the tags are written to metadata"
        if has_write_option(database, job)
        else ""
    )
    console.info(
        f"job {job}: {count_of(progress.total, 'photo')}{skipped}{then}. "
        f"Follow it with: tagger job show {job} --watch"
    )
    problem = "" if progress.is_over else idle_text(list_workers(database))
    if problem:
        console.info(problem)
    if progress.skipped_folders:
        raise typer.Exit(console.SOME_PHOTOS_FAILED)


def print_plan(settings: Settings, request: Tagging) -> None:
    """Print how many photos a tagging job would classify, without recording it."""
    from tagger.jobs.enqueue.selection import preview_scan  # it reads metadata

    database = open_for_reading(settings, is_needed=False).database
    request.check(database, settings.roots)
    new = request.new_job(database, settings)
    total, classified, other_files = preview_scan(
        database, request.selection, new, settings.roots
    )
    skipped = f", {classified} skipped as classified already" if classified else ""
    typer.echo(
        f"{count_of(total - classified, 'photo')} would be classified{skipped}; nothing was recorded"
    )
    console.info(*other_files_lines(other_files))
    if request.write is not None:
        console.info(
            "then their tags would be written to metadata. To see the changes of photos that have tags, "
            f"run: tagger metadata write --to {request.write.to} --dry-run"
        )


# Within this time, a worker that was just started is known, and one that knows this machine is
# ready.
NO_WORKER_S = 10.0
POLL_S = 0.5


def follow(
    database: Database,
    job: int,
    *,
    json: bool = False,
    on_poll: Callable[[], None] = lambda: None,
) -> int:
    """Show the progress of a job and of the one chained to it, or why no worker starts; returns the code."""
    code = _follow_one(database, job, json=json, on_poll=on_poll)
    chained = None if code == console.NOT_DONE else find_job(database, job).write_job
    if chained is None:
        return code
    return _follow_one(database, chained, json=False, on_poll=on_poll) or code


def _follow_one(
    database: Database, job: int, *, json: bool, on_poll: Callable[[], None]
) -> int:
    ready_at = time.monotonic()
    reported = ""
    with JobLine(f"job {job}") as line:
        while True:
            try:
                workers, progress = list_workers(database), find_job(database, job)
            except DatabaseError as error:
                if not is_transient(error):
                    raise
                problem = f"{outage_text(error)}; trying again until it works"
            else:
                line.show_job(database, progress, progress.state)
                if progress.is_over or (progress.is_silent and progress.is_local):
                    break
                if progress.is_local or not all(
                    worker.is_starting for worker in workers
                ):
                    ready_at = time.monotonic()
                may_follow = time.monotonic() - ready_at < NO_WORKER_S
                problem = "" if may_follow else idle_text(workers)
            if problem and problem != reported:
                with line.cleared():
                    console.warning(problem)
            reported = problem
            on_poll()
            time.sleep(POLL_S)
    if progress.is_over:
        return print_end(database, job, json=json)
    # Nobody continues the job, unless its process answers again.
    if json:
        write_json(progress)
    console.result(job_summary(progress))
    console.warning(f"job {job}: {progress.note}")
    return console.NOT_DONE


def print_end(database: Database, job: int, *, json: bool) -> int:
    """Print the result of a job that has ended; returns the exit code."""
    progress = find_job(database, job)
    document, lines = job_report(database, progress)
    if json:
        write_json(vars(progress) | document)
    console.result("\n".join([job_summary(progress), *lines]))
    if progress.state is JobState.CANCELLED:
        console.warning(f"job {job} was cancelled: {progress.note or 'by request'}")
        return console.NOT_DONE
    if progress.refused or progress.failed:
        console.info(
            f"to list the photos that failed or were refused, run: tagger job failures {job}"
        )
    if progress.gone:
        console.info(
            f"to list those that are gone, run: tagger job failures {job} --kind gone"
        )
    if progress.lacks_a_model:
        console.warning(f"job {job}: {progress.note}")
    has_problem = (
        progress.failed
        or progress.refused
        or progress.skipped_folders
        or progress.lacks_a_model
    )
    return console.SOME_PHOTOS_FAILED if has_problem else console.DONE


def runs_here(session: Session, *, local: bool | None) -> bool:
    """Whether this process runs a new job: if nobody says so, on SQLite where no worker runs."""
    if local is None:
        return session.database.is_sqlite and not list_workers(session.database)
    return local


def announce_local_job() -> None:
    """Say that this process runs the job, where nobody asked for it."""
    console.info(
        "no worker runs, so this process does the work; to leave it to workers, use --no-local"
    )


def finish_in_process(session: Session, job: int, *, json: bool) -> int:
    """Run a local job and the metadata job chained to it, and print the results; returns the exit code."""
    from tagger.jobs.processing.executor import run_local_jobs

    settings, database = session
    run = partial(run_local_job, database, settings, lines=not json)
    code = console.DONE
    for progress in run_local_jobs(database, job, run, "run the same command again"):
        # It reads everything before it prints.
        end = partial(
            print_end, database, progress.job, json=json and progress.job == job
        )
        code = with_retry(end) or code
    return code


def run_local_job(
    database: Database, settings: Settings, job: int, *, lines: bool
) -> None:
    """Run a local job, if it has something to do; `lines` prints a line for each photo.

    A large job runs in several processes, where the machine has cores for them.
    """
    progress = with_retry(partial(find_job, database, job))
    if progress.is_over:
        return
    from tagger.cli.pools import job_process_count, run_in_processes
    from tagger.jobs.processing.executor import run_job

    count = with_retry(partial(job_process_count, database, settings, progress))
    with StoredPrinter(database, settings, job, lines=lines) as printer:
        resume_collection()
        if count > 1:
            run_in_processes(database, settings, job, count, printer)
        else:
            run_job(
                database, settings, job, printer.show_progress, printer.print_stored
            )


# Outcomes that most photos of a large job have, and that its summary counts.
TELL_NOTHING = frozenset({Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.UNCHANGED})


class StoredPrinter:
    """Prints a line for each photo of a job that is stored, if `lines` is set, and shows the job's progress.

    On a terminal, photos in which nothing was found have no line unless -v is set, and none has one with -q.
    Elsewhere all have one, with -q only those in which something was found.
    """

    def __init__(
        self, database: Database, settings: Settings, job: int, *, lines: bool
    ) -> None:
        self._database, self._job = database, job
        self._progress = with_retry(partial(find_job, database, job))
        # Whether lines are printed: not any more once nobody reads them.
        self._has_lines = lines and not (sys.stdout.isatty() and console.verbosity < 0)
        least = 1 if sys.stdout.isatty() else 0
        hidden = TELL_NOTHING if console.verbosity < least else frozenset()
        self._photos = with_retry(
            partial(JobPhotos, database, settings.roots, job, hidden)
        )
        self._lock = threading.Lock()
        self._line = JobLine(
            "writing" if self._progress.kind in METADATA_KINDS else "tagging"
        )

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(self, kind: object, *_exc: object) -> None:
        if kind in (None, KeyboardInterrupt):
            self.update()
        self._line.__exit__()

    def update(self) -> None:
        """Print the photos that any process has stored since the last call, and show the progress."""
        self.print_stored()
        self.show_progress()

    def print_stored(self, _stored: StoredBatch = ()) -> None:
        """Print the photos that any process has stored since the last call. Several threads call this."""
        with self._lock:
            photos = with_retry(self._photos.next) if self._has_lines else ()
            if photos:
                lines = "\n".join(
                    photo_line(photo, self._progress.kind) for photo in photos
                )
                with self._line.cleared():
                    try:
                        typer.echo(lines)
                    except BrokenPipeError:
                        # The reader of the pipe has exited; the job continues without lines.
                        self._has_lines = False
                        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def show_progress(self) -> None:
        with self._lock:
            if self._line.is_shown:
                self._progress = with_retry(
                    partial(find_job, self._database, self._job)
                )
                self._line.show_job(self._database, self._progress)

    def show_message(self, line: str) -> None:
        """Print a line on stderr. Several threads call this."""
        with self._lock, self._line.cleared(), suppress(BrokenPipeError):
            typer.echo(line, err=True)
