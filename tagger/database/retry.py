"""The errors of the database that callers catch, and retries while it is unavailable or locked.

Other packages need not import SQLAlchemy for them.
"""

import errno
import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tagger.errors import (
    DatabaseConnectionLost,
    DatabasePermissionMissing,
    DatabaseReadOnly,
    DiskFull,
    StatementRefused,
    TaggerError,
)

# Any error of SQLAlchemy or the driver. `is_transient` tells whether waiting can help.
DatabaseError = SQLAlchemyError

# Said with an unexpected error: values that this program never stores have no error of their own.
DAMAGED_ROWS = "if another program wrote to the database, `tagger db check` names the rows that it damaged"

# PostgreSQL's codes. With the second, the role may use no schema.
_MISSING_RIGHTS = frozenset({"42501", "3F000"})
# PostgreSQL's codes. For its driver, the second is no operational error.
_DISK_FULL, _READ_ONLY = "53100", "25006"
# SQLite's codes. With the second, there is no space for the `-shm` file, which readers create too.
_SQLITE_DISK_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})


def is_permission_missing(error: DatabaseError) -> bool:
    """Whether the server refused a statement because the role lacks a right."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) in _MISSING_RIGHTS


def is_read_only(error: DatabaseError | sqlite3.Error) -> bool:
    """Whether this user may not write to the file, or the server is read-only, as a standby is."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_READONLY
    return getattr(cause, "sqlstate", None) == _READ_ONLY


def is_disk_full(error: DatabaseError | sqlite3.Error) -> bool:
    """Whether the disk of the database has no space left."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", None) in _SQLITE_DISK_FULL
    # A refused connection has no SQLSTATE: PostgreSQL may have to write a file for it.
    return getattr(cause, "sqlstate", None) == _DISK_FULL or os.strerror(errno.ENOSPC) in str(cause)


def may_only_read(error: DatabaseError) -> bool:
    """Whether reading works where this statement was refused: for lack of space, or of a right."""
    return is_disk_full(error) or is_read_only(error) or is_permission_missing(error)


def reason_of(error: DatabaseError | sqlite3.Error) -> str:
    """The driver's message, in one line. SQLite calls a lack of space for `-shm` an I/O error."""
    cause = getattr(error, "orig", None) or error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return "database or disk is full"
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def is_defect(error: DatabaseError) -> bool:
    """Whether the database refuses a statement or a value of this program: waiting cannot help."""
    if may_only_read(error):
        return False
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return False
    if getattr(getattr(error, "orig", None), "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return True  # a table or column is missing, for example
    return isinstance(error, DataError | IntegrityError | ProgrammingError)


def stated_error(error: DatabaseError, reason: str) -> TaggerError:
    """The text about an error of an open database, for a command that ends because of it."""
    if is_read_only(error):
        return DatabaseReadOnly(reason=reason)
    if is_disk_full(error):
        return DiskFull(what="the database", reason=reason)
    if is_permission_missing(error):
        return DatabasePermissionMissing(reason=reason)
    return (StatementRefused if is_defect(error) else DatabaseConnectionLost)(reason=reason)


def outage_text(error: DatabaseError) -> str:
    """The beginning of a sentence about an error of an open database, for work that is retried."""
    if is_disk_full(error):
        file, *_ = getattr(error, "detail", None) or ["the database"]
        return f"the disk of {file} is full: free some space"
    if is_read_only(error):
        return f"the database is read-only ({reason_of(error)})"
    if is_permission_missing(error):
        return f"the user of the database lacks a right ({reason_of(error)})"
    if is_defect(error):
        return f"the database refuses a statement, which is a defect of this program ({reason_of(error)})"
    return f"the database does not answer ({reason_of(error)})"


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
    if isinstance(error, DBAPIError):
        if is_defect(error):
            return False
        return isinstance(error, OperationalError) or error.connection_invalidated or is_read_only(error)
    return isinstance(error, PoolTimeout)


def with_retry(
    work: Callable[[], T], stop: threading.Event | None = None, give_up: threading.Event | None = None
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
            if not is_transient(error) or elapsed > limit or (give_up and give_up.is_set()):
                raise
            if not is_logged:
                text = outage_text(error)
                log.warning("%s; trying again for %.0f min", text[0].upper() + text[1:], RETRY_S / 60)
                is_logged = True
        if stop.is_set():
            time.sleep(pause)
        else:
            stop.wait(pause)
        pause = min(LONGEST_PAUSE_S, pause * 2)
