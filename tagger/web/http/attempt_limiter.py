"""Limits of wrong tokens, and of requests that count many photos.

Requests of filters and of the map, for example, count or group many photos. Their limit lets others be
answered meanwhile.
"""

import threading
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
from anyio import CapacityLimiter
from fastapi import Depends, HTTPException, Request

from tagger.errors import PicklableError
from tagger.texts.text_format import N_, gettext

MAX_ATTEMPTS = 5
"""Wrong tokens from one address within `ATTEMPT_WINDOW_S`; further attempts are refused for that time."""
ATTEMPT_WINDOW_S = 60
MAX_KEYS = 10_000


class TooManyAttempts(PicklableError):
    """A client has used up its attempts. `text`: what to do."""

    text = N_("Too many wrong tokens came from this address. Try again in a minute.")
    retry_after_s = ATTEMPT_WINDOW_S

    def __init__(self) -> None:
        super().__init__(gettext(self.text))


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
        self._lock = threading.RLock()
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

    def check_and_record(self, key: str) -> None:
        """Check and count an attempt in one step: others may have been counted since it was checked.

        Raises:
            TooManyAttempts: the key has used up its attempts; this one is not counted.
        """
        with self._lock:
            self.check(key)
            self.record(key)


COUNTING_AT_ONCE = 4
"""Requests that count photos at a time. The server has 40 threads and 32 connections to its database."""
MOST_WAITING = 128
"""As many as a browser sends at once through a proxy with HTTP/2, for a grid. They hold no thread."""
RETRY_AFTER_S = 5
GONE_CHECK_S = 0.5
TOO_MANY_COUNTS = N_("Too many requests count photos now. Try again in some seconds.")
CLIENT_GONE = 499
"""The status of nginx for a client that has closed the connection: nobody reads it."""


class RequestLimiter:
    """Lets requests in, in order. `text`: the answer if too many wait."""

    def __init__(self, text: str, *, at_once: int, waiting: int = MOST_WAITING) -> None:
        self._text = text
        self._most_waiting = waiting
        self._limiter = CapacityLimiter(at_once)

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return self._limiter.statistics().tasks_waiting

    @asynccontextmanager
    async def slot(self, request: Request) -> AsyncIterator[None]:
        """Wait until fewer requests are being answered.

        Raises:
            HTTPException: too many wait already, or the client has gone.
        """
        if self.waiting >= self._most_waiting:
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, gettext(self._text), headers)
        async with _while_connected(request, self._limiter):
            yield


@asynccontextmanager
async def _while_connected(request: Request, limiter: CapacityLimiter) -> AsyncIterator[None]:
    """Hold one place of the limiter. A client that disconnects while it waits leaves the queue."""
    borrower, is_acquired = object(), False

    async def watch() -> None:
        while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event for it
            await anyio.sleep(GONE_CHECK_S)
        waiting.cancel_scope.cancel()

    async with anyio.create_task_group() as waiting:
        waiting.start_soon(watch)
        await limiter.acquire_on_behalf_of(borrower)
        is_acquired = True
        waiting.cancel_scope.cancel()
    if not is_acquired:
        raise HTTPException(CLIENT_GONE)
    try:
        yield
    finally:
        limiter.release_on_behalf_of(borrower)


async def _counting_slot(request: Request) -> AsyncIterator[None]:
    limiter: RequestLimiter = request.app.state.count_limiter
    async with limiter.slot(request):
        yield


COUNTING = Depends(_counting_slot, scope="function")
"""For the `dependencies` of a route that counts or groups photos."""
