"""`tagger status`: the progress of jobs, the workers and the queues."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from tagger.cli.derived_facts import print_due
from tagger.cli.help import flag
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import (
    START_BEAT,
    is_heard,
    overview_lines,
    service_lines,
    tick_text,
)
from tagger.cli.session import Session, open_for_reading
from tagger.database.engine import DatabaseError, outage_text
from tagger.database.enums import Priority
from tagger.jobs.enqueue.job_json import status_document
from tagger.ledger.job_control import list_jobs, list_recent_jobs
from tagger.ledger.workers import find_last_tick, list_workers
from tagger.tags.models_in_use import problems_in_use
from worker.broker import find_broker, queue_depths
from worker.embedded_socket import has_socket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console

    from tagger.database.connection import Database
    from tagger.errors import TaggerError
    from tagger.jobs.enqueue.job_json import StatusDocument
    from tagger.ledger.workers import LastTick, WorkerStatus

JOBS_SHOWN = 20
# Finished jobs stay on the screen while they are among this many newest jobs.
JOBS_WATCHED = 5
REFRESH_S = 1.0


def status(
    watch: Annotated[bool, flag("--watch", "Refresh the overview until Ctrl-C.")] = False,
    json: Json = False,
) -> None:
    """Show jobs, workers, the lengths of the queues and, for schedules, the last tick of beat.

    For one job, use `tagger job show`.

    Example: tagger status --watch
    """
    if watch and json:
        raise typer.BadParameter("it needs one job: tagger job show JOB --watch", param_hint="--json")
    session = open_for_reading()
    if watch:
        _watch(session)
        return
    services = _services(session)
    if json:
        write_json(_document(session, services))
    else:
        typer.echo("\n".join(_overview(session, services, JOBS_SHOWN)))
    for problem in services.problems(session.database):
        console.warning(problem)
    print_due(session.database)


class _Services(NamedTuple):
    """What processes jobs."""

    workers: Sequence[WorkerStatus]
    queues: Mapping[str, int | None]
    redis_problem: TaggerError | None
    last_tick: LastTick | None

    def problems(self, database: Database) -> list[str]:
        """Messages about models, Redis and beat."""
        problems = [*problems_in_use(database)]
        if self.redis_problem:
            problems.append(str(self.redis_problem))
        if self.last_tick is not None and self.last_tick.is_late:
            problems.append(f"schedules do not run ({tick_text(self.last_tick)}): start {START_BEAT}")
        return problems


def _services(session: Session) -> _Services:
    database = session.database
    return _Services(list_workers(database), *_queue_depths(session), find_last_tick(database))


def _overview(session: Session, services: _Services, jobs_shown: int) -> list[str]:
    is_served = services.redis_problem is None and any(map(is_heard, services.workers))
    jobs = overview_lines(*list_recent_jobs(session.database, jobs_shown), is_served=is_served)
    return [*jobs, *service_lines(*services)]


def _queue_depths(session: Session) -> tuple[dict[str, int | None], TaggerError | None]:
    """The lengths of the queues. Where no Redis was started, its client is not imported, which is slow."""
    settings, ledger_id = session.settings, session.database.ledger_id
    if settings.redis_url is None and not has_socket(settings.data_folder, ledger_id):
        return dict.fromkeys(priority.value for priority in Priority), None

    return queue_depths(find_broker(settings, ledger_id, start=False))


def _document(session: Session, services: _Services) -> StatusDocument:
    database, (workers, queues, _, last_tick) = session.database, services
    return status_document(database, list_jobs(database), workers, queues, last_tick)


def _watch(session: Session) -> None:
    """Show the overview until Ctrl-C."""
    from rich.console import Console

    screen = Console()
    try:
        if screen.is_terminal and not screen.is_dumb_terminal:
            _draw(screen, _overviews(session))
        else:
            _print(_overviews(session))
    except KeyboardInterrupt:
        return


def _overviews(session: Session) -> Iterator[list[str]]:
    """Yield an overview every second; while the database does not answer, the last one with the problem."""
    lines: list[str] = []
    while True:
        try:
            services = _services(session)
            lines, problems = _overview(session, services, JOBS_WATCHED), services.problems(session.database)
        except DatabaseError as error:
            problems = [f"{outage_text(error)}; trying again"]
        yield [printable(line) for line in (*problems, *lines)]
        time.sleep(REFRESH_S)


def _draw(screen: Console, overviews: Iterator[list[str]]) -> None:
    """Use the whole screen, and restore it at the end."""
    from rich.live import Live
    from rich.text import Text

    with Live(console=screen, screen=True, auto_refresh=False) as live:
        for lines in overviews:
            title = f"{datetime.now().astimezone():%H:%M:%S}  press Ctrl-C to exit"
            live.update(Text("\n".join([title, *lines]), overflow="fold"), refresh=True)


def _print(overviews: Iterator[list[str]]) -> None:
    """Print the lines that have changed."""
    printed: list[str] = []
    for lines in overviews:
        for line in lines:
            if line not in printed:
                typer.echo(line)
        printed = lines
        sys.stdout.flush()
