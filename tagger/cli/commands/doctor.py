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
from tagger.composition import load, parts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database
    from tagger.settings import Settings

CHECKS = "tagger.cli.doctor"
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
    from tagger.cli.doctor.database import DatabaseChecks
    from tagger.cli.doctor.environment import check_extensions, check_extras

    database_checks = DatabaseChecks(settings.effective_database_url)
    database_group = CheckGroup("database", database_checks.run)
    folder_groups = (
        _group("data folder", "environment:check_folders", settings),
        _group("permissions", "environment:check_permissions", settings),
    )
    machine_groups = (
        _group("device", "models:check_device", settings),
        _group("sandbox", "environment:check_sandbox", settings),
    )
    sign_on_group = _group("single sign-on", "access:check_single_sign_on", settings)
    database_findings = database_group.findings()
    database = database_checks.database
    model_group = _group("model", "models:check_models", settings, database)
    redis_group = CheckGroup("redis", lambda: load(f"{CHECKS}.broker:RedisChecks")(settings, database).run())
    yield from _findings(*folder_groups)
    yield from database_findings
    yield from _findings(model_group, *machine_groups)
    yield from check_extras(settings)
    yield from check_extensions()
    yield from _findings(redis_group, sign_on_group)
    if database is not None:
        yield from _findings(*_content_groups(settings, database))
        database.close()


def _content_groups(settings: Settings, database: Database) -> Iterator[CheckGroup]:
    """Check workers, jobs, roots and photos, and what the rooms that can be carried out add."""
    yield _group("workers", "jobs:check_jobs", database, settings.data_folder)
    for name, check in parts("checks").items():
        yield CheckGroup(name, partial(check, database, settings))
    yield _group("roots", "photos:check_roots", database, settings.roots)
    yield _group("failing photos", "photos:check_failures", database)
    yield _group("interrupted writes", "photos:check_interrupted_writes", database, settings.roots)


def _group(name: str, place: str, *arguments: object) -> CheckGroup:
    """A group whose checks are imported in its own thread: torch takes seconds."""
    return CheckGroup(name, lambda: load(f"{CHECKS}.{place}")(*arguments))


def _findings(*groups: CheckGroup) -> Iterator[Finding]:
    for group in groups:
        yield from group.findings()


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
