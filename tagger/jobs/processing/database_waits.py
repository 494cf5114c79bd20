"""Says that this process waits for the database, and how many results it holds meanwhile.

A thread of its own says it: the others may be blocked in a statement.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)

CHECK_S = 5.0
REPORT_S = 60.0
"""Time between two messages, and until the first one: `with_retry` has logged the error."""


class DatabaseWaits:
    """Thread-safe. One per process."""

    def __init__(self, count_results: Callable[[], int]) -> None:
        self._count_results = count_results
        self._began_at: dict[object, float] = {}
        """When each work on the database that is in progress began."""
        self._reported_at: float | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="database-waits", daemon=True)
        self._thread.start()

    @contextmanager
    def work(self) -> Iterator[None]:
        """Do database work inside the context, with its retries."""
        key = object()
        self._began_at[key] = time.monotonic()
        try:
            yield
        finally:
            del self._began_at[key]

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._closed.wait(CHECK_S):
            self.report()

    def report(self) -> None:
        """Log a message if the database has kept this process waiting for REPORT_S, and when it no longer does."""
        now = time.monotonic()
        waited_s = now - min(self._began_at.copy().values(), default=now)
        if waited_s < REPORT_S:
            if self._reported_at is not None:
                log.warning("The database answers again")
            self._reported_at = None
        elif self._reported_at is None or now - self._reported_at >= REPORT_S:
            log.warning(
                "Waiting for the database for %.0f s; %d results wait to be stored, and no more photos are claimed",
                waited_s,
                self._count_results(),
            )
            self._reported_at = now
