"""A Redis transport for kombu that drops invalid messages.

With kombu's own transport, bytes or headers in a queue that Celery did not write end the worker, and are lost. This one
parses a message strictly and passes a new one to Celery, built from the parsed parts: whoever writes to Redis can send
chunks and ticks, but no callbacks, options or other tasks.
"""

import base64
import binascii
import json
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from kombu.transport import TRANSPORT_ALIASES, redis
from redis import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from worker.messages import INVALID_MESSAGES, TASK_NAME, TICK_NAME
from worker.redis_keys import RedisKeys
from worker.redis_sockets import OwnServer

log = logging.getLogger(__name__)

MAX_MESSAGE_BYTES = 16 * 2**10
"""Messages of this program have about 600 bytes."""


_ID = re.compile(r"[\w -]{1,100}", re.ASCII)
"""The id of a message. Celery writes it to the log."""
_CALLBACKS = ("callbacks", "errbacks", "chain", "chord")
"""What Celery runs after a task. Messages of this program have none."""


class _InvalidMessage(ValueError):
    """The message was not sent by Celery, or its task is unknown."""


class QoS(redis.QoS):
    """Counts a message as ended even if the acknowledgement does not reach Redis. kombu's own class would count it as unacknowledged for
    ever: with a prefetch of one message per thread, two such messages stop the worker. The message stays in Redis and is delivered again; its chunk is done by then, and nothing happens.
    """

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge a message."""
        with self._ending(delivery_tag):
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        """Reject a message."""
        with self._ending(delivery_tag):
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    def restore_by_tag(self, tag: Any, client: Any = None, leftmost: bool = False) -> None:
        """Return an unacknowledged message to its queue. An entry that is not a message is deleted: kombu would try it for ever."""

        def restore(pipe: Any) -> None:
            is_small = pipe.hstrlen(self.unacked_key, tag) <= 2 * MAX_MESSAGE_BYTES
            stored = pipe.hget(self.unacked_key, tag) if is_small else None
            pipe.multi()
            self._remove_from_indices(tag, pipe)  # type: ignore[no-untyped-call]
            if (restored := _stored_message(stored, self.channel.ledger_keys)) is not None:
                queue, message = restored
                (pipe.lpush if leftmost else pipe.rpush)(queue, message)

        with self.channel.conn_or_acquire(client) as acquired:
            acquired.transaction(restore, self.unacked_key)

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
    ledger_keys: RedisKeys
    from_transport_options = (  # type: ignore[assignment]
        *redis.Channel.from_transport_options,
        "keyprefix_queue",
        "keyprefix_binding_deadlines",
        "keyprefix_binding_permanent",
        "ledger_keys",
    )

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

        def parse_and_validate(*args: Any, **kwargs: Any) -> Any:
            responses.append(parse(*args, **kwargs))
            if not responses[-1]:
                return responses[-1]
            queue, message = responses[-1]
            if len(message) > MAX_MESSAGE_BYTES:
                raise _InvalidMessage("it is too large")
            # kombu's parser makes other types of some documents, with any error of these types.
            return queue, json.dumps(_validated(json.loads(message), queue.decode()))

        self.client.parse_response = parse_and_validate
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            if not responses or not responses[-1]:
                raise
            INVALID_MESSAGES.report(
                str(error) if isinstance(error, _InvalidMessage) else type(error).__name__
            )
            return True
        finally:
            del self.client.parse_response


class Transport(redis.Transport):
    """Delivers only validated messages."""

    Channel = Channel
    # Redis refuses commands while it is full, a read-only replica, or lacks replicas. Celery ends the worker after other
    # errors, and waits after these.
    connection_errors = (*redis.Transport.connection_errors, ResponseError)


def use_for_redis() -> None:
    """Make kombu use this transport for every Redis address. An address with a socket cannot name a transport."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def _validated(message: Any, queue: str) -> dict[str, Any]:
    """A new message with the checked parts only; nothing else of the original reaches Celery."""
    headers, properties = _part(message, "headers"), _part(message, "properties")
    task, number = headers.get("task"), headers.get("id")
    if task not in (TASK_NAME, TICK_NAME) or not isinstance(number, str) or not _ID.fullmatch(number):
        raise _InvalidMessage("its task is unknown")
    if properties.get("body_encoding") != "base64":
        raise _InvalidMessage("it was not sent by Celery")
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
        raise _InvalidMessage(f"it has no {name}")
    return part


def _arguments(body: object, task: str) -> list[Any]:
    """The arguments of the task: one flat document for a chunk, which the task validates, none for a tick."""
    try:
        call = json.loads(base64.b64decode(body, validate=True)) if isinstance(body, str) else None
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _InvalidMessage("its body is not base64") from error
    if not isinstance(call, list) or len(call) != 3 or call[1] != {} or not isinstance(call[2], Mapping):
        raise _InvalidMessage("its body is not a call")
    arguments, _, callbacks = call
    if any(callbacks.values()):
        raise _InvalidMessage("it has callbacks")
    if not isinstance(arguments, list) or len(arguments) != (task == TASK_NAME):
        raise _InvalidMessage("its arguments are not those of the task")
    if not all(isinstance(argument, Mapping) and _is_flat(argument) for argument in arguments):
        raise _InvalidMessage("its arguments are not those of the task")
    return arguments


def _is_flat(document: Mapping[str, Any]) -> bool:
    # Celery parses the arguments with kombu's parser.
    return "__type__" not in document and not any(
        isinstance(value, list | Mapping) for value in document.values()
    )


def _stored_message(stored: bytes | None, keys: RedisKeys) -> tuple[str, str] | None:
    """The queue and the text of a message that kombu has stored as unacknowledged. None if it is something else."""
    try:
        message, _, queue = json.loads(stored or b"null")
        text = json.dumps(message)
    except (ValueError, TypeError, RecursionError):
        return None
    return (queue, text) if queue in keys.message_queues else None
