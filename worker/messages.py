"""Messages: wake-ups and ticks, as Celery sends them, and their keys in Redis.

They say nothing but their task, and what a worker claims is in SQL. So other clients of Redis can cause
neither callbacks nor other tasks: what reaches Celery is built anew from the task and the id.
"""

import base64
import json
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from tagger.database.enums import Priority

log = logging.getLogger(__name__)

TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


@dataclass(frozen=True)
class RedisKeys:
    """The keys of one database in Redis, with its ledger's id: databases that share a Redis never meet."""

    ledger_id: str

    @property
    def queues(self) -> dict[Priority, str]:
        """One queue of wake-ups per priority. Each wakes a worker that reads it (see ledger.workers)."""
        return {priority: self._key(priority) for priority in Priority}

    @property
    def ticks(self) -> str:
        """A queue that every worker reads. It holds at most one tick per beat: see worker.celery_patches."""
        return self._key("ticks")

    @property
    def unacked(self) -> str:
        """The hash in which Celery's transport stores messages that workers have not acknowledged."""
        return self._key("unacked")

    @property
    def transport_options(self) -> dict[str, str]:
        """The keys of Celery's transport, by its names for them."""
        return {
            "unacked_key": self.unacked,
            "unacked_index_key": self._key("unacked_index"),
            "unacked_mutex_key": self._key("unacked_mutex"),
            "keyprefix_queue": self._key("binding.%s"),
            "keyprefix_binding_deadlines": self._key("binding_deadlines"),
            "keyprefix_binding_permanent": self._key("binding_permanent.%s"),
        }

    @property
    def absent(self) -> str:
        """A list that never exists: LPUSHX on it needs the rights of a message, and writes nothing."""
        return self._key("absent")

    @property
    def message_queues(self) -> tuple[str, ...]:
        """The queues of ticks and chunks."""
        return (self.ticks, *self.queues.values())

    def _key(self, name: str) -> str:
        return f"tagger.{self.ledger_id}.{name}"


# How often dropped messages are logged: another program may send them without end.
REPORT_S = 60.0
_reported_at = -REPORT_S


def report_dropped(reason: str) -> None:
    """Log that an invalid message was dropped, and why, unless one was logged within REPORT_S."""
    global _reported_at  # noqa: PLW0603 - of this process
    if (now := time.monotonic()) - _reported_at >= REPORT_S:
        _reported_at = now
        log.error("An invalid message was dropped: %s", reason)


# Messages of this program have about 600 bytes.
MAX_MESSAGE_BYTES = 16 * 2**10
# The id of a message. Celery writes it to the log.
_ID = re.compile(r"[\w -]{1,100}", re.ASCII)
_NO_ARGUMENTS = [[], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]


def validated_message(message: Any, queue: str) -> dict[str, Any]:
    """Return a new message of Celery with the same task and id.

    Raises:
        ValueError: Celery did not send it, or its task is unknown.
    """
    headers = message.get("headers") if isinstance(message, Mapping) else None
    task, number = (
        map(headers.get, ("task", "id")) if isinstance(headers, Mapping) else (None, None)
    )
    if (
        task not in (TASK_NAME, TICK_NAME)
        or not isinstance(number, str)
        or not _ID.fullmatch(number)
    ):
        raise ValueError("its task is unknown")
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
