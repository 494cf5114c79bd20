"""`tagger status` and `failures`: how far jobs are, and what went wrong with single photos."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli import console
from tagger.cli.options import (
    FailureKinds,
    Formatted,
    JobNumber,
    Json,
    Print0,
    chosen_format,
    chosen_kinds,
    chosen_refusals,
)
from tagger.cli.pace import Pace, duration
from tagger.cli.progress import ProgressLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from tagger.database import Database
    from tagger.ledger.progress import JobProgress, WorkerSeen
    from tagger.settings import Settings

NO_WORKER_S = 30.0
POLL_S = 0.5
JOBS_SHOWN = 20
WRITES_SHOWN = 3


def status(
    job: JobNumber = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch", help="Stay: until the job is done; without JOB, show everything until Ctrl-C."
        ),
    ] = False,
    json: Json = False,
) -> None:
    """How far jobs are, which workers are there, and what waits in the queues.

    Example: tagger status, tagger status --watch, tagger status 7 --watch
    """
    from tagger.job_documents import worker_document
    from tagger.ledger.progress import list_jobs, list_latest, list_workers

    if watch and json and job is None:
        raise typer.BadParameter("the view of all jobs is for people; name a JOB", param_hint="--json")
    settings, database = _open()
    if job is not None:
        progress = _one_job(database, job)
        if watch and not progress.is_over:
            raise typer.Exit(follow(database, job, json=json))
        print_json(job_json(progress)) if json else _print_job(progress)
        return
    if watch:
        from tagger.cli.watching import watch as watch_all

        watch_all(settings, database)
        return
    workers = list_workers(database)
    queues, problem = _queues(settings)
    if json:
        jobs = list_jobs(database)
        seen = [worker_document(worker) for worker in workers]
        print_json({"jobs": [job_json(each) for each in jobs], "workers": seen, "queues": queues})
    else:
        _print_all(*list_latest(database, JOBS_SHOWN), workers, queues)
    if problem:
        console.warn(problem)


def failures(
    job: JobNumber = None,
    kind: FailureKinds = None,
    written_as: Formatted = None,
    json: Json = False,
    print0: Print0 = False,
) -> None:
    """Every photo that fails now, with the kind, what to do about it, and how often it was tried.

    A photo that was tagged since is not listed. Of a job that writes metadata: every photo that it left as it is.

    For example:

    tagger failures 7

    tagger failures --kind gone --format paths
    """
    from tagger.cli.output import Format, write_failures
    from tagger.ledger.progress import Failing, failing_photos, unwritten_photos
    from tagger.roots import list_roots
    from tagger.tables import WRITING_KINDS

    chosen = chosen_format(written_as, json=json, print0=print0)
    if chosen is Format.GEOJSON:
        raise typer.BadParameter("failures have no place on a map", param_hint="--format")
    settings, database = _open()
    writing = job is not None and _one_job(database, job).kind in WRITING_KINDS
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, settings.roots)}
    found = (
        unwritten_photos(database, job or 0, chosen_refusals(kind))
        if writing
        else failing_photos(database, Failing(job, chosen_kinds(kind)))
    )
    failing = ((roots[photo.root_id].path_of(photo.path, photo.path_bytes), photo) for photo in found)
    count = write_failures(failing, chosen, end=b"\0" if print0 else b"\n")
    if writing:
        console.say(
            f"{count} photo{' was' if count == 1 else 's were'} left as {'it is' if count == 1 else 'they are'}"
        )
    else:
        console.say(
            f"{count} photo{' fails' if count == 1 else 's fail'} now" if count else "no photo fails now"
        )


def follow(
    database: Database,
    job: int,
    *,
    json: bool = False,
    wait_for_worker: bool = False,
    on_poll: Callable[[], None] = lambda: None,
) -> int:
    """Show a job's progress until it ends, and that of the job chained to it; returns the exit code that says how.

    With `wait_for_worker` it gives up, and says so, when no worker has been there for NO_WORKER_S.
    """
    code = _follow_one(database, job, json=json, wait_for_worker=wait_for_worker, on_poll=on_poll)
    chained = None if code == console.NOT_DONE else _one_job(database, job).write_job
    if chained is None:
        return code
    written = _follow_one(database, chained, json=False, wait_for_worker=wait_for_worker, on_poll=on_poll)
    return written or code


def _follow_one(
    database: Database, job: int, *, json: bool, wait_for_worker: bool, on_poll: Callable[[], None]
) -> int:
    asked = _Asked(database)
    with ProgressLine(f"job {job}") as line:
        while (progress := asked.progress(job, line)) is None or not progress.is_over:
            if wait_for_worker and asked.seconds_without_worker > NO_WORKER_S:
                with line.cleared():
                    why = f"no worker has been there for {NO_WORKER_S:.0f} s"
                    console.warn(f"{why}. Job {job} stays; start a worker with: tagger worker")
                return console.NOT_DONE
            on_poll()
            time.sleep(POLL_S)
    return end_of_job(database, job, json=json)


class _Asked:
    """How far a job is, asked again and again; while the database is away, says so once and goes on."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._pace = Pace()
        self._worker_seen = time.monotonic()
        self._away = False

    @property
    def seconds_without_worker(self) -> float:
        return time.monotonic() - self._worker_seen

    def progress(self, job: int, line: ProgressLine) -> JobProgress | None:
        """Shown on the line; None where the database does not answer."""
        from sqlalchemy.exc import SQLAlchemyError

        from tagger.database import is_passing_trouble

        try:
            found = self._ask(job)
        except SQLAlchemyError as error:
            if not is_passing_trouble(error):
                raise
            self._say_away(line)
            return None
        self._away = False
        rate = self._pace.photos_per_second(found, time.monotonic())
        line.show(f"job {job} {found.state}", found.done, found.total, rate)
        return found

    def _ask(self, job: int) -> JobProgress:
        from tagger.ledger.progress import list_jobs, list_workers

        if list_workers(self._database):
            self._worker_seen = time.monotonic()
        return list_jobs(self._database, job)[0]

    def _say_away(self, line: ProgressLine) -> None:
        self._worker_seen = time.monotonic()  # nobody can tell
        if not self._away:
            with line.cleared():
                console.warn("the database does not answer; following goes on when it is back")
        self._away = True


