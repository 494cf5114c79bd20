"""A Redis transport for kombu that moves invalid messages to the dead-letter list.

With kombu's own transport, bytes or headers in a queue that Celery did not write end the worker, and are lost. This one
parses a message strictly and passes a new one to Celery, built from the parsed parts.
"""

import base64
import binascii
import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from queue import Empty
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from worker.celery_config import QUEUES, TICK_QUEUE
from worker.dead_letters import DEAD_LETTERS, store_dead_letter
from worker.messages import TASK_NAME, TICK_NAME
from worker.redis_sockets import OwnServer

log = logging.getLogger(__name__)


class _InvalidMessage(ValueError):
    """The message was not sent by Celery, or its task is unknown."""


class QoS(redis.QoS):
    """Counts a message as ended even if Redis cannot be told.

    kombu's own keeps counting it as unacknowledged, for ever: with a prefetch of one message per thread, two of them stop
    the worker. The message stays in Redis and is delivered again; its chunk is done by then, and nothing happens.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        with self._ending(delivery_tag):
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message."""
        with self._ending(delivery_tag):
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    @contextmanager
    def _ending(self, delivery_tag: str) -> Iterator[None]:
        try:
            yield
        except Transport.connection_errors as error:
            self._quick_ack(delivery_tag)
            # The monitor logs the outage. Raised, the error would be logged by Celery with a traceback for each message.
            log.info("Redis could not be told that a message has ended: %s", error)


class Channel(redis.Channel):
    """A channel that survives invalid messages and the loss of its connection."""

    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> Any:
        """The connection parameters. Late acknowledgements and closing need them, even after the connection is closed.

        kombu handles a ConnectionError; the error that it would raise itself ends the worker.
        """
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the channel's connection to Redis is closed")
        parameters = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        if asynchronous:
            # The event loop reads from these connections. With a retry, redis-py connects again in the middle of a read,
            # without the subscriptions, and the loop waits for ever. Without one, kombu connects and subscribes again.
            parameters["retry_on_timeout"] = False
        if issubclass(parameters["connection_class"], UnixDomainSocketConnection):
            parameters["connection_class"] = type(
                "SocketConnection", (OwnServer, parameters["connection_class"]), {}
            )
        return parameters

    def _brpop_read(self, **options: Any) -> Any:
        responses: list[Any] = []
        parse = self.client.parse_response

        def recording_parse(*args: Any, **kwargs: Any) -> Any:
            responses.append(parse(*args, **kwargs))
            return responses[-1]

        self.client.parse_response = recording_parse
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            if not responses or not responses[-1]:
                raise
            self._move_to_dead_letters(responses[-1][1], error)
            return True
        finally:
            del self.client.parse_response

    def _receive_one(self, client: Any) -> Any:
        try:
            return super()._receive_one(client)  # type: ignore[no-untyped-call]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            # A broadcast of Celery's remote control. An invalid one can be ignored.
            log.warning("Ignored an invalid broadcast: %s", type(error).__name__)
            raise Empty from error

    def _move_to_dead_letters(self, body: object, error: Exception) -> None:
        reason = str(error) if isinstance(error, _InvalidMessage) else type(error).__name__
        log.error("Moved an invalid message (%s) to the list %s", reason, DEAD_LETTERS)
        with self.conn_or_acquire() as client:
            store_dead_letter(client, body, reason)


class Transport(redis.Transport):
    """Delivers validated messages from the queues of this program, and broadcasts unchanged."""

    Channel = Channel
    # Redis refuses commands while it is full, a read-only replica, or lacks replicas. Celery ends the worker after other
    # errors, and waits after these.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)

    def _deliver(self, message: Any, queue: str) -> None:
        ours = queue in (TICK_QUEUE, *QUEUES.values())
        super()._deliver(_validated(message, queue) if ours else message, queue)  # type: ignore[no-untyped-call]


def use_for_redis() -> None:
    """Make kombu use this transport for every Redis address. An address with a socket cannot name a transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def _validated(message: Any, queue: str) -> dict[str, Any]:
    """A new message with the checked parts only; nothing else of the original reaches Celery."""
    headers, properties = _part(message, "headers"), _part(message, "properties")
    task, number = headers.get("task"), headers.get("id")
    if task not in (TASK_NAME, TICK_NAME) or not isinstance(number, str):
        raise _InvalidMessage("its task is unknown")
    tag = properties.get("delivery_tag")
    if not isinstance(tag, str) or properties.get("body_encoding") != "base64":
        raise _InvalidMessage("it was not sent by Celery")
    _check_body(message.get("body"), task)
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
        raise _InvalidMessage(f"it has no {name}")
    return part


def _check_body(body: object, task: str) -> None:
    """Check the arguments of the task: one document for a chunk, which the task validates, none for a tick."""
    try:
        call = json.loads(base64.b64decode(body, validate=True)) if isinstance(body, str) else None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _InvalidMessage("its body is not base64") from error
    if not isinstance(call, list) or len(call) != 3 or call[1] != {} or not isinstance(call[2], Mapping):
        raise _InvalidMessage("its body is not a call")
    arguments = call[0]
    valid = isinstance(arguments, list) and (
        not arguments if task == TICK_NAME else len(arguments) == 1 and isinstance(arguments[0], Mapping)
    )
    if not valid:
        raise _InvalidMessage("its arguments are not those of the task")
