"""Attempts in this process, counted by client address, token or person; and the visitors who have the link of a share.

Visitors need no sign-in, and see the addresses of shares alone. Only some of their requests are answered at once: the rest of the
server's threads and connections are for signed-in people.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import CapacityLimiter

from tagger.people.grants import Grant, Role

MAX_ATTEMPTS = 5
"""Wrong tokens from one address within `ATTEMPT_WINDOW_S`; further attempts are refused for that time."""
ATTEMPT_WINDOW_S = 60
MAX_KEYS = 10_000


class TooManyAttempts(Exception):
    """Too many wrong tokens came from this address. Try again in a minute."""

    retry_after_s = ATTEMPT_WINDOW_S

    def __init__(self) -> None:
        super().__init__(self.__doc__)


class AttemptLimiter:
    """Counts attempts by key within a time, such as wrong tokens by client address.

    `error` is raised if a key has used up its `most` attempts.
    """

    def __init__(
        self,
        most: int = MAX_ATTEMPTS,
        window_s: float = ATTEMPT_WINDOW_S,
        error: type[TooManyAttempts] = TooManyAttempts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._window_s = window_s
        self._error = error
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, key: str) -> None:
        """Raises:
        TooManyAttempts: the key has used up its attempts.
        """
        with self._lock:
            times = self._times.get(key, deque())
            while times and times[0] < self._clock() - self._window_s:
                times.popleft()
            if len(times) >= self._most:
                raise self._error

    def record(self, key: str) -> None:
        """Count an attempt."""
        with self._lock:
            self._times.setdefault(key, deque(maxlen=self._most)).append(self._clock())
            self._times.move_to_end(key)
            while len(self._times) > MAX_KEYS:
                self._times.popitem(last=False)


LINKS = "/s/"
"""The address of each link is below it. It sets a cookie, and leads to the share."""
SHARES = "/shared/"
"""All that visitors see is below it."""
VISITOR = Grant("visitor", Role.VIEWER)


def is_for_visitors(path: str) -> bool:
    """Return whether the path is that of a link or a share, which decide themselves who sees what."""
    return path.startswith((LINKS, SHARES))


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
