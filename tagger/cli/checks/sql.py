"""Checks of the database: it answers, its schema is this version's, its file is sound, on a local disk, and not locked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tagger.cli.checks.findings import note, ok, wrong
from tagger.database import SCHEMA_REVISION, open_database
from tagger.errors import TaggerError
from tagger.probing import (
    LOCK_S,
    NETWORK_FILE_SYSTEMS,
    Schema,
    bounded_url,
    file_system_of,
    is_locked,
    lock_holder,
    quick_check,
    refuses_writes,
    schema_of,
    sqlite_file,
)
from tagger.settings import shown_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.cli.checks.findings import Finding
    from tagger.database import Database


class DatabaseChecks:
    """The database's; `database` is set once it was opened, which happens only where nothing has to be upgraded."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._file = sqlite_file(url)
        self.database: Database | None = None

    def run(self) -> Iterator[Finding]:
        try:
            schema, revision = schema_of(self._url)
            if schema is Schema.CURRENT:
                self.database = open_database(bounded_url(self._url))
        except TaggerError as error:
            yield wrong("database", str(error), self._remedy())
            schema, revision = None, ""
        if schema is not None:
            yield self._judge_schema(schema, revision)
        if self._file is not None and self._file.exists():
            yield from check_file(self._file)
        elif self.database is not None and refuses_writes(self.database):
            found = f"{self._shown} only answers questions: it is a standby, or set to be read-only"
            yield wrong("database lock", found, "set TAGGER_DATABASE_URL to the server that takes writes")

    def _judge_schema(self, schema: Schema, revision: str) -> Finding:
        shown = self._shown
        match schema:
            case Schema.CURRENT:
                return ok("database", f"{shown} answers, schema {revision}")
            case Schema.MISSING if self._file is not None:
                return ok("database", f"{shown} is not set up yet; the first command that needs it does so")
            case Schema.MISSING:
                return wrong("database", f"{shown} answers and is not set up", "tagger db upgrade")
            case Schema.OLDER if self._file is not None:
                found = f"{shown} has the older schema {revision}; the next command brings it to {SCHEMA_REVISION}"
                return note("database", found, "make a backup, then: tagger db upgrade")
            case Schema.OLDER:
                found = f"{shown} has schema {revision}, older than this version's {SCHEMA_REVISION}"
                return wrong("database", found, "make a backup, stop the workers, then: tagger db upgrade")
            case Schema.NEWER:
                found = f"{shown} was made by a newer version of tagger (schema {revision})"
                return wrong("database", found, "pip install --upgrade landmark-tagger")

    @property
    def _shown(self) -> str:
        return shown_address(self._url) if self._file is None else f"sqlite:///{self._file}"

    def _remedy(self) -> str:
        if self._file is None:
            return (
                "start the server, or correct TAGGER_DATABASE_URL; pg_isready tells whether a server answers"
            )
        return f"ls -l {self._file}; a file that is no database any more is replaced by a backup"


def check_file(file: Path) -> Iterator[Finding]:
    """An SQLite file: where it is, whether it is sound, whether somebody keeps the others from writing."""
    yield _check_place(file)
    said = quick_check(file)
    if said is None:
        yield ok(
            "database file", "no damage found in the time a quick check has; tagger db check reads all of it"
        )
    elif said == "ok":
        yield ok("database file", "sound by a quick check")
    else:
        yield wrong(
            "database file", f"it is damaged: {said}", "go back to a backup; tagger db check tells more"
        )
        return
    if is_locked(file):
        holder = lock_holder(file)
        who = f"process {holder.pid} ({holder.command})" if holder else "another process"
        found = f"{who} has kept the writer's lock for over {LOCK_S:.0f} s; nobody else can store anything"
        yield wrong("database lock", found, f"kill {holder.pid}" if holder else f"fuser -v {file}")
    else:
        yield ok("database lock", "free")


def _check_place(file: Path) -> Finding:
    mounts = Path("/proc/mounts")
    kind = file_system_of(file.resolve(), mounts.read_text()) if mounts.exists() else None
    if kind in NETWORK_FILE_SYSTEMS:
        found = f"{file} is on a network file system ({kind}), where SQLite's locks do not hold"
        return wrong(
            "database place", found, "move it to a local disk and set TAGGER_DATABASE_URL, or use PostgreSQL"
        )
    return ok(
        "database place", f"on this machine's own disk ({kind})" if kind else "not known on this system"
    )
