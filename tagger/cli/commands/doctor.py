"""`tagger doctor`: check the installation, one line for each check, with a remedy for each problem."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.doctor import (
    CheckGroup,
    DatabaseChecks,
    State,
    check_disk_space,
    check_permissions,
    check_settings,
    ok,
    wrong,
)
from tagger.cli.help import flag
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.extensions import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor import Finding
    from tagger.settings import Settings

# Less than the ten seconds that health checks usually wait, more than the timeouts of the
# connections.
QUICK_LIMIT_S = 8.0


def doctor(
    quick: Annotated[
        bool,
        flag(
            "--quick",
            "For health checks: only disk space, database and Redis, within 8 seconds, in one line.",
        ),
    ] = False,
    worker: Annotated[
        bool, flag("--worker", "With --quick: check that a worker on this machine is alive, too.")
    ] = False,
    json: Json = False,
) -> None:
    """Check disk, permissions, database, device, Redis, workers and schedules, and suggest remedies.

    The command changes nothing. For jobs, see `tagger status`. The exit code is 1 if something is wrong;
    notes do not count.

    Example: tagger doctor, tagger doctor --quick
    """
    if worker and not quick:
        raise typer.BadParameter("it needs --quick", param_hint="--worker")
    findings = list(run_checks(quick=quick, worker=worker))
    problems = [finding for finding in findings if finding.state is State.WRONG]
    if json:
        write_json({"checks": [vars(finding) for finding in findings], "ok": not problems})
    elif quick:
        wrong = "; ".join(f"{each.name}: {each.found} -> {each.remedy}" for each in problems)
        checked = ", ".join(dict.fromkeys(finding.name for finding in findings))
        typer.echo(printable(wrong or f"healthy: {checked}"))
    else:
        for finding in findings:
            remedy = f" -> {printable(finding.remedy)}" if finding.remedy else ""
            typer.echo(f"{finding.state:<6} {finding.name}: {printable(finding.found)}{remedy}")
    if not quick:
        console.info(f"{count_of(len(problems), 'problem')} found" if problems else "no problems found")
    raise typer.Exit(console.NOT_DONE if problems else console.DONE)


def run_checks(*, quick: bool = False, worker: bool = False) -> Iterator[Finding]:
    """Yield the findings of all checks, or of a health check."""
    settings, finding = check_settings()
    if quick:
        yield from _quick_checks(settings, worker=worker)
        return
    yield finding
    yield from _run_groups(settings)


def _run_groups(settings: Settings) -> Iterator[Finding]:
    """Run the groups in parallel; groups that read the database start after the checks of the database."""
    checks = DatabaseChecks(settings.effective_database_url)
    database_group = CheckGroup("database", checks.run)
    disks = CheckGroup("disk space", lambda: check_disk_space(settings))
    permissions = CheckGroup("permissions", lambda: check_permissions(settings))
    device = _group("device", "models:check_device", settings)
    database_group.findings()  # wait: other groups read the database
    database = checks.database
    redis = _group("redis", "jobs:check_redis", settings, database)
    yield from _findings(disks, permissions, database_group, device, redis)
    if database is not None:
        models = _group("models", "models:check_models", settings, database)
        jobs = _group("workers", "jobs:check_jobs", database)
        yield from _findings(models, jobs, _group("roots", "jobs:check_roots", database, settings.roots))
        database.close()


def _group(name: str, place: str, *arguments: object) -> CheckGroup:
    """A group whose checks are imported in its own thread: torch takes seconds."""
    return CheckGroup(name, lambda: load(f"tagger.cli.doctor.{place}")(*arguments))


def _findings(*groups: CheckGroup) -> Iterator[Finding]:
    for group in groups:
        yield from group.findings()


def _quick_checks(settings: Settings, *, worker: bool) -> Iterator[Finding]:
    """The health check: disk space, database and Redis, within QUICK_LIMIT_S and without a model.

    With `worker`, a worker of this machine must be alive, too.
    """
    from tagger.cli.doctor.jobs import check_redis

    checks = DatabaseChecks(settings.effective_database_url)
    redis = []
    if settings.redis_url is not None:  # the embedded one starts when it is needed
        redis = [CheckGroup("redis", lambda: check_redis(settings, checks.database), QUICK_LIMIT_S)]
    return _findings(
        CheckGroup("disk space", lambda: check_disk_space(settings), QUICK_LIMIT_S),
        CheckGroup("database", lambda: _check_quickly(checks, worker=worker), QUICK_LIMIT_S),
        *redis,
    )


def _check_quickly(checks: DatabaseChecks, *, worker: bool) -> Iterator[Finding]:
    yield from checks.check_connection()
    if checks.database is None:
        return
    if worker:
        from tagger.ledger.workers import list_workers

        host = socket.gethostname()
        names = [active.name for active in list_workers(checks.database)]
        if own := [name for name in names if name.endswith(f"@{host}")]:
            yield ok("worker", ", ".join(own))
        else:
            yield wrong("worker", f"no worker on {host} is alive", "read the log of the worker")
    checks.database.close()
