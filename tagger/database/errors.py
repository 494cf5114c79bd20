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


def outage(error: DatabaseError, reason: str) -> DatabaseConnectionLost | DiskFull:
    """What to tell of an error in a database that was open."""
    if is_disk_full(error):
        return DiskFull(what="the database", reason=reason)
    return DatabaseConnectionLost(reason=reason)
