"""kombu's Redis transport, for queues that others may have written to: what is no message of ours is kept aside.

With kombu's own, bytes in a queue that are not a Celery message end the worker, and are gone.
"""

import logging
from collections.abc import Mapping
from json import JSONDecodeError
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis

from worker.broker import refused_document
from worker.celery_settings import REFUSED
from worker.messages import TASK_NAME, TICK_NAME

log = logging.getLogger(__name__)


class _NotAMessage(Exception):
    """What came out of a queue was not sent by Celery, or is no task that workers here have."""

    def __init__(self, found: object) -> None:
        super().__init__("it is no message of this program")
        self.found = found


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
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (JSONDecodeError, UnicodeDecodeError, _NotAMessage) as error:
            self._keep(_what_was_read(error), str(error))
            return True

    def _keep(self, found: object, reason: str) -> None:
        log.error("something in the queue is no message (%s); it is kept in the list %s", reason, REFUSED)
        with self.conn_or_acquire() as client:
            client.rpush(REFUSED, refused_document(found, reason))


class Transport(redis.Transport):
    """Hands on messages of this program only."""

    Channel = Channel

    def _deliver(self, message: Any, queue: str) -> None:
        if not _is_ours(message):
            raise _NotAMessage(message)
        super()._deliver(message, queue)  # type: ignore[no-untyped-call]


def use_for_redis() -> None:
    """Let kombu take this transport for every Redis address; an address with a socket allows no other way to name one."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def _is_ours(message: Any) -> bool:
    """Whether Celery can make a call of our task of it."""
    if not isinstance(message, Mapping) or not isinstance(message.get("body"), str):
        return False
    headers, properties = message.get("headers"), message.get("properties")
    return (
        message.get("content-type") == "application/json"
        and isinstance(headers, Mapping)
        and headers.get("task") in {TASK_NAME, TICK_NAME}
        and "id" in headers
        and isinstance(properties, Mapping)
        and {"delivery_tag", "delivery_info", "body_encoding"} <= properties.keys()
    )


def _what_was_read(error: Exception) -> object:
    match error:
        case JSONDecodeError():
            return error.doc
        case UnicodeDecodeError():
            return error.object
        case _NotAMessage():
            return error.found
    raise TypeError(error)
