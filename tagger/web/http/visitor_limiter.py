"""How many requests of visitors are answered at once: the rest of the server's threads and connections are for signed-in people."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import CapacityLimiter

RUNNING = 6
"""Of the 40 threads of the server and the 32 connections to its database."""
WAITING = 128
"""As many as a browser sends at once through a proxy with HTTP/2, for the photos of a grid. They hold no thread."""
RETRY_AFTER_S = 5


class TooManyVisitors(Exception):
    """Visitors have as many requests as may wait. The client may come back after `RETRY_AFTER_S`."""


class VisitorLimiter:
    """Lets visitors' requests in, in the order in which they came. Created once per server."""

    def __init__(self, running: int = RUNNING, waiting: int = WAITING) -> None:
        self._limiter = CapacityLimiter(running)
        self._most_waiting = waiting

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return self._limiter.statistics().tasks_waiting

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until fewer than `running` requests are being answered.

        Raises:
            TooManyVisitors: `waiting` requests wait already.
        """
        if self.waiting >= self._most_waiting:
            raise TooManyVisitors
        async with self._limiter:
            yield
