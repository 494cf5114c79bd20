"""Messages: the wake-up, versioned JSON, in the form in which Celery sends it, and the log lines about invalid ones.

Whoever writes to Redis can send chunks and ticks, but no callbacks, options or other tasks: what reaches Celery is built anew from the
checked parts.
"""

import base64
import binascii
import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from typing import Annotated, Any, Literal
from uuid import uuid4

from pydantic import BaseModel, ConfigDict, Field

from tagger.database.enums import Priority
from worker.redis_keys import RedisKeys

log = logging.getLogger(__name__)

VERSION: Literal[1] = 1
TASK_NAME = "tagger.tag_chunk"
TICK_NAME = "tagger.tick"


class WakeUp(BaseModel):
    """Says that chunks of a priority wait. The worker that receives it claims the next one in SQL."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    version: Literal[1] = VERSION
    priority: Annotated[Priority, Field(strict=False)]


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
_CALLBACKS = ("callbacks", "errbacks", "chain", "chord")
"""What Celery runs after a task. Messages of this program have none."""


class InvalidMessage(ValueError):
    """The message was not sent by Celery, or its task is unknown."""


def validated_message(message: Any, queue: str) -> dict[str, Any]:
    """Return a new message of Celery with the checked parts only.

    Raises:
        InvalidMessage: Celery did not send it, or its task is unknown.
    """
    headers, properties = _part(message, "headers"), _part(message, "properties")
    task, number = headers.get("task"), headers.get("id")
    if task not in (TASK_NAME, TICK_NAME) or not isinstance(number, str) or not _ID.fullmatch(number):
        raise InvalidMessage("its task is unknown")
    if properties.get("body_encoding") != "base64":
        raise InvalidMessage("it was not sent by Celery")
    call = [_arguments(message.get("body"), task), {}, dict.fromkeys(_CALLBACKS)]
    return {
        "body": base64.b64encode(json.dumps(call).encode()).decode(),
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


def _part(message: Any, name: str) -> Mapping[str, Any]:
    part = message.get(name) if isinstance(message, Mapping) else None
    if not isinstance(part, Mapping):
        raise InvalidMessage(f"it has no {name}")
    return part


def _arguments(body: object, task: str) -> list[Any]:
    """The arguments of the task: one flat document for a chunk, which the task validates, none for a tick."""
    try:
        call = json.loads(base64.b64decode(body, validate=True)) if isinstance(body, str) else None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidMessage("its body is not base64") from error
    if not isinstance(call, list) or len(call) != 3 or call[1] != {} or not isinstance(call[2], Mapping):
        raise InvalidMessage("its body is not a call")
    arguments, _, callbacks = call
    if any(callbacks.values()):
        raise InvalidMessage("it has callbacks")
    if not isinstance(arguments, list) or len(arguments) != (task == TASK_NAME):
        raise InvalidMessage("its arguments are not those of the task")
    if not all(isinstance(argument, Mapping) and _is_flat(argument) for argument in arguments):
        raise InvalidMessage("its arguments are not those of the task")
    return arguments


def _is_flat(document: Mapping[str, Any]) -> bool:
    # Celery parses the arguments with kombu's parser.
    return "__type__" not in document and not any(
        isinstance(value, list | Mapping) for value in document.values()
    )


def stored_message(stored: bytes | None, keys: RedisKeys) -> tuple[str, str] | None:
    """The queue and the text of a message that kombu has stored as unacknowledged. None if it is something else."""
    try:
        message, _, queue = json.loads(stored or b"null")
        text = json.dumps(message)
    except (ValueError, TypeError, RecursionError):
        return None
    return (queue, text) if queue in keys.message_queues else None
