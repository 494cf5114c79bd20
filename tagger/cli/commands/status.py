"""`tagger status` and `failures`: the progress of jobs, and the photos that failed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.options import (
    FailureKinds,
    FormatName,
    JobNumber,
    Json,
    Print0,
    parse_failure_kinds,
    parse_format,
    parse_refusal_kinds,
)
from tagger.cli.output import console
from tagger.cli.output.formats import Format, write_json
from tagger.cli.output.job_text import (
    count_of,
    job_lines,
    late_tick_problem,
    overview_lines,
)
from tagger.cli.output.summary import print_next_steps
from tagger.cli.output.unwritten_photos import edited_photos, refused_photos
from tagger.cli.session import Session, open_session
from tagger.composition import parts
from tagger.system.interruption import set_advice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tagger.database.connection import Database
    from tagger.errors import TaggerError
    from tagger.jobs.enqueue.documents import StatusDocument
    from tagger.ledger.progress import JobProgress
    from tagger.ledger.workers import LastTick, WorkerStatus
    from tagger.settings import Settings

JOBS_SHOWN = 20


def status(
    job: JobNumber = None,
    watch: Annotated[
        bool,
        typer.Option(
            "--watch",
            help="With JOB: follow the job until it ends. Without: refresh the overview until Ctrl-C.",
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Show the progress of jobs, the workers, the lengths of the queues and, for schedules, the last tick of beat.

    Example: tagger status, tagger status --watch, tagger status 7 --watch
    """
    if watch and json and job is None:
        raise typer.BadParameter("with --watch, it needs a JOB", param_hint="--json")
    session = open_session(settle_jobs=True)
    if job is not None:
        _show_job(session.database, job, watch=watch, json=json)
    elif watch:
        from tagger.cli.output.watch import watch as watch_all

        watch_all(*session)
    else:
        _show_overview(session, json=json)


def _show_job(database: Database, job: int, *, watch: bool, json: bool) -> None:
    from tagger.cli.job_submission import follow

    progress = _find_job(database, job)
    if watch and not progress.is_over:
        set_advice(f"job {job} continues. Follow it with: tagger status {job} --watch")
        code = follow(database, job, json=json)
        if not json:
            print_next_steps(database, job)
        raise typer.Exit(code)
    edited, refused = edited_photos(database, progress), refused_photos(database, progress)
    if json:
        write_json(vars(progress) | edited.document() | refused.document())
    else:
        about_photos = (f"  {line}" for line in (*edited.lines(), *refused.lines()))
        typer.echo("\n".join([*job_lines(progress), *about_photos]))


def _show_overview(session: Session, *, json: bool) -> None:
    from tagger.cli.supervisor import keeps_worker
    from tagger.ledger.progress import list_recent_jobs
    from tagger.ledger.workers import find_last_tick, list_workers

    settings, database = session
    workers, last_tick = list_workers(database), find_last_tick(database)
    queues, redis_problem = _queue_depths(settings)
    if json:
        write_json(_overview_document(database, workers, queues, last_tick))
    else:
        jobs, older_count = list_recent_jobs(database, JOBS_SHOWN)
        lines = overview_lines(
            jobs,
            older_count,
            workers,
            queues,
            last_tick,
            redis_problem=redis_problem,
            keeps_worker=keeps_worker(settings.data_folder, database),
        )
        for room_lines in parts("status_lines").values():
            lines += room_lines(database)
        typer.echo("\n".join(lines))
    for warning in filter(
        None, (str(redis_problem) if redis_problem else None, late_tick_problem(last_tick))
    ):
        console.warning(warning)


def _queue_depths(settings: Settings) -> tuple[dict[str, int | None], TaggerError | None]:
    """The lengths of the queues. Where no Redis has been started, its client is not imported, which would take a while."""
    from tagger.database.enums import Priority
    from worker.embedded_socket import has_socket

    if settings.redis_url is None and not has_socket(settings.data_folder):
        return dict.fromkeys(priority.value for priority in Priority), None
    from worker.broker import find_broker, queue_depths

    return queue_depths(find_broker(settings, start=False))


def _overview_document(
    database: Database,
    workers: Sequence[WorkerStatus],
    queues: Mapping[str, int | None],
    last_tick: LastTick | None,
) -> StatusDocument:
    from tagger.database.statements import current_time
    from tagger.jobs.enqueue.documents import room_documents, status_document
    from tagger.ledger.progress import list_jobs

    jobs = list_jobs(database)
    with database.read() as connection:
        now = current_time(connection)
    return status_document(jobs, workers, queues, last_tick, room_documents(database), now)


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

    tagger failures 7

    tagger failures --kind gone --format paths
    """
    from tagger.cli.output.photos import write_failures
    from tagger.database.enums import METADATA_KINDS
    from tagger.ledger.failures import EDITED, FailureFilter, failing_photos, unwritten_photos
    from tagger.library.catalog.roots import list_roots

    output_format = parse_format(format_, json=json, print0=print0)
    if output_format is Format.GEOJSON:
        raise typer.BadParameter("failures have no position; use another format", param_hint="--format")
    settings, database = open_session(settle_jobs=True)
    is_write_job = job is not None and _find_job(database, job).kind in METADATA_KINDS
    with database.read() as connection:
        roots = {root.id: root for root in list_roots(connection, settings.roots)}
    photos = (
        unwritten_photos(database, job or 0, parse_refusal_kinds(kind))
        if is_write_job
        else failing_photos(database, FailureFilter(job, parse_failure_kinds(kind)))
    )
    with_paths = ((roots[photo.root_id].path_of(photo.path, photo.path_bytes), photo) for photo in photos)
    count = write_failures(with_paths, output_format, end=b"\0" if print0 else b"\n")
    if is_write_job:
        console.info(f"{count_of(count, 'photo')} {'edited' if kind == [EDITED] else 'not written'}")
    else:
        console.info(count_of(count, "failed photo") if count else "no failed photos")


def _find_job(database: Database, job: int) -> JobProgress:
    from tagger.errors import JobNotFound
    from tagger.ledger.progress import list_jobs

    jobs = list_jobs(database, job)
    if not jobs:
        raise JobNotFound(job=job)
    return jobs[0]
