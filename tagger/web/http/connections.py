"""Connections of the server: their number and the time to send a request head are limited.

At the limit, the connection that has been idle longest is closed. A connection with a request in progress, such as an
upload or an event stream, is never closed.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
HEAD_TIMEOUT_S = 20.0
"""How long a request's head may take to arrive, from its first byte or from when the connection was made."""
MIN_OPEN_FILES = 4096
"""The open-file limit that is requested from the system if its own is lower."""


class Connection(H11Protocol):
    """A connection of a server with a `limit_concurrency`."""

    idle_since = 0.0
    _head_timeout: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._close_idle_at_limit()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_head_timeout()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_sending(self) -> bool:
        """Whether the end of a response is still in the write buffer."""
        return self.transport.get_write_buffer_size() > 0

    def _close_idle_at_limit(self) -> None:
        if self.limit_concurrency is None or len(self.connections) < self.limit_concurrency:
            return
        idle = [item for item in self.connections if isinstance(item, Connection) and item.is_idle]
        oldest = min(idle, key=lambda item: (item is self, item.is_sending, item.idle_since))
        self.connections.discard(oldest)  # at once: many connections may be made before the loop closes it
        oldest.transport.abort()

    def _watch_head(self) -> None:
        """Start the timeout once per request; further data does not extend it."""
        if not self.is_idle:
            self._cancel_head_timeout()
        elif self._head_timeout is None:
            self._head_timeout = self.loop.call_later(HEAD_TIMEOUT_S, self.transport.abort)

    def _cancel_head_timeout(self) -> None:
        if self._head_timeout is not None:
            self._head_timeout.cancel()
            self._head_timeout = None


def connection_limit() -> int:
    """Return how many connections the open-file limit allows. Half of the files are for photos, the database and libraries."""
    files = _raise_file_limit()
    return MAX_CONNECTIONS if files is None else min(MAX_CONNECTIONS, files // 2)


def _raise_file_limit() -> int | None:
    """Raise the open-file limit if it is low; returns the limit, or None if there is none."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    minimum = MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MIN_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < minimum:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (minimum, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
