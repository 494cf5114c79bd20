"""The checks of `tagger doctor --quick`: what a health check asks every few seconds. They load no model and end within LIMIT_S."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from tagger.cli.doctor.database import DatabaseChecks
from tagger.cli.doctor.environment import check_folders
from tagger.cli.doctor.findings import CheckGroup, State, ok, wrong
from tagger.errors import TaggerError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

LIMIT_S = 8.0
"""Less than the ten seconds that health checks usually wait, more than the timeouts of the connections."""


def quick_checks(settings: Settings, *, worker: bool) -> Iterator[Finding]:
    """Check data folder, database and Redis; with `worker`, also that a worker of this machine is alive."""
    checks = DatabaseChecks(settings.effective_database_url)
    groups = [
        CheckGroup("data folder", lambda: check_folders(settings), LIMIT_S),
        CheckGroup("database", lambda: _check_database(checks, worker=worker), LIMIT_S),
        CheckGroup("redis", lambda: _check_redis(settings, checks.database), LIMIT_S),
    ]
    for group in groups:
        yield from group.findings()


def summary_line(findings: Iterable[Finding]) -> str:
    """All problems in one line; if there are none, what was checked."""
    findings = list(findings)
    problems = [finding for finding in findings if finding.state is State.WRONG]
    if not problems:
        return "healthy: " + ", ".join(dict.fromkeys(finding.name for finding in findings))
    return "; ".join(f"{problem.name}: {problem.found} -> {problem.remedy}" for problem in problems)


def _check_database(checks: DatabaseChecks, *, worker: bool) -> Iterator[Finding]:
    yield from checks.check_connection()
    if checks.database is None:
        return
    if worker:
        from tagger.ledger.workers import list_workers

        host = socket.gethostname()
        names = [active.name for active in list_workers(checks.database)]
        yield _check_worker(host, [name for name in names if name.endswith(f"@{host}")])
    checks.database.close()


def _check_worker(host: str, names: list[str]) -> Finding:
    if names:
        return ok("worker", ", ".join(names))
    return wrong("worker", f"no worker on {host} is alive", "read the log of the worker")


def _check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    from tagger.cli.doctor.broker import NO_LEDGER
    from worker.broker import check_accepts_messages, find_broker

    if settings.redis_url is None:  # the embedded one starts when it is needed
        return
    broker = find_broker(settings, NO_LEDGER if database is None else database.ledger_id, start=False)
    try:
        check_accepts_messages(broker)
    except TaggerError as error:
        yield wrong("redis", str(error), "tagger doctor")
    else:
        yield ok("redis", f"{broker.redacted_url} accepts messages")
