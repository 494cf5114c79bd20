"""Checks of the database: connection, schema, integrity of the file, disk and lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tagger.cli.doctor import ok, wrong
from tagger.database.connection import open_database
from tagger.database.diagnostics import (
    LOCK_S,
    NETWORK_FILE_SYSTEMS,
    SchemaStatus,
    bounded_url,
    file_system_of,
    is_locked,
    is_read_only,
    quick_check,
    schema_status,
)
from tagger.database.engine import read_only_address, sqlite_file
from tagger.database.schema import SCHEMA_REVISION
from tagger.errors import DiskFull, SchemaOutdated, TaggerError
from tagger.system.addresses import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tagger.cli.doctor import Finding
    from tagger.database.connection import Database

_REMEDIES: Mapping[type[TaggerError], str] = {
    DiskFull: "free space on the disk of the database",
    SchemaOutdated: "tagger db upgrade",
}


class DatabaseChecks:
    """Checks one database. `database` is open after the checks, if its schema is current."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = sqlite_file(url)
        self._shown = redact_url(url) if self._file is None else f"sqlite:///{self._file}"
        self.database: Database | None = None
        self._is_disk_suited = True
        """False for a disk on which an intact file would look damaged."""

    def run(self) -> Iterator[Finding]:
        yield from self.check_connection()
        if self._file is not None and self._file.exists() and self._is_disk_suited:
            yield from check_database_file(self._file)

    def check_connection(self) -> Iterator[Finding]:
        """Check that the database answers, has this version's schema and, on a server, can be written."""
        try:
            schema, revision = schema_status(self._url)
            if schema is SchemaStatus.CURRENT:
                self.database = open_database(bounded_url(self._url))
        except TaggerError as error:
            self._is_disk_suited = not isinstance(error, DiskFull)
            yield wrong("database", str(error), _REMEDIES.get(type(error)) or self._remedy())
            return
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
                found = f"{shown} has schema {revision}, older than this version's {SCHEMA_REVISION}"
                remedy = "make a backup, stop the workers, then: tagger db upgrade"
                return wrong("database", found, remedy)
            case SchemaStatus.NEWER:
                found = f"{shown} was created by a newer version of tagger (schema {revision})"
                return wrong("database", found, "pip install --upgrade landmark-tagger")

    def _remedy(self) -> str:
        if self._file is None:
            return "start the server, create the database with createdb, or correct TAGGER_DATABASE_URL"
        return f"ls -l {self._file}; if the file is not a database, restore a backup"


def check_database_file(file: Path) -> Iterator[Finding]:
    """Check the disk, the integrity and the lock of an SQLite file."""
    mounts = Path("/proc/mounts")
    kind = file_system_of(file.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{file} is on a network file system ({kind}), where SQLite's locks do not work"
        yield wrong("database disk", found, "move it to a local disk, or use PostgreSQL: TAGGER_DATABASE_URL")
    result = quick_check(file)
    if result not in {None, "ok"}:
        yield wrong(
            "database file", f"it is damaged: {result}", "restore a backup; tagger db check shows details"
        )
    elif read_only_address(file.absolute()) is not None:
        found = "this user cannot write the file or its folder: commands that read work, others do not"
        yield wrong("database lock", found, f"run as the user to whom it belongs: ls -l {file}")
    elif is_locked(file):
        found = f"a process has held the write lock for more than {LOCK_S:.0f} s; others cannot store results"
        yield wrong("database lock", found, f"end the process that this shows: fuser -v {file}")
    else:
        yield ok("database file", "no damage found by a quick check, and no process holds its lock")
