"""Connections: how many there may be, and which of them go first. Whoever asks nothing keeps nobody else away.

At the limit, the connection that has been in no request for longest makes room; one amid a request, such as an upload or
live events, is never cut.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_CONNECTIONS = 512
HEAD_S = 20.0
"""How long the head of a request may take to come, from its first byte or from when the connection was made."""
FILES = 4096
"""How many files to ask the system for, where it gives fewer."""


class Connection(H11Protocol):
    """One of a server's, bounded by its `limit_concurrency`."""

    idle_since = 0.0
    _head_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.idle_since = self.loop.time()
        self._make_room()
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def on_response_complete(self) -> None:
        self.idle_since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch_head()
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_unsent(self) -> bool:
        """Whether the end of an answer is still on its way."""
        return self.transport.get_write_buffer_size() > 0

    def _make_room(self) -> None:
        if self.limit_concurrency is None or len(self.connections) < self.limit_concurrency:
            return
        idle = [each for each in self.connections if isinstance(each, Connection) and each.is_idle]
        longest = min(idle, key=lambda each: (each is self, each.is_unsent, each.idle_since))
        self.connections.discard(longest)  # not only when the loop comes to it: many may be made until then
        longest.transport.abort()

    def _watch_head(self) -> None:
        """However slowly it drips: more data does not give it more time."""
        if not self.is_idle:
            self._unwatch_head()
        elif self._head_due is None:
            self._head_due = self.loop.call_later(HEAD_S, self.transport.abort)

    def _unwatch_head(self) -> None:
        if self._head_due is not None:
            self._head_due.cancel()
            self._head_due = None


def most_connections() -> int:
    """How many fit, once the system was asked for more files: half of these are for photos, the database and libraries."""
    files = _files()
    return MOST_CONNECTIONS if files is None else min(MOST_CONNECTIONS, files // 2)


def _files() -> int | None:
    """How many files this process may have open; None: as many as it likes."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if soft == resource.RLIM_INFINITY else soft
