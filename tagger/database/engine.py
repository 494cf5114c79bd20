"""SQLAlchemy engines for SQLite and PostgreSQL: errors that callers catch, retries, and turns of writers.

A deferred transaction of SQLite that reads before it writes fails if another process writes in between, so
writers begin IMMEDIATE.
"""

import errno
import fcntl
import logging
import math
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, ExceptionContext, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    TimeoutError as PoolTimeout,
)

from tagger.errors import (
    DISK_FULL_ERRNOS,
    DatabaseConnectionLost,
    DatabaseLimitReached,
    DatabasePermissionMissing,
    DatabaseReadOnly,
    DatabaseUnavailable,
    DiskFull,
    SettingsInvalid,
    StatementRefused,
    TaggerError,
)
from tagger.extensions import extra_missing
from tagger.processes.permissions import (
    create_private_file,
    make_private_folder,
    require_safe,
)
from tagger.texts.addresses import AddressInvalid, database_address, split_servers

BUSY_TIMEOUT_S = 30.0
# After this time PostgreSQL ends the transaction of a writer that sends nothing: others wait for
# it.
IDLE_WRITER_S = 30

# Options of libpq: the name in pg_stat_activity, and limits on a server that is gone, in s, ms, s
# and s.
_POSTGRESQL_OPTIONS = {
    "application_name": "tagger",
    "connect_timeout": 10,
    "tcp_user_timeout": 30_000,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 2,
}

_INVALID = "database_url: it has options or a host that its driver does not accept"


def create_database_engine(url: str, *, make_folder: bool = True) -> Engine:
    """An engine for the database at `url`. Nothing connects yet; an SQLite file's folder is created.

    Raises:
        SettingsInvalid: `url` is not an address of SQLite or PostgreSQL.
        ExtraMissing: psycopg is not installed.
        DatabaseUnavailable, DiskFull: the folder of the SQLite file cannot be created.
        PermissionsUnsafe: other users can change the SQLite file or its folder.
    """
    parsed = parse_database_url(url)
    try:
        if parsed.get_backend_name() == "sqlite":
            return _sqlite_engine(parsed, make_folder=make_folder)
        return _postgresql_engine(parsed)
    except (ArgumentError, ValueError):
        raise SettingsInvalid(
            reason=_INVALID
        ) from None  # a part of the address is in its text
    except ModuleNotFoundError as error:
        raise extra_missing("PostgreSQL", "postgres") from error


def sqlite_file(url: str) -> Path | None:
    """The file of an SQLite database; None for a server or an invalid address."""
    try:
        parsed = parse_database_url(url)
    except SettingsInvalid:
        return None
    return (
        Path(parsed.database)
        if parsed.get_backend_name() == "sqlite" and parsed.database
        else None
    )


def address_for_reading(url: str) -> str:
    """The address, or where it is that of an SQLite file that does not exist, of an empty one in memory."""
    file = sqlite_file(url)
    if file is None:
        return url
    try:
        file.stat()
    except FileNotFoundError:
        return f"{url}{'&' if '?' in url else '?'}{IN_MEMORY}=1"
    except OSError:
        return url  # opening it says why it cannot be read
    return url


def parse_database_url(url: str) -> URL:
    """Parse the address of a database. No part of an invalid one is in the error or its causes.

    Raises:
        SettingsInvalid: `url` is not an address of SQLite or PostgreSQL.
    """
    try:
        parsed = make_url(split_servers(database_address(url)))
    except AddressInvalid as error:
        raise SettingsInvalid(reason=f"database_url: {error}") from None
    except (ArgumentError, ValueError):
        raise SettingsInvalid(reason=_INVALID) from None
    return (
        parsed
        if parsed.drivername == "sqlite"
        else parsed.set(drivername="postgresql+psycopg")
    )


