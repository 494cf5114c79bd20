"""The checks of `tagger doctor`, which change nothing: findings, and the checks of machine and database.

They find what no command says when it fails. Checks run in groups, in parallel and with a time limit.
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
    NETWORK_FILE_SYSTEMS,
    bounded_url,
    file_system_of,
    quick_check,
)
from tagger.database.engine import sqlite_file
from tagger.database.schema import read_revision
from tagger.errors import TaggerError
from tagger.processes.permissions import permission_problem, readable_by_others
from tagger.settings import Settings, config_file, load_settings
from tagger.texts.addresses import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tagger.database.connection import Database

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
        except TaggerError as error:
            self._findings.append(failed(self._name, error))
        except Exception as error:  # noqa: BLE001 - a check that fails must not hide the findings of others
            reason = str(error).strip().splitlines() or [type(error).__name__]
            remedy = "run tagger doctor again; if the error stays, report this line"
            self._findings.append(wrong(self._name, f"the check failed: {reason[0]}", remedy))


def check_settings() -> tuple[Settings, Finding]:
    """The settings, and the file that they come from.

    Raises:
        SettingsInvalid: as for every command.
    """
    settings, file = load_settings(), config_file().absolute()
    return settings, ok("settings", f"valid; {file if file.is_file() else f'there is no {file}'}")


def check_disk_space(settings: Settings) -> Iterator[Finding]:
    """Check that the disks of the data folder and of the SQLite file have space."""
    folders = [settings.data_folder.absolute()]
    if (file := sqlite_file(settings.effective_database_url)) is not None:
        folders.append(file.absolute().parent)
    for folder in {_existing(folder).stat().st_dev: folder for folder in reversed(folders)}.values():
        yield check_space(folder, shutil.disk_usage(_existing(folder)).free)


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
        """Check that the database answers and has this version's schema; no SQLite file is created.

        Raises:
            DatabaseUnavailable, DiskFull, PermissionsUnsafe, SchemaOutdated: it cannot be used.
        """
        url = bounded_url(self._url)
        shown = redact_url(self._url) if self._file is None else f"sqlite:///{self._file}"
        revision = read_revision(url)
        if self._file is not None and not revision:
            yield ok("database", f"{shown} does not exist yet; the first command that needs it creates it")
            return
        self.database = open_database(url)
        yield ok("database", f"{shown} answers, schema {revision}")


def check_database_file(file: Path) -> Iterator[Finding]:
    """Check the disk and the integrity of an SQLite file."""
    mounts = Path("/proc/mounts")
    kind = file_system_of(file.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{file} is on a network file system ({kind}), where SQLite's locks do not work"
        yield wrong("database disk", found, "move it to a local disk, or use PostgreSQL: TAGGER_DATABASE_URL")
    if (result := quick_check(file)) not in {None, "ok"}:
        remedy = "restore a backup; tagger db check shows details"
        yield wrong("database file", f"it is damaged: {result}", remedy)
    else:
        yield ok("database file", "no damage found by a quick check")
