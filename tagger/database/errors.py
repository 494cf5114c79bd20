"""The exceptions that a caller of the database catches, so that other packages need not import SQLAlchemy."""

import sqlite3

from sqlalchemy.exc import SQLAlchemyError

from tagger.errors import DatabaseConnectionLost, DiskFull

DatabaseError = SQLAlchemyError
"""Any error of SQLAlchemy or the driver. `tagger.database.retry.is_transient` tells whether waiting can help."""

_INSUFFICIENT_PRIVILEGE, _DISK_FULL = "42501", "53100"
"""PostgreSQL's codes."""
_SQLITE_DISK_FULL = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE})
"""SQLite's codes. The second is of the `-shm` file, which readers create too; SQLite calls it a disk I/O error."""


def is_permission_missing(error: DatabaseError) -> bool:
    """Whether the server refused a statement because the role lacks a right."""
    return getattr(getattr(error, "orig", None), "sqlstate", None) == _INSUFFICIENT_PRIVILEGE


def is_disk_full(error: DatabaseError | sqlite3.Error) -> bool:
    """Whether the disk of the database has no space left."""
    cause = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return getattr(cause, "sqlite_errorcode", None) in _SQLITE_DISK_FULL
    return getattr(cause, "sqlstate", None) == _DISK_FULL


def reason_of(error: DatabaseError | sqlite3.Error) -> str:
    """What the driver says, in one line. SQLite calls a `-shm` file without space a disk I/O error, as if the disk were broken."""
    cause = getattr(error, "orig", None) or error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_SHMSIZE:
        return "database or disk is full"
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0]


def outage(error: DatabaseError, reason: str) -> DatabaseConnectionLost | DiskFull:
    """What to tell of an error in a database that was open, where a command ends."""
    if is_disk_full(error):
        return DiskFull(what="the database", reason=reason)
    return DatabaseConnectionLost(reason=reason)


def outage_text(error: DatabaseError) -> str:
    """The same as the begin of a sentence, where it is tried again."""
    if is_disk_full(error):
        return "the disk of the database is full: free some space"
    return f"the database does not answer ({reason_of(error)})"