# Parameters of a session, set by a statement, as poolers refuse them at the login.
#
# The driver and the statements rely on the pinned ones. Of the others a setting counts: by default,
# PostgreSQL expects disks with heads, compiles statements of large tables for a second, and keeps
# the locks of a machine that is gone for two hours.
_SET_PARAMETERS = """
    SELECT set_config(name, own.value, false) FROM pg_settings JOIN (VALUES
        ('DateStyle', 'ISO', true), ('IntervalStyle', 'postgres', true), ('TimeZone', 'UTC', true),
        ('extra_float_digits', '1', true), ('bytea_output', 'hex', true), ('array_nulls', 'on', true),
        ('standard_conforming_strings', 'on', true),
        ('default_transaction_isolation', 'read committed', true),
        ('statement_timeout', '0', true), ('lock_timeout', '0', true), ('transaction_timeout', '0', true),
        ('search_path', (SELECT coalesce(string_agg(quote_ident(name), ', ' ORDER BY place), 'public')
                         FROM unnest(current_schemas(false)) WITH ORDINALITY AS path(name, place)
                         WHERE NOT starts_with(name, 'pg_')), true),
        ('random_page_cost', '1.1', false), ('jit', 'off', false), ('tcp_keepalives_idle', '20', false),
        ('tcp_keepalives_interval', '5', false), ('tcp_keepalives_count', '2', false),
        ('tcp_user_timeout', '30000', false)
    ) AS own(name, value, is_pinned) USING (name) WHERE is_pinned OR source = 'default'"""


def _postgresql_engine(url: URL) -> Engine:
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=8,
        max_overflow=24,
        hide_parameters=True,  # parameters can be paths of photos, and errors go to logs
        connect_args={
            **{
                name: value
                for name, value in _POSTGRESQL_OPTIONS.items()
                if name not in url.query
            },
            # Poolers give the transactions of a connection to different sessions, which do not share them.
            "prepare_threshold": None,
            # In a database of another encoding, the server converts; in one of SQL_ASCII, psycopg would
            # return bytes.
            "client_encoding": "utf8",
        },
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        connection.execute(_SET_PARAMETERS).close()
        connection.commit()

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        if connection.get_execution_options().get("tagger_begin") == "IMMEDIATE":
            connection.exec_driver_sql(
                f"SET LOCAL idle_in_transaction_session_timeout = '{IDLE_WRITER_S}s'"
            )

    return engine


# Commits are flushed: a power cut must not lose the record that undoes a written photo.
SQLITE_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "fullfsync=ON",
    "foreign_keys=ON",
    "temp_store=MEMORY",
)


# An option of an SQLite file's address: no other process has it open. SQLite then needs no `-shm`
# file.
EXCLUSIVE = "exclusive"
# An option of the address of an SQLite file that does not exist: an empty database in this process.
IN_MEMORY = "in_memory"


def _sqlite_engine(url: URL, *, make_folder: bool) -> Engine:
    if url.database in {None, "", ":memory:"}:
        raise SettingsInvalid(
            reason="database_url: an SQLite database has to be a file, like sqlite:///FILE"
        )
    is_exclusive, in_memory = (option in url.query for option in (EXCLUSIVE, IN_MEMORY))
    url = url.difference_update_query([EXCLUSIVE, IN_MEMORY])
    # All connections of an engine, and only these, share the database of one name.
    memory_address = f"file:{uuid4()}?mode=memory&cache=shared" if in_memory else None
    file = Path(str(url.database)).absolute()
    if not in_memory:
        if make_folder:
            _prepare_folder(url, file.parent)
        require_safe_database(file)
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_S},
        pool_size=8,
        max_overflow=56,
        hide_parameters=True,  # parameters can be paths of photos, and errors go to logs
    )

    @event.listens_for(engine, "do_connect")
    def _prepare_file(
        _dialect: Any, _record: Any, arguments: list[Any], parameters: dict[str, Any]
    ) -> None:
        exclusive_address = (
            f"file:{quote(str(file))}?mode=rw&vfs=unix-excl" if is_exclusive else None
        )
        address = memory_address or exclusive_address or read_only_address(file)
        if address is not None:
            arguments[0], parameters["uri"] = address, True
            return
        # SQLite would create it for everybody to read. Its -wal and -shm files get the permissions of this
        # one.
        with suppress(OSError):  # SQLite reports it
            create_private_file(file)

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:
        # The driver's own BEGIN is deferred; _on_begin replaces it.
        connection.isolation_level = None
        _set_pragmas(connection)
        add_missing_functions(connection)

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        mode = connection.get_execution_options().get("tagger_begin", "DEFERRED")
        if mode is not None:
            connection.exec_driver_sql(f"BEGIN {mode}")

    event.listen(engine, "handle_error", _name_file)
    return engine


