"""`tagger doctor`: check the installation, one line for each check, with a remedy for each problem.

The checks change nothing, and find what no command says when it fails. They run in groups, in parallel and
with a time limit.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import console
from tagger.cli.console import (
    count_of,
    first_names,
    printable,
    write_json,
)
from tagger.cli.help import flag
from tagger.cli.options import Json
from tagger.database.connection import Database, open_database
from tagger.database.diagnostics import (
    NETWORK_FILE_SYSTEMS,
    bounded_url,
    file_system_of,
    quick_check,
)
from tagger.database.engine import sqlite_file
from tagger.database.schema import read_revision
from tagger.errors import TaggerError
from tagger.jobs.enqueue.job_texts import START_BEAT, duration_text, tick_text
from tagger.ledger.workers import find_last_tick, list_workers, silent_workers
from tagger.processes.permissions import permission_problem, readable_by_others
from tagger.roots import RootPaths, list_roots
from tagger.settings import Settings, config_file, load_settings
from tagger.texts.addresses import redact_url
from worker.broker import check_accepts_messages, find_broker, is_stopped, queue_depths
from worker.embedded_redis import server_program

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
        bool,
        flag(
            "--worker",
            "With --quick: check that a worker on this machine is alive, too.",
        ),
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
        write_json(
            {"checks": [vars(finding) for finding in findings], "ok": not problems}
        )
    elif quick:
        wrong = "; ".join(
            f"{each.name}: {each.found} -> {each.remedy}" for each in problems
        )
        checked = ", ".join(dict.fromkeys(finding.name for finding in findings))
        typer.echo(printable(wrong or f"healthy: {checked}"))
    else:
        for finding in findings:
            remedy = f" -> {printable(finding.remedy)}" if finding.remedy else ""
            typer.echo(
                f"{finding.state:<6} {finding.name}: {printable(finding.found)}{remedy}"
            )
    if not quick:
        console.info(
            f"{count_of(len(problems), 'problem')} found"
            if problems
            else "no problems found"
        )
    raise typer.Exit(console.NOT_DONE if problems else console.DONE)


def run_checks(*, quick: bool, worker: bool) -> Iterator[Finding]:
    """Yield the findings of all checks, or of a health check.

    Raises:
        SettingsInvalid: as for every command.
    """
    settings, file = load_settings(), config_file().absolute()
    if quick:
        yield from _quick_checks(settings, worker=worker)
        return
    source = file if file.is_file() else f"there is no {file}"
    yield ok("settings", f"valid; {source}")
    # Groups run in parallel; those that read the database start after the checks of the database.
    checks = DatabaseChecks(settings.effective_database_url)
    database_group = CheckGroup("database", checks.run)
    disks = CheckGroup("disk space", lambda: check_disk_space(settings))
    permissions = CheckGroup("permissions", lambda: check_permissions(settings))
    device = CheckGroup("device", lambda: check_device(settings))
    database_group.findings()  # wait: other groups read the database
    database = checks.database
    redis = CheckGroup("redis", lambda: check_redis(settings, database))
    yield from _findings(disks, permissions, database_group, device, redis)
    if database is not None:
        models = CheckGroup("models", lambda: check_models(settings, database))
        jobs = CheckGroup("workers", lambda: check_jobs(database))
        roots = CheckGroup("roots", lambda: check_roots(database, settings.roots))
        yield from _findings(models, jobs, roots)
        database.close()


def _findings(*groups: CheckGroup) -> Iterator[Finding]:
    for group in groups:
        yield from group.findings()


def _quick_checks(settings: Settings, *, worker: bool) -> Iterator[Finding]:
    # The health check: disk space, database and Redis, within QUICK_LIMIT_S and without a model.
    #
    # With `worker`, a worker of this machine must be alive, too.
    checks = DatabaseChecks(settings.effective_database_url)
    redis = []
    if settings.redis_url is not None:  # the embedded one starts when it is needed
        redis = [
            CheckGroup(
                "redis", lambda: check_redis(settings, checks.database), QUICK_LIMIT_S
            )
        ]
    return _findings(
        CheckGroup("disk space", lambda: check_disk_space(settings), QUICK_LIMIT_S),
        CheckGroup(
            "database", lambda: _check_quickly(checks, worker=worker), QUICK_LIMIT_S
        ),
        *redis,
    )


def _check_quickly(checks: DatabaseChecks, *, worker: bool) -> Iterator[Finding]:
    yield from checks.check_connection()
    if checks.database is None:
        return
    if worker:
        host = socket.gethostname()
        names = [active.name for active in list_workers(checks.database)]
        if own := [name for name in names if name.endswith(f"@{host}")]:
            yield ok("worker", ", ".join(own))
        else:
            yield wrong(
                "worker", f"no worker on {host} is alive", "read the log of the worker"
            )
    checks.database.close()


# Time limit of a group of checks. A dead network share would block for minutes.
LIMIT_S = 20.0
FREE_WRONG_BYTES = 200 * 2**20
FREE_NOTE_BYTES = 2 * 2**30


class State(StrEnum):
    """`note`: useful to know, but nothing is blocked. `wrong`: something does not work, or will not."""

    OK = "ok"
    NOTE = "note"
    WRONG = "wrong"


@dataclass(frozen=True)
class Finding:
    """The result of one check: what was `found`, and the `remedy`, a command or advice."""

    name: str
    state: State
    found: str
    remedy: str | None = None


def ok(name: str, found: str) -> Finding:
    return Finding(name, State.OK, found)


def note(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, State.NOTE, found, remedy)


def wrong(name: str, found: str, remedy: str) -> Finding:
    return Finding(name, State.WRONG, found, remedy)


def failed(name: str, error: TaggerError) -> Finding:
    """The finding of an error, whose message has a remedy after the first sentence of its own."""
    found, remedy = error.parts()
    return wrong(name, found, remedy or "correct it, then run tagger doctor again")


class CheckGroup:
    """Checks that run in a thread of their own, from the moment the group is created."""

    def __init__(
        self,
        name: str,
        checks: Callable[[], Iterable[Finding]],
        limit_s: float | None = None,
    ) -> None:
        self._name = name
        self._findings: list[Finding] = []
        self._limit_s = LIMIT_S if limit_s is None else limit_s
        self._deadline = time.monotonic() + self._limit_s
        self._thread = threading.Thread(
            target=self._run, args=(checks,), name=name, daemon=True
        )
        self._thread.start()

    def findings(self) -> list[Finding]:
        """The findings so far, after a wait until the time limit at most.

        A group that hangs or fails adds a finding about that.
        """
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        findings = list(self._findings)
        if self._thread.is_alive():
            found = f"no answer within {self._limit_s:.0f} s: a disk, share or server hangs, or all is busy"
            findings.append(
                wrong(self._name, found, "check them, or run tagger doctor again later")
            )
        return findings

    def _run(self, checks: Callable[[], Iterable[Finding]]) -> None:
        try:
            for finding in checks():
                self._findings.append(finding)
        except TaggerError as error:
            self._findings.append(failed(self._name, error))
        except Exception as error:  # noqa: BLE001 - a check that fails must not hide the findings of others
            reason = str(error).strip().splitlines() or [type(error).__name__]
            remedy = "run tagger doctor again; if the error stays, report this line"
            self._findings.append(
                wrong(self._name, f"the check failed: {reason[0]}", remedy)
            )


def check_disk_space(settings: Settings) -> Iterator[Finding]:
    """Check that the disks of the data folder and of the SQLite file have space."""
    folders = [settings.data_folder.absolute()]
    if (file := sqlite_file(settings.effective_database_url)) is not None:
        folders.append(file.absolute().parent)
    for folder in {
        _existing(folder).stat().st_dev: folder for folder in reversed(folders)
    }.values():
        yield check_space(folder, shutil.disk_usage(_existing(folder)).free)


def _existing(folder: Path) -> Path:
    # Path.exists raises PermissionError inside a folder that this user may not enter.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110


def check_space(folder: Path, free_bytes: int) -> Finding:
    found, remedy = (
        f"{free_bytes / 2**30:.1f} GB free for {folder}",
        "delete files on that disk",
    )
    if free_bytes < FREE_WRONG_BYTES:
        return wrong(
            "disk space",
            f"only {found}; tagger cannot store results on a full disk",
            remedy,
        )
    if free_bytes < FREE_NOTE_BYTES:
        return note(
            "disk space", f"{found}; a million photos need about 400 MB", remedy
        )
    return ok("disk space", found)


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Check that other users can neither change nor read data folder and SQLite file, nor change models."""
    folder, file = (
        settings.data_folder.absolute(),
        sqlite_file(settings.effective_database_url),
    )
    compiled = settings.conversions_folder.absolute()
    paths, private = [folder, compiled, *compiled.glob("*")], [folder]
    if file is not None:
        paths += [file.absolute().parent, file.absolute()]
        if (
            readable_by_others(file.absolute().parent) is not None
        ):  # its folder does not protect it
            private.append(file.absolute())
    findings = [
        wrong("permissions", f"{path} is not used: {problem[0]}", problem[1])
        for path in dict.fromkeys(paths)
        if (problem := permission_problem(path)) is not None
    ]
    findings += [
        note("permissions", f"every user of this machine can read {path}", remedy)
        for path in private
        if (remedy := readable_by_others(path)) is not None
    ]
    yield from findings or [
        ok("permissions", "other users can neither read nor change the data")
    ]


