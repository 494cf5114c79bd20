"""What kombu's Redis transport gets wrong for this program, with the fault of each part in kombu 5.7."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis import UnixDomainSocketConnection
from redis.exceptions import ResponseError

from worker.broker import (
    MAX_MESSAGE_BYTES,
    report_dropped,
    validated_message,
)
from worker.embedded_redis import OwnServer

log = logging.getLogger(__name__)


class QoS(redis.QoS):
    """Fault: a message whose acknowledgement is lost counts for ever, and two such stop the worker.

    Here it counts as ended: delivered again, it finds its chunk done.
    """

    def ack(self, delivery_tag: str) -> None:
        with self._ending(delivery_tag):
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        with self._ending(delivery_tag):
            super().reject(delivery_tag, requeue)  # type: ignore[no-untyped-call]

    @contextmanager
    def _ending(self, delivery_tag: str) -> Iterator[None]:
        try:
            yield
        except Transport.connection_errors as error:
            self._quick_ack(delivery_tag)
            # The monitor logs the outage. Raised, the error would be logged by Celery with a traceback for
            # each message.
            log.info("Redis could not be told that a message has ended: %s", error)


class Channel(redis.Channel):
    """A channel that survives invalid messages, and trusts sockets of this user's servers only."""

    QoS = QoS
    from_transport_options = (  # type: ignore[assignment]
        *redis.Channel.from_transport_options,
        "keyprefix_queue",
        "keyprefix_binding_deadlines",
        "keyprefix_binding_permanent",
    )

    def _connparams(self, asynchronous: bool = False) -> Any:
        # Fault: a late acknowledgement on a closed channel gets an AttributeError, which nobody expects.
        if self.connection is None or self.connection.client is None:
            raise ConnectionError("the channel's connection to Redis is closed")
        parameters = super()._connparams(asynchronous)  # type: ignore[no-untyped-call]
        if issubclass(parameters["connection_class"], UnixDomainSocketConnection):
            connection = type("SocketConnection", (OwnServer, parameters["connection_class"]), {})
            parameters["connection_class"] = connection
        return parameters

    def _brpop_read(self, **options: Any) -> Any:
        # Fault: what others write into a queue ends the worker, or names callbacks and other tasks.
        responses: list[Any] = []
        parse = self.client.parse_response

        def parse_and_validate(*args: Any, **kwargs: Any) -> Any:
            responses.append(parse(*args, **kwargs))
            if not responses[-1]:
                return responses[-1]
            queue, message = responses[-1]
            if len(message) > MAX_MESSAGE_BYTES:
                raise ValueError("it is too large")
            # kombu's parser makes other types of some documents, with any error of these types.
            return queue, json.dumps(validated_message(json.loads(message), queue.decode()))

        self.client.parse_response = parse_and_validate
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, RecursionError) as error:
            if not responses or not responses[-1]:
                raise
            report_dropped(str(error) or type(error).__name__)
            return True
        finally:
            del self.client.parse_response


class Transport(redis.Transport):
    """Fault: a Redis that refuses commands ends the worker: Celery waits after connection errors only."""

    Channel = Channel
    connection_errors = (*redis.Transport.connection_errors, ResponseError)


def use_for_redis() -> None:
    """Make kombu use this transport for every Redis address, also that of a socket."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