def _name_file(context: ExceptionContext) -> None:
    # Say in an error which file it is about.
    if context.sqlalchemy_exception is not None and context.engine is not None:
        context.sqlalchemy_exception.add_detail(str(context.engine.url.database))


def _set_pragmas(connection: sqlite3.Connection) -> None:
    for pragma in SQLITE_PRAGMAS:
        try:
            connection.execute(f"PRAGMA {pragma}").close()
        except sqlite3.OperationalError as error:
            # A read-only file may be in another journal mode.
            if error_class(error) is not DatabaseReadOnly:
                raise


def read_only_address(file: Path) -> str | None:
    """The address of an SQLite file that this user cannot write; None if the user can, or if there is none.

    While somebody has the file open, SQLite keeps two more files in its folder.
    """
    if not file.exists():
        return None
    files = [
        file,
        *(
            each
            for end in ("-wal", "-shm")
            if (each := file.with_name(file.name + end)).exists()
        ),
    ]
    may_add = os.access(file.parent, os.W_OK, effective_ids=True)
    if may_add and all(os.access(each, os.W_OK, effective_ids=True) for each in files):
        return None
    is_open = len(files) > 1
    return (
        f"file:{quote(str(file))}?mode=ro{'' if is_open or may_add else '&immutable=1'}"
    )


def add_missing_functions(connection: sqlite3.Connection) -> None:
    """Add the cosine, for circles: SQLite can be built without its mathematical functions."""
    try:
        connection.execute("SELECT cos(0.0)").close()
    except sqlite3.OperationalError:
        connection.create_function("cos", 1, math.cos, deterministic=True)


def _prepare_folder(url: URL, folder: Path) -> None:
    try:
        make_private_folder(folder)
    except OSError as error:
        if error.errno in DISK_FULL_ERRNOS:
            raise DiskFull(what=folder, reason=error.strerror) from error
        raise DatabaseUnavailable(
            url=redact(url), reason=f"{folder}: {error.strerror}", remedy=_FILE_REMEDY
        ) from error


def require_safe_database(file: Path) -> None:
    """Check that no other user can change an SQLite file, its folder, or what SQLite would write into it.

    Opening a file creates others beside it with its permissions.

    Raises:
        PermissionsUnsafe: another user can.
    """
    require_safe(file.parent)
    for ending in ("", "-wal", "-shm", "-journal"):
        require_safe(file.with_name(file.name + ending))


@contextmanager
def unavailable_on_error(engine: Engine) -> Iterator[None]:
    """Turn SQLAlchemy's errors into DatabaseUnavailable, or a more exact one, and dispose of the engine."""
    try:
        yield
    except SQLAlchemyError as error:
        engine.dispose()
        kind, reason = error_class(error), reason_of(error)
        if kind in (DatabasePermissionMissing, DatabaseReadOnly):
            raise kind(reason=reason) from error
        if kind is DiskFull:
            raise DiskFull(what=redact(engine.url), reason=reason) from error
        shown = _without_values(reason, engine.url)
        cause = error if shown == reason else None
        remedy = _remedy(engine.url, shown)
        raise DatabaseUnavailable(
            url=redact(engine.url), reason=shown, remedy=remedy
        ) from cause
    except TaggerError:
        engine.dispose()
        raise