def end_of_job(database: Database, job: int, *, json: bool) -> int:
    """Print a job's end; returns the exit code that says how it went."""
    from tagger.ledger.progress import list_jobs
    from tagger.tables import JobState

    progress = list_jobs(database, job)[0]
    if json:
        print_json(job_json(progress))
    console.say(sums_of(progress))
    if progress.state is JobState.CANCELLED:
        console.warn(f"job {job} was cancelled: {progress.note or 'by request'}")
        return console.NOT_DONE
    if progress.refused:
        console.say(f"tagger failures {job} lists the photos that were left as they are, and why")
    elif progress.failed:
        console.say(f"tagger failures {job} lists the photos that failed")
    if progress.failed:
        return console.SOME_PHOTOS_FAILED
    return console.DONE


def job_json(progress: JobProgress) -> dict[str, Any]:
    """A job as people's scripts know it; the states of items add up to `total`."""
    from tagger.job_documents import job_document

    return job_document(progress)


def print_json(document: object) -> None:
    import json

    typer.echo(json.dumps(document))


def _open() -> tuple[Settings, Database]:
    from tagger.database import open_database
    from tagger.ledger.abandoned import settle_abandoned
    from tagger.settings import load_settings

    settings = load_settings()
    database = open_database(settings.effective_database_url)
    settle_abandoned(database)
    return settings, database


def _one_job(database: Database, job: int) -> JobProgress:
    from tagger.errors import JobNotFound
    from tagger.ledger.progress import list_jobs

    found = list_jobs(database, job)
    if not found:
        raise JobNotFound(job=job)
    return found[0]


def _queues(settings: Settings) -> tuple[dict[str, int | None], str | None]:
    """Messages that wait, per queue; None where Redis does not answer, and why."""
    from worker.broker import find_broker, queue_depths

    broker = find_broker(settings, start=False)
    return queue_depths(broker)


