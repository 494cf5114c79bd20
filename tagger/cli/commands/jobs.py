"""`tagger job …` and `tagger status`: jobs, their progress, workers and queues, and what changes jobs."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from tagger.cli import console
from tagger.cli.console import (
    Format,
    count_of,
    local_time,
    printable,
    write_json,
    write_list,
)
from tagger.cli.help import argument, flag, option
from tagger.cli.job_submission import (
    announce_local_job,
    finish_job,
    follow_to_end,
    runs_here,
    send_job,
    submit_job,
)
from tagger.cli.job_text import (
    is_heard,
    job_lines,
    job_report,
    job_summary,
    overview_lines,
    service_lines,
    unread_lines,
)
from tagger.cli.options import (
    DryRun,
    FormatName,
    Json,
    Local,
    Print0,
    PriorityName,
    Wait,
    parse_format,
)
from tagger.cli.photo_lists import write_failures
from tagger.cli.program import (
    Session,
    load_settings,
    open_for_reading,
    open_session,
    print_due,
)
from tagger.database import METADATA_KINDS, JobKind, Priority
from tagger.database.engine import DatabaseError, outage_text
from tagger.errors import FailureKind, TaggerError
from tagger.jobs.enqueue.job_json import (
    StatusDocument,
    failure_documents,
    status_document,
)
from tagger.jobs.enqueue.job_texts import START_BEAT, counts_text, job_title, tick_text
from tagger.ledger import job_control
from tagger.ledger.items import (
    EDITED,
    FailureFilter,
    count_failures,
    failing_photos,
    unwritten_photos,
)
from tagger.ledger.job_control import (
    JobProgress,
    find_job,
    job_options,
    list_jobs,
    list_recent_jobs,
)
from tagger.ledger.workers import find_last_tick, list_workers
from worker.embedded_redis import has_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from tagger.database.connection import Database

job_app = typer.Typer(
    help="List jobs and their failed photos, and retry, pause and cancel jobs.",
    no_args_is_help=True,
)

JobNumber = Annotated[int | None, argument("JOB", "Job number. (default: all jobs)")]
FailureKinds = Annotated[
    list[str] | None,
    option(
        "--kind",
        "KIND",
        f"Only failures of this kind: {', '.join(FailureKind)}. Repeatable.",
    ),
]
JobNumbers = Annotated[list[int], argument("JOB", "Job numbers.")]


@job_app.command("list")
def list_(json: Json = False) -> None:
    """List all jobs, newest first.

    Example: tagger job list
    """
    database = open_for_reading().database
    jobs = list_jobs(database)
    options = job_options(database, [job.job for job in jobs])
    rows = (
        (
            job.job,
            local_time(job.created_at),
            job_title(job, options[job.job]),
            job.state,
            job.total,
            counts_text(job),
        )
        for job in jobs
    )
    columns = "Job", "Began", "What", "State", "Photos", "Result"
    none_text = "there are no jobs; to start one, run: tagger tag FOLDER"
    write_list(jobs, columns, rows, none_text, json=json)


@job_app.command("show")
def show(
    job: Annotated[int, argument("JOB", "Job number.")],
    watch: Annotated[bool, flag("--watch", "Follow the job until it ends.")] = False,
    json: Json = False,
) -> None:
    """Show the progress of a job.

    Example: tagger job show 7 --watch
    """
    database = open_for_reading().database
    progress = find_job(database, job)
    if watch and not progress.is_over:
        follow_to_end(database, job, json=json)
    document, lines = job_report(database, progress)
    if json:
        write_json(vars(progress) | document)
    else:
        lines = [*lines, *unread_lines(database, job)]
        typer.echo("\n".join([*job_lines(progress), *(f"  {line}" for line in lines)]))


@job_app.command("failures")
def failures(
    job: JobNumber = None,
    kind: FailureKinds = None,
    format_: FormatName = None,
    json: Json = False,
    print0: Print0 = False,
) -> None:
    """List the photos that fail now: the kind of failure, what to do, and the number of attempts.

    For a metadata job, list the photos that it did not write.

    For example:

    tagger job failures 7

    tagger job failures --kind gone --format paths
    """
    output_format = parse_format(
        format_,
        json=json,
        print0=print0,
        impossible={Format.GEOJSON},
        reason="failures have no position; use another format",
    )
    settings, database = open_for_reading()
    is_write_job = job is not None and find_job(database, job).kind in METADATA_KINDS
    if is_write_job:
        from tagger.metadata import RefusalKind, WriteFailureKind

        kinds = (*RefusalKind, *get_args(WriteFailureKind), EDITED)
        photos = unwritten_photos(database, job or 0, _checked_kinds(kind, kinds))
    else:
        photos = failing_photos(database, _failure_filter(job, kind))
    documents = failure_documents(database, photos, settings.roots)
    count = write_failures(documents, output_format, end=b"\0" if print0 else b"\n")
    if job is None or not is_write_job:
        console.info(count_of(count, "failed photo") if count else "no failed photos")
        return
    undone = "undone" if find_job(database, job).kind == JobKind.UNDO else "written"
    console.info(
        f"{count_of(count, 'photo')} {'edited' if kind == [EDITED] else f'not {undone}'}"
    )
    edited = 0 if kind else sum(1 for _ in unwritten_photos(database, job, (EDITED,)))
    if edited:
        text = f"edited: {count_of(edited, 'photo')}, which another program has changed since the write"
        console.info(
            f"{text}; to list them, run: tagger job failures {job} --kind edited"
        )


def _failure_filter(job: int | None, kinds: Sequence[str] | None) -> FailureFilter:
    return FailureFilter(
        job, tuple(map(FailureKind, _checked_kinds(kinds, tuple(FailureKind))))
    )


def _checked_kinds(
    names: Sequence[str] | None, kinds: Sequence[str]
) -> tuple[str, ...]:
    for name in names or ():
        if name not in kinds:
            text = f"there is no kind {name} here; the kinds are {', '.join(kinds)}"
            raise typer.BadParameter(text, param_hint="--kind")
    return tuple(names or ())


@job_app.command("retry")
def retry(
    job: JobNumber = None,
    kind: FailureKinds = None,
    priority: PriorityName = Priority.BULK,
    local: Local = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Classify failed photos again, in a new job.

    Without a worker, the job runs in this process; otherwise, its number is printed. With JOB: the failed
    photos of this job, with its models. Without: all failed photos, with the models in use.

    Example: tagger job retry --kind unreadable --kind timed-out --wait
    """
    from tagger.jobs.enqueue.submission import Retry

    request = Retry(_failure_filter(job, kind))
    settings, database = session = open_session(settle_jobs=True)
    request.check(database, settings.roots)
    counts = count_failures(database, request.failures)
    if dry_run or not counts:
        _print_counts(counts, dry_run=dry_run, json=json)
        return
    is_local = runs_here(session, local=local)
    if is_local and local is None:
        announce_local_job()
    number, report = submit_job(
        session, request, priority, "failed photos", local=is_local
    )
    finish_job(session, number, report.in_other_jobs, wait=wait, json=json)


