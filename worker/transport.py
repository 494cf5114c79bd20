"""kombu's Redis transport, for a Redis that others may have written to: what is no message of ours is kept aside.

With kombu's own, bytes in a queue that are not a Celery message end the worker, and are gone; so do headers that
Celery did not write. So a message is read strictly, and Celery is given a fresh one of what was read.
"""

import base64
import binascii
import json
import logging
from collections.abc import Mapping
from datetime import datetime
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from worker.broker import refused_document
from worker.celery_settings import QUEUES, REFUSED
from worker.messages import TASK_NAME, TICK_NAME

log = logging.getLogger(__name__)


class _NotAMessage(ValueError):
    """What came out of a queue was not sent by Celery, or is no task that workers here have."""


class Channel(redis.Channel):
    """A channel that survives what it reads, and the loss of its connection."""

    def _connparams(self, *given: Any, **named: Any) -> Any:
        """How to connect: asked for late acknowledgements and at closing, though the connection may be given up by then.

        kombu knows what to do about a connection error; what it would raise itself ends the worker.
        """
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("this channel's connection to Redis was given up")
        return super()._connparams(*given, **named)  # type: ignore[no-untyped-call]

    def _brpop_read(self, **options: Any) -> Any:
        read: list[Any] = []
        parse = self.client.parse_response

        def remembering(*given: Any, **named: Any) -> Any:
            read.append(parse(*given, **named))
            return read[-1]

        self.client.parse_response = remembering
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            if not read or not read[-1]:
                raise
            self._keep(read[-1][1], error)
            return True
        finally:
            del self.client.parse_response

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            # A broadcast, which Celery's own tools send; one that means nothing is nobody's loss.
            log.warning("a broadcast means nothing: %s", type(error).__name__)
            raise Empty from error

    def _keep(self, found: object, error: Exception) -> None:
        reason = str(error) if isinstance(error, _NotAMessage) else type(error).__name__
        log.error("something in the queue is no message (%s); it is kept in the list %s", reason, REFUSED)
        with self.conn_or_acquire() as client:
            client.rpush(REFUSED, refused_document(found, reason))


class Transport(redis.Transport):
    """Hands on messages of this program only; broadcasts pass as they are."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        ours = queue in QUEUES.values()
        super()._deliver(_fresh(message, queue) if ours else message, queue)  # type: ignore[no-untyped-call]


def use_for_redis() -> None:
    """Let kombu take this transport for every Redis address; an address with a socket allows no other way to name one."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def _fresh(message: Any, queue: str) -> dict[str, Any]:
    """A message of the parts that ours have, all of the right kind; nothing else that was in it reaches Celery."""
    headers, properties = _part(message, "headers"), _part(message, "properties")
    task, number = headers.get("task"), headers.get("id")
    if task not in (TASK_NAME, TICK_NAME) or not isinstance(number, str):
        raise _NotAMessage("it is no task of this program")
    tag = properties.get("delivery_tag")
    if not isinstance(tag, str) or properties.get("body_encoding") != "base64":
        raise _NotAMessage("it was not sent by Celery")
    _check_body(message.get("body"), task)
    expires = headers.get("expires")
    if expires is not None:
        datetime.fromisoformat(str(expires))
    return {
        "body": message["body"],
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": number,
            "root_id": number,
            "retries": 0,
            "timelimit": [None, None],
            "expires": expires,
            "ignore_result": True,
        },
        "properties": {
            "correlation_id": number,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": queue},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": tag,
        },
    }


def _part(message: Any, name: str) -> Mapping[str, Any]:
    part = message.get(name) if isinstance(message, Mapping) else None
    if not isinstance(part, Mapping):
        raise _NotAMessage(f"it has no {name}")
    return part


def _check_body(body: object, task: str) -> None:
    """The arguments of a call: one document for a chunk (which the task judges), none for a tick."""
    try:
        call = json.loads(base64.b64decode(body, validate=True)) if isinstance(body, str) else None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _NotAMessage("its body is not base64") from error
    if not isinstance(call, list) or len(call) != 3 or call[1] != {} or not isinstance(call[2], Mapping):
        raise _NotAMessage("its body is no call")
    arguments = call[0]
    fits = isinstance(arguments, list) and (
        not arguments if task == TICK_NAME else len(arguments) == 1 and isinstance(arguments[0], Mapping)
    )
    if not fits:
        raise _NotAMessage("its arguments are not those of the task")
