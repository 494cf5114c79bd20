"""The dead-letter list in Redis: messages that no worker understands. The ledger sends their chunks again."""

import json
import logging
import threading
import time

import redis

log = logging.getLogger(__name__)

MAX_LETTERS = 1000
"""The most messages in the list. Older ones are dropped, because another program may send without end."""
MAX_RAW_BYTES = 4096
"""How much is stored of bytes that are not a message."""
REPORT_S = 60.0
"""How often dead letters are logged."""


def store_dead_letter(client: redis.Redis, key: str, body: object, reason: str) -> None:
    """Store a message in the list `key` with the reason of its refusal, and log that."""
    _reporter.report(key, reason)
    stored = body[:MAX_RAW_BYTES] if isinstance(body, bytes) else body
    with client.pipeline() as pipeline:
        pipeline.rpush(key, json.dumps({"reason": reason, "body": stored}, default=repr))
        pipeline.ltrim(key, -MAX_LETTERS, -1)
        pipeline.execute()


class _Reporter:
    """Counts dead letters, and logs their number at most once within REPORT_S."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._next_at = 0.0

    def report(self, key: str, reason: str) -> None:
        with self._lock:
            self._count += 1
            now = time.monotonic()
            if now < self._next_at:
                return
            count, self._count, self._next_at = self._count, 0, now + REPORT_S
        if count == 1:
            log.error("Moved an invalid message (%s) to the list %s", reason, key)
        else:
            log.error("Moved %d invalid messages (the last: %s) to the list %s", count, reason, key)


_reporter = _Reporter()