_FILE_REMEDY = "Check that its folder is writable and on a local disk, or correct TAGGER_DATABASE_URL"


def _remedy(url: URL, reason: str) -> str:
    # What to do about a database that cannot be opened. PostgreSQL's own refusals begin with FATAL.
    if url.get_backend_name() == "sqlite":
        return _FILE_REMEDY
    if "FATAL" not in reason:
        return "Check that the server is running, or correct TAGGER_DATABASE_URL"
    if "too many clients" in reason or "remaining connection slots" in reason:
        return "Try again later, or raise max_connections of the server"
    if "does not exist" in reason and "database" in reason:
        return "Create it on the server, or correct TAGGER_DATABASE_URL"
    return "Correct TAGGER_DATABASE_URL, or what the server allows"


def _without_values(reason: str, url: URL) -> str:
    # The driver's message without values of the address's options: one may be a part of a password.
    for value in map(str, url.query.values()):
        reason = re.sub(rf"""(["']){re.escape(value)}\1""", r"\1…\1", reason)
    return reason


def redact(url: URL) -> str:
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{url.database}"
    return url.set(drivername=url.get_backend_name(), query={}).render_as_string(
        hide_password=True
    )


# The errors of the database that callers catch, and retries while it is unavailable or locked.
#
# Other packages need not import SQLAlchemy for them.

# Any error of SQLAlchemy or the driver. `is_transient` tells whether waiting can help.
DatabaseError = SQLAlchemyError

# Said with an unexpected error: values that this program never stores have no error of their own.
DAMAGED_ROWS = "if another program wrote to the database, `tagger db check` names the rows that it damaged"

# PostgreSQL's codes of a full disk, of a missing right (with the second, the role may use no schema), and of
# limits of memory, connections and settings such as `temp_file_limit`. A standby is read-only.
_READ_ONLY, _DISK_FULL = "25006", "53100"
_NO_RIGHT, _AT_LIMIT = {"42501", "3F000"}, {"53200", "53300", "53400"}


