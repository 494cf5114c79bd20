"""Messages: wake-ups and ticks, in the form in which Celery sends them, and the log lines about invalid ones.

They say nothing but their task, and what a worker claims is in SQL. So whoever writes to Redis can cause neither callbacks nor other tasks:
what reaches Celery is built anew from the task and the id.
"""

import base64
import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

log = logging.getLogger(__name__)

TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


class InvalidMessages:
    """Logs that invalid messages were dropped, at most once within REPORT_S: another program may send without end."""

    REPORT_S = 60.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0
        self._next_at = 0.0

    def report(self, reason: str) -> None:
        """Report one more message that was dropped, and why."""
        with self._lock:
            self._count += 1
            now = time.monotonic()
            if now < self._next_at:
                return
            count, self._count, self._next_at = self._count, 0, now + self.REPORT_S
        log.error("Invalid messages: %d dropped (the last: %s)", count, reason)


INVALID_MESSAGES = InvalidMessages()
"""Those of this process."""


MAX_MESSAGE_BYTES = 16 * 2**10
"""Messages of this program have about 600 bytes."""
_ID = re.compile(r"[\w -]{1,100}", re.ASCII)
"""The id of a message. Celery writes it to the log."""
_NO_ARGUMENTS = [[], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]


class InvalidMessage(ValueError):
    """The message was not sent by Celery, or its task is unknown."""


def validated_message(message: Any, queue: str) -> dict[str, Any]:
    """Return a new message of Celery with the same task and id.

    Raises:
        InvalidMessage: Celery did not send it, or its task is unknown.
    """
    headers = message.get("headers") if isinstance(message, Mapping) else None
    if not isinstance(headers, Mapping):
        raise InvalidMessage("it was not sent by Celery")
    task, number = headers.get("task"), headers.get("id")
    if task not in (TASK_NAME, TICK_NAME) or not isinstance(number, str) or not _ID.fullmatch(number):
        raise InvalidMessage("its task is unknown")
    return {
        "body": base64.b64encode(json.dumps(_NO_ARGUMENTS).encode()).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": number,
            "root_id": number,
            "retries": 0,
            "timelimit": [None, None],
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": number,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": str(uuid4()),  # a sender's could be that of another message
        },
    }