@dataclass
class DatabaseChecks:
    """Checks one database. `database` is open after the checks, if its schema is current."""

    url: str
    database: Database | None = None

    def run(self) -> Iterator[Finding]:
        yield from self.check_connection()
        file = sqlite_file(self.url)
        if file is not None and self.database is not None:
            yield from check_database_file(file)

    def check_connection(self) -> Iterator[Finding]:
        """Check that the database answers and has this version's schema; no SQLite file is created.

        Raises:
            DatabaseUnavailable, DiskFull, PermissionsUnsafe, SchemaOutdated: it cannot be used.
        """
        url, file = bounded_url(self.url), sqlite_file(self.url)
        shown = redact_url(self.url) if file is None else f"sqlite:///{file}"
        revision = read_revision(url)
        if file is not None and not revision:
            yield ok(
                "database",
                f"{shown} does not exist yet; the first command that needs it creates it",
            )
            return
        self.database = open_database(url)
        yield ok("database", f"{shown} answers, schema {revision}")


def check_database_file(file: Path) -> Iterator[Finding]:
    """Check the disk and the integrity of an SQLite file."""
    mounts = Path("/proc/mounts")
    kind = (
        file_system_of(file.resolve(), mounts.read_text()) if mounts.exists() else None
    )
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{file} is on a network file system ({kind}), where SQLite's locks do not work"
        yield wrong(
            "database disk",
            found,
            "move it to a local disk, or use PostgreSQL: TAGGER_DATABASE_URL",
        )
    if (result := quick_check(file)) not in {None, "ok"}:
        remedy = "restore a backup; tagger db check shows details"
        yield wrong("database file", f"it is damaged: {result}", remedy)
    else:
        yield ok("database file", "no damage found by a quick check")