def error_class(error: DatabaseError | sqlite3.Error) -> type[TaggerError]:
    """Which error of an open database this is; a lost connection if it is no other."""
    cause = getattr(error, "orig", None) or error
    state = getattr(cause, "sqlstate", None)
    code = getattr(cause, "sqlite_errorcode", 0)
    if code & 0xFF == sqlite3.SQLITE_READONLY or state == _READ_ONLY:
        return DatabaseReadOnly
    # With SQLite's second code, there is no space for the `-shm` file, which readers create too. A connection
    # that PostgreSQL refuses has no code: it may have to write a file for it.
    if (
        code in {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
        or state == _DISK_FULL
        or os.strerror(errno.ENOSPC) in str(cause)
    ):
        return DiskFull
    if state in _NO_RIGHT:
        return DatabasePermissionMissing
    if state in _AT_LIMIT:
        return DatabaseLimitReached
    is_lost = isinstance(error, DBAPIError) and error.connection_invalidated
    is_refused = isinstance(error, DataError | IntegrityError | ProgrammingError)
    # With SQLite's code, a table or column is missing, for example.
    if not is_lost and (is_refused or code == sqlite3.SQLITE_ERROR):
        return StatementRefused
    return DatabaseConnectionLost


def may_only_read(error: DatabaseError) -> bool:
    """Whether reading works where this statement was refused: for lack of space, or of a right."""
    refusals = DiskFull, DatabaseReadOnly, DatabasePermissionMissing
    return error_class(error) in refusals


def reason_of(error: DatabaseError | sqlite3.Error) -> str:
    """The driver's message, in one line. SQLite calls a lack of space for `-shm` an I/O error."""
    cause = getattr(error, "orig", None) or error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return "database or disk is full"
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def is_defect(error: DatabaseError) -> bool:
    """Whether the database refuses a statement or a value of this program: waiting cannot help."""
    return error_class(error) is StatementRefused


def stated_error(error: DatabaseError, reason: str) -> TaggerError:
    """The text about an error of an open database, for a command that ends because of it."""
    kind = error_class(error)
    if kind is DiskFull:
        return DiskFull(what="the database", reason=reason)
    return kind(reason=reason)


_OUTAGES: Mapping[type[TaggerError], str] = {
    DiskFull: "the disk of {file} is full: free some space",
    DatabaseReadOnly: "the database is read-only ({reason})",
    DatabasePermissionMissing: "the user of the database lacks a right ({reason})",
    DatabaseLimitReached: "the database server is at one of its limits ({reason})",
    StatementRefused: "the database refuses a statement, which is a defect of this program ({reason})",
    DatabaseConnectionLost: "the database does not answer ({reason})",
}


def outage_text(error: DatabaseError) -> str:
    """The beginning of a sentence about an error of an open database, for work that is retried."""
    file, *_ = getattr(error, "detail", None) or ["the database"]
    return _OUTAGES[error_class(error)].format(file=file, reason=reason_of(error))


log = logging.getLogger(__name__)

T = TypeVar("T")

# How long work is retried before its error is raised.
RETRY_S = 600.0
# How long work is retried in a process that is stopping.
STOPPING_RETRY_S = 10.0
# The pause before the first retry. Later ones double, up to LONGEST_PAUSE_S.
PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0


def is_transient(error: SQLAlchemyError) -> bool:
    """True if waiting can help: the database is away, locked or read-only, or the pool is exhausted."""
    if not isinstance(error, DBAPIError):
        return isinstance(error, PoolTimeout)
    kind = error_class(error)
    is_outage = isinstance(error, OperationalError) or error.connection_invalidated
    return kind is DatabaseReadOnly or (is_outage and kind is not StatementRefused)


def with_retry(
    work: Callable[[], T],
    stop: threading.Event | None = None,
    give_up: threading.Event | None = None,
) -> T:
    """Call `work`, and call it again after transient errors until RETRY_S has passed.

    `stop` shortens the limit to STOPPING_RETRY_S; `give_up` ends the retries. Only the first error is logged.

    Raises:
        SQLAlchemyError: the last error of `work`.
    """
    stop = stop or threading.Event()
    began = time.monotonic()
    pause = PAUSE_S
    is_logged = False
    while True:
        try:
            return work()
        except SQLAlchemyError as error:
            limit = STOPPING_RETRY_S if stop.is_set() else RETRY_S
            elapsed = time.monotonic() - began
            if (
                not is_transient(error)
                or elapsed > limit
                or (give_up and give_up.is_set())
            ):
                raise
            if not is_logged:
                text = outage_text(error)
                log.warning(
                    "%s; trying again for %.0f min",
                    text[0].upper() + text[1:],
                    RETRY_S / 60,
                )
                is_logged = True
        if stop.is_set():
            time.sleep(pause)
        else:
            stop.wait(pause)
        pause = min(LONGEST_PAUSE_S, pause * 2)


# Turns of those who write to an SQLite file, as SQLite keeps no order of those who wait.
#
# Who writes page after page would leave its lock for less than a millisecond, and others would find
# it taken for many seconds. So whoever begins to write holds a lock of the folder until the write
# has begun, and who has just written waits for it.

# Whoever waits longer begins without a turn: another one may be frozen.
LONGEST_S = 5.0
POLL_S = 0.01


@contextmanager
def turn_to_write(file: Path) -> Iterator[None]:
    """Wait until all who waited before have begun to write to the file, those of other processes too."""
    try:
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError:  # who may not list it writes without a turn
        yield
        return
    try:
        _lock(folder)
        yield
    finally:
        os.close(folder)  # with its lock


def _lock(folder: int) -> None:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(POLL_S)
        except OSError:  # the file system has no such locks
            return
        else:
            return
