"""Connections of the server: their number, the time for a request's head and for each block of a response.

At a limit, the connection that has waited longest for its client is closed: an idle one, or one of a client
without access whose request or response is not complete. Connections with access and a request in progress,
such as an upload or an event stream, are kept. If there are only such, new connections are answered with 503.

Unauthenticated clients can cause log lines about invalid requests, so their number is limited.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any, ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts
from tagger.web.http.auth import MAX_RECORDED, RECORDED_WINDOW_S, AccessPolicy
from tagger.web.http.forwarded import peer_network
from tagger.web.http.request_guard import HAS_ACCESS, IS_REFUSED
from tagger.web.http.uploads import ClientLimits

log = logging.getLogger(__name__)

UNSENT_BYTES = 2**16
"""How much of a response the system buffers; its own choice can be megabytes per connection."""
MAX_PIPELINED_BYTES = 2**16
"""How much of later requests a client may send before the response."""


def connection_type(limits: ClientLimits, policy: AccessPolicy) -> type[Connection]:
    """Return the protocol class of a server; uvicorn creates the connections."""
    logged = AttemptLimiter(MAX_RECORDED, RECORDED_WINDOW_S)
    return type("LimitedConnection", (Connection,), {"limits": limits, "policy": policy, "logged": logged})


class Connection(H11Protocol):
    """A connection of a server with limits."""

    limits: ClassVar[ClientLimits]
    policy: ClassVar[AccessPolicy]
    logged: ClassVar[AttemptLimiter]

    peer_network: str | None = None
    """The client that the connection counts for; None for a trusted proxy, which has many."""
    waiting_since = 0.0
    """When it was made, or its last response was complete."""
    is_refused = False
    _head_timeout: asyncio.TimerHandle | None = None
    _write_timeout: asyncio.TimerHandle | None = None

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _ClientLog(self.logger, self)  # type: ignore[assignment]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Without a buffer of its own, the transport pauses whenever the system accepts no more.
        transport.set_write_buffer_limits(high=0)
        _limit_unsent_bytes(transport)
        peer = self.client[0] if self.client else ""
        self.peer_network = peer_network(peer, self.policy.trusted_proxies)
        self.waiting_since = self.loop.time()
        self._make_room()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.DONE and len(self.conn.trailing_data[0]) > MAX_PIPELINED_BYTES:
            self.transport.abort()
        self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timeout = self.loop.call_later(self.limits.write_s, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._cancel_write_timeout()

    def on_response_complete(self) -> None:
        self.waiting_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timeout()
        self._cancel_write_timeout()
        super().connection_lost(exc)

    def _unsupported_upgrade_warning(self) -> None:
        self.logger.warning("It asks for another protocol, and is answered in HTTP.")

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_kept(self) -> bool:
        """Whether it is never closed to make room for others."""
        if self.cycle is None or HAS_ACCESS not in self.scope["state"]:
            return False
        if self.cycle.response_complete:
            return self.flow.write_paused
        # Without a token everybody on this machine has access, so half a request must not keep a connection.
        return self.policy.token is not None or not self.cycle.more_body

    def _make_room(self) -> None:
        others = [each for each in self.connections if isinstance(each, Connection) and each is not self]
        served = [each for each in others if not each.is_refused]
        of_client = [each for each in served if each.peer_network == self.peer_network]
        if self.peer_network is not None and len(of_client) >= self.limits.connections_per_client:
            served = of_client
        elif len(served) < self.limits.connections:
            return
        waiting = [each for each in served if not each.is_kept]
        if not waiting:
            self.is_refused = True
            self.app_state = {**self.app_state, IS_REFUSED: True}
            waiting = [each for each in others if each.is_refused]
            if len(waiting) < self.limits.refused_connections:
                return
        longest = min(waiting, key=lambda each: each.waiting_since)
        self.connections.discard(longest)  # at once: many connections may be made before the loop closes it
        longest.transport.abort()

    def _watch_head(self) -> None:
        """Start the timeout once per request; further data does not extend it."""
        if not self.is_idle:
            self._cancel_head_timeout()
        elif self._head_timeout is None:
            self._head_timeout = self.loop.call_later(self.limits.head_s, self.transport.abort)

    def _cancel_head_timeout(self) -> None:
        if self._head_timeout is not None:
            self._head_timeout.cancel()
            self._head_timeout = None

    def _cancel_write_timeout(self) -> None:
        if self._write_timeout is not None:
            self._write_timeout.cancel()
            self._write_timeout = None


class _ClientLog(logging.LoggerAdapter[logging.Logger]):
    """The log of a connection. Its warnings are about what the client sent."""

    level = logging.WARNING

    def __init__(self, logger: logging.Logger, connection: Connection) -> None:
        super().__init__(logger)
        self._connection = connection

    def warning(self, msg: object, *_arguments: object, **_options: Any) -> None:
        """Log the first ones of an hour, with the client's address."""
        with suppress(TooManyAttempts):
            self._connection.logged.check_and_record("")
            peer = self._connection.client[0] if self._connection.client else "an unknown address"
            log.warning("request from %s: %s", peer, msg)


def _limit_unsent_bytes(transport: asyncio.Transport) -> None:
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
    if option is not None:
        with suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
