"""Results of long queries, kept and refreshed in threads."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from tagger.database.retry import DatabaseError

log = logging.getLogger(__name__)

T = TypeVar("T")

COST_FACTOR = 20.0
"""A value stays fresh for at least this many times its query's duration, so that refreshing takes at most 5 % of the time."""

CLOSE_S = 5.0
"""How long a server that stops waits for queries: those of a large library take minutes."""


class CachedValue(Generic[T]):
    """The result of `query`, refreshed in a thread when it is older than `ttl_s`.

    Of the values that share `turn`, one is refreshed at a time: together, their queries would delay those of requests.
    """

    def __init__(self, query: Callable[[], T], ttl_s: float, turn: "threading.Lock | None" = None) -> None:
        self._query = query
        self._ttl_s = ttl_s
        self._turn = turn or threading.Lock()
        self._waits = False
        """Whether it is the turn of another value."""
        self._waited_s = 0.0
        """How long a request has waited for this refresh in vain."""
        self._closed = False
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._value: T | None = None
        self._stale_at_s = 0.0
        self._query_s = 0.0

    @property
    def has_value(self) -> bool:
        return self._value is not None

    def get(self, wait_s: float) -> T | None:
        """Return the newest value available within `wait_s`, possibly a stale one; None if there is none yet.

        Where there is a value, a query that took longer than `wait_s` the last time is not waited for, nor one whose turn it is not.
        Where requests have waited for a refresh in vain, the next ones do not wait for as long again: in a large library, each page would.
        """
        with self._lock:
            if time.monotonic() < self._stale_at_s:
                return self._value
            if self._thread is None or not self._thread.is_alive():
                self._waits = not self._turn.acquire(blocking=False)
                self._waited_s = 0.0
                self._thread = threading.Thread(target=self._refresh, name="overview", daemon=True)
                self._thread.start()
            thread = self._thread
        if not (self.has_value and (self._waits or self._query_s > wait_s)):
            thread.join(max(wait_s - self._waited_s, 0.0))
            if thread.is_alive():
                self._waited_s = max(self._waited_s, wait_s)
        return self._value

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Wait for the thread, if there is one. The end of the process ends a query that takes longer."""
        self._closed = True
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join(wait_s)

    def _refresh(self) -> None:
        had_to_wait = self._waits
        if had_to_wait:
            self._turn.acquire()
            self._waits = False
        try:
            if not (had_to_wait and self._closed):
                self._run_query()
        finally:
            self._turn.release()

    def _run_query(self) -> None:
        start_s = time.monotonic()
        try:
            self._value = self._query()
        except DatabaseError:
            log.exception("cannot refresh the library overview; trying again later")
        now_s = time.monotonic()
        self._query_s = now_s - start_s
        self._stale_at_s = now_s + max(self._ttl_s, COST_FACTOR * self._query_s)


def close_all(values: Iterable[CachedValue[Any]]) -> None:
    """Close the values, in CLOSE_S for all of them."""
    until_s = time.monotonic() + CLOSE_S
    for value in values:
        value.close(max(until_s - time.monotonic(), 0.0))