def sums_of(progress: JobProgress) -> str:
    """A job's numbers in a line."""
    from tagger.tables import WRITING_KINDS

    if progress.kind in WRITING_KINDS:
        parts = [f"{progress.written} written", f"{progress.unchanged} unchanged"]
        parts += [f"{progress.refused} refused"] if progress.refused else []
        parts += [f"{progress.skipped} skipped"] if progress.skipped else []
    else:
        parts = [f"{progress.tagged} tagged", f"{progress.unknown} unknown", f"{progress.skipped} skipped"]
    parts += [f"{progress.failed} failed"] if progress.failed else []
    parts += [f"{progress.cancelled} cancelled"] if progress.cancelled else []
    rate = f", {progress.photos_per_second:.1f} photos/s" if progress.photos_per_second else ""
    photos = "1 photo" if progress.total == 1 else f"{progress.total} photos"
    what = {"write": ", metadata written", "undo": ", metadata taken back"}.get(progress.kind, "")
    return f"job {progress.job} {progress.state}{what}: {photos}: {', '.join(parts)}{rate}"


def _print_job(progress: JobProgress) -> None:
    left = [f"{progress.running} running", f"{progress.queued} queued"] if not progress.is_over else []
    eta = f", about {duration(progress.eta_seconds)} left" if progress.eta_seconds else ""
    typer.echo(sums_of(progress) + (f"; {', '.join(left)}{eta}" if left else ""))
    typer.echo(f"  model {progress.model}, {progress.priority}, run by {progress.runner}{_related(progress)}")
    if progress.note:
        typer.echo(f"  {progress.note}")


def _related(progress: JobProgress) -> str:
    if progress.parent:
        what = "a retry" if progress.kind == "retry" else "writes the tags"
        return f", {what} of job {progress.parent}"
    return f", its tags are written by job {progress.write_job}" if progress.write_job else ""


def _print_all(
    jobs: list[JobProgress], older: int, workers: list[WorkerSeen], queues: dict[str, int | None]
) -> None:
    for line in [*(_job_lines(jobs) if jobs else ()), *_notes(jobs)]:
        typer.echo(line)
    if older:
        typer.echo(f"… and {older} older job{'' if older == 1 else 's'} that are over; --json lists them all")
    names = ", ".join(f"{worker.name} ({worker.device}, {worker.chunks} chunks)" for worker in workers)
    typer.echo(f"workers: {names or 'none'}")
    depths = [f"{name} {depth}" for name, depth in queues.items() if depth is not None]
    typer.echo(f"messages waiting: {', '.join(depths) or 'no Redis is running; a worker starts one'}")


def _job_lines(jobs: list[JobProgress]) -> list[str]:
    """A table of plain text: narrow enough for 80 columns, easy to cut."""
    names = ["job", "state", "total", "done", "tagged", "unknown", "skipped", "failed", "photos/s", "ETA"]
    rows = [names, *(_job_cells(job) for job in jobs)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(names))]
    return [
        "  ".join(
            cell.ljust(width) if column == 1 else cell.rjust(width)
            for column, (cell, width) in enumerate(cells)
        )
        for row in rows
        for cells in [list(zip(row, widths, strict=True))]
    ]


def _job_cells(job: JobProgress) -> list[str]:
    numbers = (job.total, job.done, job.tagged, job.unknown, job.skipped, job.failed)
    rate = f"{job.photos_per_second:.1f}" if job.photos_per_second else "-"
    eta = duration(job.eta_seconds) if job.eta_seconds and job.running else "-"
    return [str(job.job), job.state, *map(str, numbers), rate, eta]


def _notes(jobs: list[JobProgress]) -> list[str]:
    if not jobs:
        return ["no jobs yet; start one with: tagger tag FOLDER"]
    wrote = [job for job in jobs if job.written or job.unchanged or job.refused]
    writes = [sums_of(job) for job in wrote[:WRITES_SHOWN]]
    return [*writes, *(f"job {job.job}: {job.note}" for job in jobs if job.note and not job.is_over)]
