"""`tagger doctor`: check the installation, one line for each check, with a remedy for each problem."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qs, unquote

import typer

from tagger.cli.doctor.findings import CheckGroup, State, without_secrets
from tagger.cli.options import Json
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.composition import parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.database import DatabaseChecks
    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

MIN_SECRET_LENGTH = 4
"""Shorter passwords are not redacted, because they would match parts of ordinary words."""


def doctor(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick",
            help="Check only data folder, database and Redis, within 8 seconds, and print one line: for health checks.",
        ),
    ] = False,
    worker: Annotated[
        bool,
        typer.Option("--worker", help="With --quick: check that a worker on this machine is alive, too."),
    ] = False,
    json: Json = False,
) -> None:
    """Check settings, disk, database, model, device, sandbox, Redis, workers, jobs, folders and photos, and suggest remedies.

    The command changes nothing. The exit code is 1 if something is wrong; notes do not count.

    Example: tagger doctor, tagger doctor --quick
    """
    if worker and not quick:
        raise typer.BadParameter("it needs --quick", param_hint="--worker")
    findings = list(run_quick_checks(worker=worker) if quick else run_checks())
    wrong_count = sum(finding.state is State.WRONG for finding in findings)
    if json:
        write_json({"checks": [vars(finding) for finding in findings], "ok": not wrong_count})
    elif quick:
        _print_summary(findings)
    else:
        for finding in findings:
            _print(finding)
    if not quick:
        console.info(f"{count_of(wrong_count, 'problem')} found" if wrong_count else "no problems found")
    raise typer.Exit(console.NOT_DONE if wrong_count else console.DONE)


def run_quick_checks(*, worker: bool) -> Iterator[Finding]:
    """Yield the findings of a health check, without passwords."""
    from tagger.cli.doctor.environment import check_settings
    from tagger.cli.doctor.quick import quick_checks

    settings, findings = check_settings()
    if settings is None:
        yield from findings
        return
    secrets = _secrets(settings)
    for finding in quick_checks(settings, worker=worker):
        yield without_secrets(finding, secrets)


def run_checks() -> Iterator[Finding]:
    """Yield the findings of all checks, without passwords."""
    from tagger.model.devices import quiet_threads

    quiet_threads()
    from tagger.cli.doctor.environment import check_settings

    settings, findings = check_settings()
    yield from findings
    if settings is None:
        return
    secrets = _secrets(settings)
    for finding in _run_groups(settings):
        yield without_secrets(finding, secrets)


def _run_groups(settings: Settings) -> Iterator[Finding]:
    """Run the groups in parallel; groups that read the database start after the checks of the database."""
    from tagger.cli.doctor.access import check_single_sign_on
    from tagger.cli.doctor.database import DatabaseChecks
    from tagger.cli.doctor.environment import (
        check_extensions,
        check_extras,
        check_folders,
        check_permissions,
    )

    database_checks = DatabaseChecks(settings.effective_database_url)
    database_group = CheckGroup("database", database_checks.run)
    folder_group = CheckGroup("data folder", lambda: check_folders(settings))
    permission_group = CheckGroup("permissions", lambda: check_permissions(settings))
    device_group = CheckGroup("device", lambda: _check_device(settings))
    sandbox_group = CheckGroup("sandbox", lambda: _check_sandbox(settings))
    sign_on_group = CheckGroup("single sign-on", lambda: check_single_sign_on(settings))
    database_findings = database_group.findings()
    model_group = CheckGroup("model", lambda: _check_models(settings, database_checks))
    redis_group = CheckGroup("redis", lambda: _check_redis(settings, database_checks))
    yield from folder_group.findings()
    yield from permission_group.findings()
    yield from database_findings
    yield from model_group.findings()
    yield from device_group.findings()
    yield from sandbox_group.findings()
    yield from check_extras(settings)
    yield from check_extensions()
    yield from redis_group.findings()
    yield from sign_on_group.findings()
    yield from _check_contents(settings, database_checks)


def _check_contents(settings: Settings, database_checks: DatabaseChecks) -> Iterator[Finding]:
    """Check workers, jobs, roots and photos, if the database could be opened; then close it."""
    database = database_checks.database
    if database is None:
        return
    from tagger.cli.doctor.jobs import check_jobs
    from tagger.cli.doctor.photos import check_failures, check_interrupted_writes, check_roots

    groups = (
        CheckGroup("workers", lambda: check_jobs(database, settings.data_folder)),
        *_room_groups(settings, database),
        CheckGroup("roots", lambda: check_roots(database, settings.roots)),
        CheckGroup("failing photos", lambda: check_failures(database)),
        CheckGroup("interrupted writes", lambda: check_interrupted_writes(database, settings.roots)),
    )
    for group in groups:
        yield from group.findings()
    database.close()


def _room_groups(settings: Settings, database: Database) -> list[CheckGroup]:
    """The checks of rooms that can be carried out."""
    return [CheckGroup(name, partial(check, database, settings)) for name, check in parts("checks").items()]


def _check_device(settings: Settings) -> Iterator[Finding]:
    from tagger.cli.doctor.models import check_device  # imports torch, which takes seconds

    yield from check_device(settings)


def _check_sandbox(settings: Settings) -> Iterator[Finding]:
    from tagger.cli.doctor.environment import check_sandbox

    yield from check_sandbox(settings)


def _check_models(settings: Settings, database_checks: DatabaseChecks) -> Iterator[Finding]:
    from tagger.cli.doctor.models import check_models

    yield from check_models(settings, database_checks.database)


def _check_redis(settings: Settings, database_checks: DatabaseChecks) -> Iterator[Finding]:
    from tagger.cli.doctor.broker import RedisChecks

    yield from RedisChecks(settings, database_checks.database).run()


def _secrets(settings: Settings) -> list[str]:
    """The passwords in the URLs of the settings, as written and decoded, and secrets."""
    passwords = {receiver.secret for receiver in settings.webhooks.values()}
    webhooks = [receiver.url for receiver in settings.webhooks.values()]
    for url in filter(None, (settings.database_url, settings.redis_url, *webhooks)):
        rest = url.partition("://")[2]
        passwords.add(rest.rpartition("@")[0].partition(":")[2])
        passwords.update(parse_qs(rest.partition("?")[2]).get("password", ()))
    passwords.add(settings.web_oidc_client_secret or "")
    decoded = [text for password in passwords for text in (password, unquote(password))]
    return [text for text in decoded if len(text) >= MIN_SECRET_LENGTH]


def _print(finding: Finding) -> None:
    typer.echo(f"{finding.state:<6} {finding.name}: {printable(finding.found)}")
    if finding.remedy:
        typer.echo(f"{'':<6} -> {printable(finding.remedy)}")


def _print_summary(findings: list[Finding]) -> None:
    from tagger.cli.doctor.quick import summary_line

    typer.echo(printable(summary_line(findings)))
