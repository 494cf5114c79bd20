"""`tagger status`: the progress of jobs, the workers and the queues."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import job_summary, late_tick_problem, overview_lines, service_lines
from tagger.cli.session import Session, open_for_reading
from tagger.composition import parts

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from tagger.errors import TaggerError
    from tagger.jobs.enqueue.documents import StatusDocument
    from tagger.ledger.progress import JobProgress
    from tagger.ledger.workers import LastTick, WorkerStatus

JOBS_SHOWN = 20
JOBS_WATCHED = 5
"""Finished jobs stay on the screen while they are among this many newest jobs."""
REFRESH_S = 1.0


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
        _watch(session)
    else:
        _show_overview(session, json=json)


class _Services(NamedTuple):
    """What processes jobs. `problems` are messages about Redis and beat."""

    workers: Sequence[WorkerStatus]
    queues: Mapping[str, int | None]
    last_tick: LastTick | None
    lines: Sequence[str]
    problems: Sequence[str]


def _show_overview(session: Session, *, json: bool) -> None:
    from tagger.ledger.progress import list_recent_jobs

    services = _services(session)
    if json:
        write_json(_overview_document(session, services))
    else:
        lines = [*overview_lines(*list_recent_jobs(session.database, JOBS_SHOWN)), *services.lines]
        for room_lines in parts("status_lines").values():
            lines += room_lines(session.database)
        typer.echo("\n".join(lines))
    for problem in services.problems:
        console.warning(problem)


def _services(session: Session) -> _Services:
    from tagger.cli.supervisor import keeps_worker
    from tagger.ledger.workers import find_last_tick, list_workers

    settings, database = session
    workers, last_tick = list_workers(database), find_last_tick(database)
    queues, redis_problem = _queue_depths(session)
    is_starting = not workers and keeps_worker(settings.data_folder, database)
    lines = service_lines(
        workers, queues, last_tick, redis_problem=redis_problem, is_worker_starting=is_starting
    )
    problems = (str(redis_problem) if redis_problem else None, late_tick_problem(last_tick))
    return _Services(workers, queues, last_tick, lines, [*filter(None, problems)])


def _queue_depths(session: Session) -> tuple[dict[str, int | None], TaggerError | None]:
    """The lengths of the queues. Where no Redis has been started, its client is not imported, which would take a while."""
    from tagger.database.enums import Priority
    from worker.embedded_socket import has_socket

    settings, ledger_id = session.settings, session.database.ledger_id
    if settings.redis_url is None and not has_socket(settings.data_folder, ledger_id):
        return dict.fromkeys(priority.value for priority in Priority), None
    from worker.broker import find_broker, queue_depths

    return queue_depths(find_broker(settings, ledger_id, start=False))


def _overview_document(session: Session, services: _Services) -> StatusDocument:
    from tagger.database.statements import current_time
    from tagger.jobs.enqueue.documents import room_documents, status_document
    from tagger.ledger.progress import list_jobs

    database, (workers, queues, last_tick, *_) = session.database, services
    jobs = list_jobs(database)
    with database.read() as connection:
        now = current_time(connection)
    return status_document(jobs, workers, queues, last_tick, room_documents(database), now)


def _watch(session: Session) -> None:
    """Show the overview until Ctrl-C, or until the reader of the pipe exits."""
    from rich.console import Console

    screen = Console()
    try:
        if screen.is_terminal and not screen.is_dumb_terminal:
            _draw(screen, _overviews(session))
        else:
            _print(_overviews(session))
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


_Overview = tuple["Sequence[str]", "Sequence[str]", "Sequence[JobProgress]"]
"""Problems, lines about services, and jobs."""


def _overviews(session: Session) -> Iterator[_Overview]:
    """Yield an overview every second. While the database does not answer, repeat the last one with the problem."""
    from tagger.database.retry import DatabaseError, outage_text
    from tagger.ledger.progress import list_recent_jobs

    lines: Sequence[str] = ()
    jobs: Sequence[JobProgress] = ()
    while True:
        try:
            (jobs, _), services = list_recent_jobs(session.database, JOBS_WATCHED), _services(session)
            lines, problems = services.lines, services.problems
        except DatabaseError as error:
            problems = [f"{outage_text(error)}; trying again"]
        yield problems, lines, jobs
        time.sleep(REFRESH_S)


def _draw(screen: Console, overviews: Iterator[_Overview]) -> None:
    """Use the whole screen, and restore it at the end. What has no room is cut off, the oldest jobs first."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=screen, screen=True, auto_refresh=False) as live:
        for problems, service_lines, jobs in overviews:
            title = f"{datetime.now().astimezone():%H:%M:%S}  press Ctrl-C to exit"
            lines = [title, *problems, *service_lines, *overview_lines(jobs)]
            live.update(Text("\n".join(map(printable, lines)), overflow="fold"), refresh=True)


def _print(overviews: Iterator[_Overview]) -> None:
    """Print problems, and jobs that have moved, once each."""
    printed: set[object] = set()
    for problems, _, jobs in overviews:
        lines: dict[object, str] = {problem: problem for problem in problems}
        lines |= {(job.job, job.state, job.queued + job.running): job_summary(job) for job in jobs}
        for key, line in lines.items():
            if key not in printed:
                typer.echo(printable(line))
        printed = set(lines)
        sys.stdout.flush()
