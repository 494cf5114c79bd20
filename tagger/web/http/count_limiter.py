"""Limits requests that count or group many photos, such as those of filters and of the map, so that others are answered meanwhile."""

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
from anyio import CapacityLimiter
from fastapi import Depends, HTTPException, Request

OF_ONE = 2
"""Of one person, token or network at a time."""
OF_ALL = 8
"""Of the 40 threads of the server and the 32 connections to its database."""
WAITING_OF_ONE = 64
"""As many as a browser sends at once, twice. They hold no thread."""
RETRY_AFTER_S = 5
MOST_KEYS = 1000
GONE_CHECK_S = 0.5
TOO_MANY = "You have too many requests that count photos. Try again in some seconds."
CLIENT_GONE = 499
"""Nobody reads it. It is the status of nginx for a client that has closed the connection."""


class CountLimiter:
    """Lets the requests of each key in, in the order in which they came. Created once per server."""

    def __init__(self, of_one: int = OF_ONE, of_all: int = OF_ALL, waiting: int = WAITING_OF_ONE) -> None:
        self._of_one = of_one
        self._most_waiting = waiting
        self._all = CapacityLimiter(of_all)
        self._by_key: OrderedDict[str, CapacityLimiter] = OrderedDict()

    @asynccontextmanager
    async def turn(self, request: Request, key: str) -> AsyncIterator[None]:
        """Wait until fewer requests of the key, and of all, are being answered.

        Raises:
            HTTPException: too many of the key wait already, or the client has gone.
        """
        own = self._limiter(key)
        if own.statistics().tasks_waiting >= self._most_waiting:
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY, headers)
        async with _while_connected(request, own), _while_connected(request, self._all):
            yield

    def _limiter(self, key: str) -> CapacityLimiter:
        own = self._by_key.setdefault(key, CapacityLimiter(self._of_one))
        self._by_key.move_to_end(key)
        while len(self._by_key) > MOST_KEYS:
            self._by_key.popitem(last=False)
        return own


@asynccontextmanager
async def _while_connected(request: Request, limiter: CapacityLimiter) -> AsyncIterator[None]:
    """Hold one place of the limiter. A client that goes while it waits for it frees its place in the queue."""
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


async def _turn(request: Request) -> AsyncIterator[None]:
    limiter: CountLimiter = request.app.state.count_limiter
    actor, client = request.state.actor, request.state.client
    async with limiter.turn(request, f"{actor.name} {client.network if actor.name == 'web' else ''}"):
        yield


COUNTING = Depends(_turn, scope="function")
"""For the `dependencies` of a route that counts or groups photos."""