def _print_counts(counts: dict[str, int], *, dry_run: bool, json: bool) -> None:
    total = sum(counts.values())
    if json:
        write_json({"job": None, "total": total, "kinds": counts, "dry_run": dry_run})
    elif dry_run:
        for kind, count in counts.items():
            typer.echo(f"{kind}: {count}")
    if not counts:
        console.info("no photo fails for these conditions; there is nothing to retry")
    elif dry_run:
        console.info(
            f"{count_of(total, 'photo')} would be classified again; nothing was recorded"
        )


@job_app.command("pause")
def pause(jobs: JobNumbers, json: Json = False) -> None:
    """Pause jobs. Batches that are in progress finish, and a scan continues to find photos.

    Example: tagger job pause 7, then: tagger job resume 7
    """
    _control(jobs, job_control.pause, json=json)


@job_app.command("resume")
def resume(jobs: JobNumbers, json: Json = False) -> None:
    """Resume paused jobs.

    Example: tagger job resume 7
    """

    def resume_and_send(database: Database, job: int) -> JobProgress:
        if job_control.resume(database, job):
            send_job(Session(load_settings(), database), job, start_redis=False)
        else:
            console.info(f"job {job} was not paused")
        return find_job(database, job)

    _control(jobs, resume_and_send, json=json)


@job_app.command("cancel")
def cancel(jobs: JobNumbers, json: Json = False) -> None:
    """Cancel jobs permanently. Photos that are not done are cancelled; stored results stay.

    This also cancels a job of `tagger tag` in another terminal.

    Example: tagger job cancel 7 8
    """
    _control(jobs, job_control.cancel, json=json)


