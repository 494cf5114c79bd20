"""Watches whether Redis accepts messages. An outage is logged once a minute, and its end once, whichever thread notices them."""

import logging
import threading
import time

from tagger.errors import RedisRefused, RedisUnavailable
from worker.broker import Broker, check_accepts_messages

log = logging.getLogger(__name__)

REPORT_S = 60.0
"""How often an outage is logged."""


class RedisMonitor:
    """Shared by the threads of one process."""

    def __init__(self, broker: Broker) -> None:
        self.broker = broker
        self._lock = threading.Lock()
        self._reported_at: float | None = None
        self._outage_since: float | None = None
        """None after its end was logged."""

    def accepts_messages(self) -> bool:
        """Check Redis now, and log the result if it is news."""
        try:
            check_accepts_messages(self.broker)
        except (RedisUnavailable, RedisRefused) as error:
            self.report(str(error))
            return False
        self._report_end()
        return True

    def report(self, problem: str) -> None:
        """Log a problem with Redis, unless one was logged within REPORT_S."""
        now = time.monotonic()
        with self._lock:
            if self._reported_at is not None and now - self._reported_at < REPORT_S:
                return
            self._reported_at = now
            self._outage_since = self._outage_since or now
        log.warning("%s", problem)

    def _report_end(self) -> None:
        with self._lock:
            since, self._outage_since = self._outage_since, None
        if since is not None:
            log.warning("Redis accepts messages again, after %.0f s", time.monotonic() - since)
