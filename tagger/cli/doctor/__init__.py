"""The checks of `tagger doctor`, which change nothing: findings, and the checks of machine and database.

Checks run in groups, in parallel and with a time limit.
"""

from __future__ import annotations

import os
import shutil
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from tagger.database.connection import open_database
from tagger.database.diagnostics import (
    LOCK_S,
    NETWORK_FILE_SYSTEMS,
    SchemaStatus,
    bounded_url,
    file_system_of,
    is_locked,
    quick_check,
    schema_status,
)
from tagger.database.engine import read_only_address, sqlite_file
from tagger.database.schema import SCHEMA_REVISION
from tagger.errors import SettingsInvalid, TaggerError
from tagger.processes.permissions import permission_problem, readable_by_others
from tagger.processes.stall import stalls
from tagger.settings import CONFIG_NAME, Settings, config_file, load_settings, unknown_variables
from tagger.texts.addresses import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tagger.database.connection import Database

LIMIT_S = 20.0
"""Time limit of a group of checks. A dead network share would block for minutes."""
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
    """The finding of an error, whose message has a remedy after the first sentence."""
    found, _, remedy = str(error).partition(". ")
    return wrong(name, found, remedy or "correct it, then run tagger doctor again")


class CheckGroup:
    """Checks that run in a thread of their own, from the moment the group is created."""

    def __init__(
        self, name: str, checks: Callable[[], Iterable[Finding]], limit_s: float | None = None
    ) -> None:
        self._name = name
        self._findings: list[Finding] = []
        self._limit_s = LIMIT_S if limit_s is None else limit_s
        self._deadline = time.monotonic() + self._limit_s
        self._thread = threading.Thread(target=self._run, args=(checks,), name=name, daemon=True)
        self._thread.start()

    def findings(self) -> list[Finding]:
        """The findings so far, after a wait until the time limit at most.

        A group that hangs or fails adds a finding about that.
        """
        self._thread.join(max(0.0, self._deadline - time.monotonic()))
        findings = list(self._findings)
        if self._thread.is_alive():
            found = f"no answer within {self._limit_s:.0f} s: a disk, share or server hangs, or all is busy"
            findings.append(wrong(self._name, found, "check them, or run tagger doctor again later"))
        return findings

    def _run(self, checks: Callable[[], Iterable[Finding]]) -> None:
        try:
            for finding in checks():
                self._findings.append(finding)
        except Exception as error:  # noqa: BLE001 - a check that fails must not hide the findings of others
            reason = str(error).strip().splitlines() or [type(error).__name__]
            remedy = "run tagger doctor again; if the error stays, report this line"
            self._findings.append(wrong(self._name, f"the check failed: {reason[0]}", remedy))


def check_settings() -> tuple[Settings | None, list[Finding]]:
    """The settings, None if they are invalid, and the findings."""
    try:
        settings = load_settings()
        file = config_file().absolute()
    except SettingsInvalid as error:
        config = os.environ.get("TAGGER_CONFIG") or CONFIG_NAME
        remedy = f"correct it in the environment or in {config}; other checks were skipped"
        return None, [wrong("settings", str(error), remedy), *_check_environment()]
    source = str(file) if file.is_file() else f"there is no {file}"
    return settings, [ok("settings", f"valid; {source}"), *_check_environment()]


def _check_environment() -> Iterator[Finding]:
    problems = unknown_variables()
    for problem in problems:
        yield wrong("environment", problem, f"unset {problem.partition(' ')[0]}")
    if not problems:
        yield ok("environment", "all variables TAGGER_… are settings")


def check_folders(settings: Settings) -> Iterator[Finding]:
    """Check that the folders of data and of the SQLite file can be written, and have space."""
    folders = {settings.data_folder.absolute(): "data folder"}
    if (file := sqlite_file(settings.effective_database_url)) is not None:
        folders.setdefault(file.absolute().parent, "database folder")
    for folder, name in folders.items():
        yield _check_folder(name, folder)
    for folder in {_existing(folder).stat().st_dev: folder for folder in folders}.values():
        yield check_space(folder, shutil.disk_usage(_existing(folder)).free)


def _check_folder(name: str, folder: Path) -> Finding:
    existing = _existing(folder)
    remedy = "choose a folder that you can write to: TAGGER_DATA_FOLDER, TAGGER_DATABASE_URL"
    if not existing.is_dir():
        return wrong(name, f"{existing} is not a folder", remedy)
    if not os.access(existing, os.W_OK | os.X_OK):
        return wrong(name, f"the current user cannot write to {existing}", remedy)
    state = "is writable" if existing == folder else "will be created when it is needed"
    return ok(name, f"{folder} {state}")


