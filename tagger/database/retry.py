"""Retries work while the database is unavailable or locked."""

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S = 600.0
"""How long work is retried before its error is raised."""
STOPPING_RETRY_S = 10.0
"""The same in a process that is stopping."""


def is_transient(error: SQLAlchemyError) -> bool:
    """True if waiting can help: the server is unavailable, SQLite is locked, or the connection pool is exhausted."""
    return isinstance(error, OperationalError | PoolTimeout) or getattr(
        error, "connection_invalidated", False
    )


def with_retry(work: Callable[[], T], stop: threading.Event, give_up: threading.Event | None = None) -> T:
    """Call `work`, and call it again after transient errors until RETRY_S has passed.

    `stop` shortens the limit to STOPPING_RETRY_S; `give_up` ends the retries.

    Raises:
        SQLAlchemyError: the last error of `work`.
    """
    began = time.monotonic()
    pause = 0.2
    while True:
        try:
            return work()
        except SQLAlchemyError as error:
            limit = STOPPING_RETRY_S if stop.is_set() else RETRY_S
            elapsed = time.monotonic() - began
            if not is_transient(error) or elapsed > limit or (give_up and give_up.is_set()):
                raise
            log.warning("The database does not answer; retrying: %s", error)
        if stop.is_set():
            time.sleep(pause)
        else:
            stop.wait(pause)
        pause = min(5.0, pause * 2)
