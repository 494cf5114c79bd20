"""A time limit on waiting for the locks of other transactions. PostgreSQL waits for ever; SQLite has BUSY_TIMEOUT_S."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

_LOCK_NOT_AVAILABLE = "55P03"
"""The SQLSTATE of PostgreSQL's lock_timeout."""


class LockTimedOut(Exception):
    """Another transaction held a lock for longer than the limit. The own transaction has to be rolled back."""


@contextmanager
def lock_timeout(connection: Connection, limit_s: float) -> Iterator[None]:
    """Limit the wait for each lock in this transaction.

    Not the time of a statement: cancelling a job of millions of photos takes minutes.

    Raises:
        LockTimedOut: another transaction held a lock for longer.
    """
    if connection.dialect.name == "postgresql":
        limit = text("SELECT set_config('lock_timeout', :milliseconds, true)")
        connection.execute(limit, {"milliseconds": f"{limit_s * 1000:.0f}"})
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise LockTimedOut from error
        raise
