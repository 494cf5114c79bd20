"""The settings and the database of one command."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

from tagger.cli.output import console
from tagger.errors import DiskFull

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from tagger.database.connection import Database
    from tagger.settings import Settings


# Open databases of this command.
_databases: list[Database] = []
# Sessions in which people's verdicts or dismissals have changed, and nobody has learned from them
# yet.
_decided: list[Session] = []


class Session(NamedTuple):
    """The settings and the open database of a command; unpacks to `settings, database`."""

    settings: Settings
    database: Database


def load_settings(**options: object) -> Settings:
    """Load the settings; command-line options take precedence. Imports pydantic only when a command runs."""
    from tagger import settings

    return settings.load_settings(**options)


def open_session(
    settings: Settings | None = None, *, settle_jobs: bool = False, waits: bool = False
) -> Session:
    """Open the database of `settings`, or of the environment's, until the command ends, and watch for stalls.

    An SQLite file of an earlier version is upgraded, which `open_for_reading` refuses.
    `settle_jobs` ends jobs whose process died; commands that create or control jobs set it. `waits`: see
    `open_database`.
    """
    from tagger.database.engine import sqlite_file
    from tagger.errors import SchemaOutdated
    from tagger.processes.stall import watch

    settings = settings or load_settings()
    watch(console.command, settings.data_folder, settings.stall_timeout_s)
    try:
        return _open(settings, settle_jobs=settle_jobs, waits=waits)
    except SchemaOutdated:
        url = settings.effective_database_url
        if sqlite_file(url) is None:
            raise  # others use a server too
        from tagger.transfer.upgrade import upgrade_database

        console.info("upgrading the database to this version of tagger")
        with console.ProgressLine("upgrading") as line:
            upgrade_database(url, line.show)
    return _open(settings, settle_jobs=settle_jobs)


def _open(settings: Settings, *, settle_jobs: bool = False, waits: bool = False) -> Session:
    from tagger.database.connection import open_configured
    from tagger.photos.object_store import note_endpoints_on_demand

    database = open_configured(settings, waits=waits)
    _databases.append(database)
    session = Session(settings, database)
    database.after_decisions = lambda: _decided.append(session)
    note_endpoints_on_demand(_note_endpoints)
    if settle_jobs:
        from tagger.ledger.job_control import recover_stale_jobs

        recover_stale_jobs(database)
    return session


def open_for_reading(settings: Settings | None = None, *, is_needed: bool = True) -> Session:
    """As `open_session`, for a command that creates nothing: without an SQLite file, all is empty.

    `is_needed`: say then how to create a database.
    """
    from tagger.database.engine import EXCLUSIVE, address_for_reading, sqlite_file

    settings = settings or load_settings()
    address = settings.effective_database_url
    file = sqlite_file(address)
    readable = settings.model_copy(update={"database_url": address_for_reading(address)})
    if is_needed and readable.database_url != address:
        console.warning(f"there is no database at {file}; to create it, run: tagger tag FOLDER")
    try:
        return _open(readable)
    except DiskFull:
        if file is None:
            raise
        console.warning(f"the disk of {file} is full: free some space")
        exclusive = settings.model_copy(
            update={"database_url": f"sqlite:///{quote(str(file))}?{EXCLUSIVE}=1"}
        )
        return _open(exclusive)


def _note_endpoints() -> None:
    """Note the servers of the buckets in the open databases."""
    from tagger.roots.roots import note_endpoints

    for database in _databases:
        with database.read() as connection:
            note_endpoints(connection)


def prepare_paths(paths: Iterable[str | Path], settings: Settings | None = None) -> None:
    """Call this before looking for paths without a session.

    If one is an address in a bucket, the database is opened, which knows its server.
    """
    from tagger.photos.paths import is_object_address

    if any(map(is_object_address, paths)):
        open_session(settings)


def decided_session() -> Session | None:
    """The session in which people's verdicts have changed; None: there is none."""
    return _decided[0] if _decided else None


def close_sessions() -> None:
    """Close the databases that the command opened. `main` calls it when the command ends."""
    _decided.clear()
    while _databases:
        _databases.pop().close()