def _existing(folder: Path) -> Path:
    """The folder, or its nearest parent that exists."""
    # Path.exists raises PermissionError inside a folder that this user may not enter.
    return next(path for path in (folder, *folder.parents) if os.path.exists(path))  # noqa: PTH110


def check_space(folder: Path, free_bytes: int) -> Finding:
    found, remedy = f"{free_bytes / 2**30:.1f} GB free for {folder}", "delete files on that disk"
    if free_bytes < FREE_WRONG_BYTES:
        return wrong("disk space", f"only {found}; tagger cannot store results on a full disk", remedy)
    if free_bytes < FREE_NOTE_BYTES:
        return note("disk space", f"{found}; a million photos need about 400 MB", remedy)
    return ok("disk space", found)


def check_permissions(settings: Settings) -> Iterator[Finding]:
    """Check that other users can neither change nor read data folder and SQLite file, nor change models."""
    folder, file = settings.data_folder.absolute(), sqlite_file(settings.effective_database_url)
    compiled = settings.conversions_folder.absolute()
    paths, private = [folder, compiled, *compiled.glob("*")], [folder]
    if file is not None:
        paths += [file.absolute().parent, file.absolute()]
        if readable_by_others(file.absolute().parent) is not None:  # its folder does not protect it
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
    yield from findings or [ok("permissions", "other users can neither read nor change the data")]


def check_stalls(settings: Settings) -> Iterator[Finding]:
    """Name the reports of processes that made no progress and were ended. No finding without any."""
    for report, text in stalls(settings.data_folder).items():
        yield note("stalls", text, f"report it with this file, then remove it: {report}")


class DatabaseChecks:
    """Checks one database. `database` is open after the checks, if its schema is current."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = sqlite_file(url)
        self.database: Database | None = None

    def run(self) -> Iterator[Finding]:
        yield from self.check_connection()
        if self._file is not None and self.database is not None:
            yield from check_database_file(self._file)

    def check_connection(self) -> Iterator[Finding]:
        """Check that the database answers and has this version's schema."""
        try:
            schema, revision = schema_status(self._url)
            if schema is SchemaStatus.CURRENT:
                self.database = open_database(bounded_url(self._url))
        except TaggerError as error:
            yield failed("database", error)
        else:
            yield self._check_schema(schema, revision)

    def _check_schema(self, schema: SchemaStatus, revision: str) -> Finding:
        shown = redact_url(self._url) if self._file is None else f"sqlite:///{self._file}"
        match schema:
            case SchemaStatus.CURRENT:
                return ok("database", f"{shown} answers, schema {revision}")
            case SchemaStatus.MISSING if self._file is None:
                return wrong("database", f"{shown} answers, but has no schema", "tagger db upgrade")
            case SchemaStatus.MISSING:
                return ok(
                    "database", f"{shown} does not exist yet; the first command that needs it creates it"
                )
            case SchemaStatus.OLDER:
                found = f"{shown} has schema {revision}, older than this version's {SCHEMA_REVISION}"
                return wrong("database", found, "make a backup, stop the workers, then: tagger db upgrade")
            case SchemaStatus.NEWER:
                found = f"{shown} was created by a newer version of tagger (schema {revision})"
                return wrong("database", found, "pip install --upgrade landmark-tagger")


def check_database_file(file: Path) -> Iterator[Finding]:
    """Check the disk, the integrity and the lock of an SQLite file."""
    mounts = Path("/proc/mounts")
    kind = file_system_of(file.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{file} is on a network file system ({kind}), where SQLite's locks do not work"
        yield wrong("database disk", found, "move it to a local disk, or use PostgreSQL: TAGGER_DATABASE_URL")
    if (result := quick_check(file)) not in {None, "ok"}:
        remedy = "restore a backup; tagger db check shows details"
        yield wrong("database file", f"it is damaged: {result}", remedy)
    elif read_only_address(file.absolute()) is not None:
        found = "this user cannot write the file or its folder: only commands that read work"
        yield wrong("database lock", found, f"run as the user to whom it belongs: ls -l {file}")
    elif is_locked(file):
        found = f"a process has held the write lock for more than {LOCK_S:.0f} s; others cannot store results"
        yield wrong("database lock", found, f"end the process that this shows: fuser -v {file}")
    else:
        yield ok("database file", "no damage found by a quick check, and no process holds its lock")