def check_redis(settings: Settings, database: Database | None) -> Iterator[Finding]:
    """Check that Redis answers and accepts messages."""
    # Where the database cannot be opened, it has no messages.
    ledger_id = "" if database is None else database.ledger_id
    broker = find_broker(settings, ledger_id, start=False)
    try:
        check_accepts_messages(broker)
        if (
            problem := queue_depths(broker)[1]
        ) is not None:  # of a right that workers lack
            raise problem
    except TaggerError as error:
        if broker.embedded and server_program() is None:
            found = "no Redis is configured, and the extra `embedded` is not installed"
            yield note("redis", found, "export TAGGER_REDIS_URL=redis://HOST:6379/0")
        elif is_stopped(broker, error.__cause__):
            yield ok(
                "redis",
                "the embedded Redis is not running; it starts when it is needed",
            )
        else:
            yield failed("redis", error)
    else:
        server = "the embedded Redis" if broker.embedded else broker.redacted_url
        yield ok("redis", f"{server} answers and accepts messages")


def check_jobs(database: Database) -> Iterator[Finding]:
    """Name workers that fell silent, and schedules that do not run."""
    for worker in silent_workers(database):
        found = f"{worker.name} has been silent for {duration_text(worker.silent_s)}: it was killed or hangs"
        remedy = (
            "start it again, read its log, and look with dmesg whether memory ran out"
        )
        yield note("workers", found, remedy)
    last_tick = find_last_tick(database)
    if last_tick is not None and last_tick.is_late:
        yield wrong("schedules", f"they do not run: {tick_text(last_tick)}", START_BEAT)


def check_roots(database: Database, root_paths: RootPaths) -> Iterator[Finding]:
    """Check that TAGGER_ROOTS names roots."""
    with database.read() as connection:
        names = [root.name for root in list_roots(connection, root_paths)]
    if names and (unknown := root_paths.keys() - names):
        found = f"TAGGER_ROOTS names {min(unknown)}, which is not a root; the roots are {', '.join(names)}"
        yield note("roots", found, "correct or remove it in TAGGER_ROOTS")


def check_device(settings: Settings) -> Iterator[Finding]:
    """Name the device: a GPU that is not found makes jobs slow, and no command fails."""
    from tagger.model.devices import choose_device, core_count, describe_device

    device = choose_device(settings.device, settings.batch_size)
    is_auto = settings.device == "auto"
    found = (
        f"auto selects {describe_device()}"
        if is_auto
        else f"{device.kind} (cores: {core_count()})"
    )
    yield ok("device", f"{found}; {device.precision}")


def check_models(settings: Settings, database: Database) -> Iterator[Finding]:
    """Name what a command that was killed has left, so that photos do not follow the models in use."""
    from tagger.registry import models_to_teach, preview_models
    from tagger.tags.models_in_use import names_in_use, things_off_text, use_command
    from tagger.tags.settlement import is_settled
    from tagger.teaching.learning import unfinished_landmarks

    if not is_settled(database):
        remedy = f"{use_command(names_in_use(database))} (again)"
        yield note("models", "not all photos follow the models in use", remedy)
    with database.read() as connection:
        if off_text := things_off_text(connection):
            yield ok("things", off_text)
    models = preview_models(database, settings.model)
    taught = models_to_teach(models)
    for model in models:
        if slugs := unfinished_landmarks(database, model.id, is_taught=model in taught):
            found = f"not all photos are compared with what was taught of: {first_names(slugs)}"
            yield note(
                "teaching",
                found,
                "tagger backfill taught, unless a page or a job does it now",
            )
