"""`tagger doctor`: everything that can be wrong around an installation, a line each, with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote

import typer

from tagger.cli import console
from tagger.cli.checks.findings import Running, State, without
from tagger.cli.options import Json
from tagger.cli.output import printable, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.checks.findings import Finding
    from tagger.cli.checks.sql import DatabaseChecks
    from tagger.settings import Settings

SHORTEST_SECRET = 4
"""Striking out less would strike out words."""


def doctor(json: Json = False) -> None:
    """Check settings, disk, database, model, device, Redis, workers, jobs, roots and photos; say how to mend what is wrong.

    It changes nothing. Exits with 1 if something is wrong; notes are no failure.

    Example: tagger doctor
    """
    found = list(examine())
    healthy = all(finding.state is not State.WRONG for finding in found)
    if json:
        write_json({"checks": [vars(finding) for finding in found], "ok": healthy})
    else:
        for finding in found:
            _print(finding)
    count = sum(finding.state is State.WRONG for finding in found)
    console.say("nothing is wrong" if healthy else f"{count} thing{'' if count == 1 else 's'} to mend")
    raise typer.Exit(console.DONE if healthy else console.NOT_DONE)


def examine() -> Iterator[Finding]:
    """Every check's findings, in an order to read them in."""
    from tagger.devices import quiet_threads

    quiet_threads()
    from tagger.cli.checks.surroundings import check_settings

    settings, findings = check_settings()
    yield from findings
    if settings is None:
        return
    secrets = _secrets(settings)
    for finding in _examine(settings):
        yield without(secrets, finding)


def _examine(settings: Settings) -> Iterator[Finding]:
    """What needs the database waits for it; all else goes on at once."""
    from tagger.cli.checks.sql import DatabaseChecks
    from tagger.cli.checks.surroundings import check_extras, check_folders

    of_database = DatabaseChecks(settings.effective_database_url)
    asking = Running("database", of_database.run)
    folders = Running("data folder", lambda: check_folders(settings))
    device = Running("device", lambda: _check_device(settings))
    answers = asking.findings()
    database = of_database.database
    models = Running("model", lambda: _check_models(settings, of_database))
    broker = Running("redis", lambda: _check_redis(settings, of_database))
    yield from folders.findings()
    yield from answers
    yield from models.findings()
    yield from device.findings()
    yield from check_extras(settings)
    yield from broker.findings()
    if database is not None:
        from tagger.cli.checks.photos import check_failing, check_roots
        from tagger.cli.checks.work import check_work

        groups = (
            Running("workers", lambda: check_work(database)),
            Running("roots", lambda: check_roots(database, settings.roots)),
            Running("failing photos", lambda: check_failing(database)),
        )
        for group in groups:
            yield from group.findings()
        database.close()


def _check_device(settings: Settings) -> Iterator[Finding]:
    from tagger.cli.checks.models import check_device  # imports torch, which takes seconds

    yield from check_device(settings)


def _check_models(settings: Settings, of_database: DatabaseChecks) -> Iterator[Finding]:
    from tagger.cli.checks.models import check_models

    yield from check_models(settings, of_database.database)


def _check_redis(settings: Settings, of_database: DatabaseChecks) -> Iterator[Finding]:
    from tagger.cli.checks.broker import RedisChecks

    yield from RedisChecks(settings).run(of_database.database)


def _secrets(settings: Settings) -> list[str]:
    """The passwords in the addresses, as they are written and as they are meant."""
    found: set[str] = set()
    for url in (settings.database_url or "", settings.redis_url or ""):
        rest = url.partition("://")[2]
        found.add(rest.rpartition("@")[0].partition(":")[2])
        found.update(parse_qs(rest.partition("?")[2]).get("password", ()))
    return [each for secret in found for each in (secret, unquote(secret)) if len(each) >= SHORTEST_SECRET]


def _print(finding: Finding) -> None:
    typer.echo(f"{finding.state:<6} {finding.name}: {printable(finding.found)}")
    if finding.remedy:
        typer.echo(f"{'':<6} -> {printable(finding.remedy)}")
