"""Retries work while the database is unavailable or locked."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from tagger.database.errors import outage_text

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 600.0
"""How long work is retried before its error is raised."""
STOPPING_RETRY_S = 10.0
"""The same in a process that is stopping."""
PAUSE_S = 0.2
"""The pause before the first retry. Later ones double, up to LONGEST_PAUSE_S."""
LONGEST_PAUSE_S = 5.0


_READ_ONLY = "25006"
"""PostgreSQL's code for a write while the server is read-only; its driver does not count it among operational errors."""


def is_transient(error: SQLAlchemyError) -> bool:
    """True if waiting can help: the database is unavailable, locked or read-only, or the connection pool is exhausted."""
    if isinstance(error, DBAPIError):
        is_read_only = getattr(error.orig, "sqlstate", None) == _READ_ONLY
        return isinstance(error, OperationalError) or error.connection_invalidated or is_read_only
    return isinstance(error, PoolTimeout)


def with_retry(work: Callable[[], T], stop: threading.Event, give_up: threading.Event | None = None) -> T:
    """Call `work`, and call it again after transient errors until RETRY_S has passed.

    `stop` shortens the limit to STOPPING_RETRY_S; `give_up` ends the retries. Only the first error is logged.

    Raises:
        SQLAlchemyError: the last error of `work`.
    """
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
                log.warning("%s; trying again", text[0].upper() + text[1:])
                is_logged = True
        if stop.is_set():
            time.sleep(pause)
        else:
            stop.wait(pause)
        pause = min(LONGEST_PAUSE_S, pause * 2)
