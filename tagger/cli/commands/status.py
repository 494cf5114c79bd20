"""`tagger status`: the progress of jobs, the workers and the queues."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.options import (
    Json,
)
from tagger.cli.output import console
from tagger.cli.output.formats import write_json
from tagger.cli.output.job_text import (
    late_tick_problem,
    overview_lines,
)
from tagger.cli.session import Session, open_for_reading
from tagger.composition import parts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tagger.database.connection import Database
    from tagger.errors import TaggerError
    from tagger.jobs.enqueue.documents import StatusDocument
    from tagger.ledger.workers import LastTick, WorkerStatus
    from tagger.settings import Settings

JOBS_SHOWN = 20


def status(
    watch: Annotated[bool, typer.Option("--watch", help="Refresh the overview until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show the progress of jobs, the workers, the lengths of the queues and, for schedules, the last tick of beat.

    For one job, use `tagger job show`.

    Example: tagger status --watch
    """
    if watch and json:
        raise typer.BadParameter("it needs one job: tagger job show JOB --watch", param_hint="--json")
    session = open_for_reading(settle_jobs=True)
    if watch:
        from tagger.cli.output.status_screen import watch as watch_all

        watch_all(*session)
    else:
        _show_overview(session, json=json)


def _show_overview(session: Session, *, json: bool) -> None:
    from tagger.cli.supervisor import keeps_worker
    from tagger.ledger.progress import list_recent_jobs
    from tagger.ledger.workers import find_last_tick, list_workers

    settings, database = session
    workers, last_tick = list_workers(database), find_last_tick(database)
    queues, redis_problem = _queue_depths(settings, database.ledger_id)
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


def _queue_depths(settings: Settings, ledger_id: str) -> tuple[dict[str, int | None], TaggerError | None]:
    """The lengths of the queues. Where no Redis has been started, its client is not imported, which would take a while."""
    from tagger.database.enums import Priority
    from worker.embedded_socket import has_socket

    if settings.redis_url is None and not has_socket(settings.data_folder, ledger_id):
        return dict.fromkeys(priority.value for priority in Priority), None
    from worker.broker import find_broker, queue_depths

    return queue_depths(find_broker(settings, ledger_id, start=False))


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
