"""The limit of requests that count or group many photos, such as those of filters and of the map.

It lets others be answered meanwhile.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
from anyio import CapacityLimiter
from fastapi import Depends, HTTPException, Request

from tagger.texts.text_format import gettext

# Requests that count photos at a time. The server has 40 threads and 32 connections to its
# database.
COUNTING_AT_ONCE = 4
# As many as a browser sends at once through a proxy with HTTP/2, for a grid. They hold no thread.
MOST_WAITING = 128
RETRY_AFTER_S = 5
GONE_CHECK_S = 0.5
# The status of nginx for a client that has closed the connection: nobody reads it.
CLIENT_GONE = 499


class CountLimiter:
    """Lets requests in, in order."""

    def __init__(self, at_once: int = COUNTING_AT_ONCE, most_waiting: int = MOST_WAITING) -> None:
        self._most_waiting = most_waiting
        self._limiter = CapacityLimiter(at_once)

    @asynccontextmanager
    async def slot(self, request: Request) -> AsyncIterator[None]:
        """Wait until fewer requests are being answered. A client that disconnects leaves the queue.

        Raises:
            HTTPException: too many wait already, or the client has gone.
        """
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            text = gettext("Too many requests count photos now. Try again in some seconds.")
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, headers)
        borrower, is_acquired = object(), False

        async def watch() -> None:
            while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(GONE_CHECK_S)
            waiting.cancel_scope.cancel()

        async with anyio.create_task_group() as waiting:
            waiting.start_soon(watch)
            await self._limiter.acquire_on_behalf_of(borrower)
            is_acquired = True
            waiting.cancel_scope.cancel()
        if not is_acquired:
            raise HTTPException(CLIENT_GONE)
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(borrower)


async def _counting_slot(request: Request) -> AsyncIterator[None]:
    limiter: CountLimiter = request.app.state.count_limiter
    async with limiter.slot(request):
        yield


# For the `dependencies` of a route that counts or groups photos.
COUNTING = Depends(_counting_slot, scope="function")