def _control(
    jobs: list[int], action: Callable[[Database, int], JobProgress], *, json: bool
) -> None:
    # Apply `action` to every job; an error of one job does not stop the others.
    database = open_session(settle_jobs=True).database
    documents: list[JobProgress] = []
    errors: list[dict[str, object]] = []
    for job in dict.fromkeys(jobs):
        try:
            progress = action(database, job)
        except TaggerError as error:
            errors.append({"job": job, "error": str(error)})
            typer.echo(f"error: {error}", err=True)
            continue
        documents.append(progress)
        if not json:
            typer.echo(job_summary(progress))
    if json:
        write_json({"jobs": documents, "errors": errors})
    if errors:
        raise typer.Exit(console.NOT_DONE)


JOBS_SHOWN = 20
# Finished jobs stay on the screen while they are among this many newest jobs.
JOBS_WATCHED = 5
REFRESH_S = 1.0


def status(
    watch: Annotated[
        bool, flag("--watch", "Refresh the overview until Ctrl-C.")
    ] = False,
    json: Json = False,
) -> None:
    """Show jobs, workers, the lengths of the queues and, for schedules, the last tick of beat.

    For one job, use `tagger job show`.

    Example: tagger status --watch
    """
    if watch and json:
        raise typer.BadParameter(
            "it needs one job: tagger job show JOB --watch", param_hint="--json"
        )
    session = open_for_reading()
    if watch:
        from rich.console import Console

        screen = Console()
        with suppress(KeyboardInterrupt):
            if screen.is_terminal and not screen.is_dumb_terminal:
                _draw(screen, _overviews(session))
            else:
                _print(_overviews(session))
        return
    status, redis_problem = _read_status(
        session, list_jobs(session.database) if json else ()
    )
    if json:
        write_json(status)
    else:
        typer.echo("\n".join(_overview(session, status, redis_problem, JOBS_SHOWN)))
    for problem in _problems(status, redis_problem):
        console.warning(problem)
    print_due(session.database)


def _read_status(
    session: Session, jobs: Sequence[JobProgress] = ()
) -> tuple[StatusDocument, TaggerError | None]:
    # The state of these jobs and of what processes jobs, and why the queues cannot be read.
    settings, database = session
    queues: dict[str, int | None] = dict.fromkeys(
        priority.value for priority in Priority
    )
    redis_problem = None
    # Where no Redis was started, its client is not imported, which is slow.
    if settings.redis_url is not None or has_socket(
        settings.data_folder, database.ledger_id
    ):
        from worker.broker import find_broker, queue_depths

        queues, redis_problem = queue_depths(
            find_broker(settings, database.ledger_id, start=False)
        )
    workers, last_tick = list_workers(database), find_last_tick(database)
    return status_document(database, jobs, workers, queues, last_tick), redis_problem


def _problems(status: StatusDocument, redis_problem: TaggerError | None) -> list[str]:
    problems = [*status.model_problems]
    if redis_problem:
        problems.append(str(redis_problem))
    if status.last_tick is not None and status.last_tick.is_late:
        problems.append(
            f"schedules do not run ({tick_text(status.last_tick)}): start {START_BEAT}"
        )
    return problems


def _overview(
    session: Session,
    status: StatusDocument,
    redis_problem: TaggerError | None,
    jobs_shown: int,
) -> list[str]:
    is_served = redis_problem is None and any(map(is_heard, status.workers))
    jobs = overview_lines(
        *list_recent_jobs(session.database, jobs_shown), is_served=is_served
    )
    return [
        *jobs,
        *service_lines(status.workers, status.queues, redis_problem, status.last_tick),
    ]


def _overviews(session: Session) -> Iterator[list[str]]:
    # Yield an overview every second; while the database does not answer, the last one with the problem.
    lines: list[str] = []
    while True:
        try:
            status, redis_problem = _read_status(session)
            lines = _overview(session, status, redis_problem, JOBS_WATCHED)
            problems = _problems(status, redis_problem)
        except DatabaseError as error:
            problems = [f"{outage_text(error)}; trying again"]
        yield [printable(line) for line in (*problems, *lines)]
        time.sleep(REFRESH_S)


def _draw(screen: Console, overviews: Iterator[list[str]]) -> None:
    from rich.live import Live
    from rich.text import Text

    with Live(console=screen, screen=True, auto_refresh=False) as live:
        for lines in overviews:
            title = f"{datetime.now().astimezone():%H:%M:%S}  press Ctrl-C to exit"
            live.update(Text("\n".join([title, *lines]), overflow="fold"), refresh=True)


def _print(overviews: Iterator[list[str]]) -> None:
    printed: list[str] = []
    for lines in overviews:
        for line in lines:
            if line not in printed:
                typer.echo(line)
        printed = lines
        sys.stdout.flush()
