"""Checks of the database: connection, schema, integrity of the file, disk and lock."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from tagger.cli.doctor.access import check_database_access
from tagger.cli.doctor.findings import note, ok, wrong
from tagger.database.connection import open_database
from tagger.database.diagnostics import (
    LOCK_S,
    NETWORK_FILE_SYSTEMS,
    SchemaStatus,
    bounded_url,
    file_system_of,
    is_locked,
    is_read_only,
    lock_holder,
    quick_check,
    schema_status,
    sqlite_file,
)
from tagger.database.schema import SCHEMA_REVISION
from tagger.errors import DiskFull, SchemaUnreleased, TaggerError
from tagger.system.addresses import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.doctor.findings import Finding
    from tagger.database.connection import Database


class DatabaseChecks:
    """Checks one database. `database` is open after the checks, if its schema is current."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = sqlite_file(url)
        self.database: Database | None = None
        self._is_disk_full = False

    def run(self) -> Iterator[Finding]:
        yield from self.check_connection()
        if self._is_disk_full:
            return  # an intact file would look damaged
        if self._file is not None and self._file.exists():
            try:
                yield from check_database_file(self._file)
            except DiskFull as error:
                yield _disk_full(error)
        elif self.database is not None:
            yield check_database_access(self._url, self.database)

    def check_connection(self) -> Iterator[Finding]:
        """Check that the database answers, has this version's schema and, on a server, can be written."""
        try:
            schema, revision = schema_status(self._url)
            if schema is SchemaStatus.CURRENT:
                self.database = open_database(bounded_url(self._url))
        except DiskFull as error:
            self._is_disk_full = True
            yield _disk_full(error)
            return
        except TaggerError as error:
            yield wrong("database", str(error), self._remedy(str(error)))
            schema, revision = None, ""
        if schema is not None:
            yield self._check_schema(schema, revision)
        if self._file is None and self.database is not None and is_read_only(self.database):
            found = f"{self._shown} is read-only: it is a standby, or configured as read-only"
            yield wrong("database lock", found, "set TAGGER_DATABASE_URL to the primary server")

    def _check_schema(self, schema: SchemaStatus, revision: str) -> Finding:
        shown, is_server = self._shown, self._file is None
        match schema:
            case SchemaStatus.CURRENT:
                return ok("database", f"{shown} answers, schema {revision}")
            case SchemaStatus.MISSING if is_server:
                return wrong("database", f"{shown} answers, but has no schema", "tagger db upgrade")
            case SchemaStatus.MISSING:
                found = f"{shown} does not exist yet; the first command that needs it creates it"
                return ok("database", found)
            case SchemaStatus.OLDER:
                return _older(shown, revision, is_server=is_server)
            case SchemaStatus.UNRELEASED:
                error = SchemaUnreleased(url=shown, revision=revision)
                return wrong(
                    "database",
                    str(error),
                    "set TAGGER_DATABASE_URL to a new database, then: tagger db import FILE",
                )
            case SchemaStatus.NEWER:
                found = f"{shown} was created by a newer version of tagger (schema {revision})"
                return wrong("database", found, "pip install --upgrade landmark-tagger")

    @property
    def _shown(self) -> str:
        return redact_url(self._url) if self._file is None else f"sqlite:///{self._file}"

    def _remedy(self, problem: str) -> str:
        if missing := re.search(r'database "(.+)" does not exist', problem):
            return (
                f"create it on the server, with: createdb {shlex.quote(missing[1])}; then: tagger db upgrade"
            )
        if self._file is None:
            return (
                "start the server, or correct TAGGER_DATABASE_URL; pg_isready shows whether a server answers"
            )
        return f"ls -l {self._file}; if the file is not a database, restore a backup"


def _disk_full(error: DiskFull) -> Finding:
    return wrong("database", str(error), "free space on the disk of the database")


def check_database_file(file: Path) -> Iterator[Finding]:
    """Check the disk, the integrity and the lock of an SQLite file."""
    yield _check_disk(file)
    result = quick_check(file)
    if result is None:
        yield ok(
            "database file",
            "no damage found in the time limit of a quick check; tagger db check reads the whole file",
        )
    elif result == "ok":
        yield ok("database file", "no damage found by a quick check")
    else:
        yield wrong(
            "database file", f"it is damaged: {result}", "restore a backup; tagger db check shows details"
        )
        return
    if is_locked(file):
        holder = lock_holder(file)
        who = f"process {holder.pid} ({holder.command})" if holder else "another process"
        found = f"{who} has held the write lock for more than {LOCK_S:.0f} s; other processes cannot store results"
        yield wrong("database lock", found, f"kill {holder.pid}" if holder else f"fuser -v {file}")
    else:
        yield ok("database lock", "free")


def _check_disk(file: Path) -> Finding:
    mounts = Path("/proc/mounts")
    kind = file_system_of(file.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{file} is on a network file system ({kind}), where SQLite's locks do not work"
        return wrong(
            "database disk", found, "move it to a local disk and set TAGGER_DATABASE_URL, or use PostgreSQL"
        )
    return ok("database disk", f"on a local disk ({kind})" if kind else "unknown on this system")


def _older(shown: str, revision: str, *, is_server: bool) -> Finding:
    if is_server:
        found = f"{shown} has schema {revision}, older than this version's {SCHEMA_REVISION}"
        return wrong("database", found, "make a backup, stop the workers, then: tagger db upgrade")
    found = f"{shown} has the older schema {revision}; the next command upgrades it to {SCHEMA_REVISION}"
    return note("database", found, "make a backup, then: tagger db upgrade")
