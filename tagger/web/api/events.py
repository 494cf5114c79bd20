"""Server-sent events about jobs for the page.

One poller serves all listeners. Every event holds the whole state, so a listener that connects or reconnects
is up to date at once, and a slow one misses only outdated states.
"""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.settings import Settings
from tagger.texts.documents import json_bytes
from tagger.texts.text_format import in_language, reader_language
from tagger.web.api.jobs import JOBS_SHOWN, OverviewDocument, read_status
from tagger.web.api.routes import api_router
from tagger.web.http.access import Role, requires

log = logging.getLogger(__name__)

MAX_LISTENERS = 64
POLL_S = 1.0
# A comment is sent at this interval, so that proxies keep the connection open.
HEARTBEAT_S = 15.0
# How often the poller checks whether the server stops.
STOP_CHECK_S = 0.1
RETRY_MS = 2000

router = api_router("jobs")


class EventHub:
    """Polls once a second while there are listeners. All of it runs in the server's event loop.

    `document` makes the JSON of a status.
    """

    def __init__(
        self,
        settings: Settings,
        database: Database,
        stopping: threading.Event,
        document: Callable[[OverviewDocument], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self._document = document
        self._event_number = 0
        self._latest: str | None = None
        self._status: OverviewDocument | None = None
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self.listeners = 0

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the state, then each change of it, until the server stops, to one of the `listeners`."""
        if self._poller is None or self._poller.done():
            self._latest = None  # left from earlier listeners
            self._poller = asyncio.create_task(self._poll_while_listening())
        yield f"retry: {RETRY_MS}\n\n".encode()
        sent_number, sent_at_s = 0, time.monotonic()
        while not (self._stopping.is_set() or self._poller.done()):
            changed = self._changed
            if self._latest is not None and sent_number != self._event_number:
                sent_number, sent_at_s = self._event_number, time.monotonic()
                # The texts are in the language of the listener's request.
                data = self._latest
                if reader_language() and self._status:
                    data = await run_sync(self._json, self._status)
                yield f"event: state\ndata: {data}\n\n".encode()
                continue
            if time.monotonic() - sent_at_s >= HEARTBEAT_S:
                sent_at_s = time.monotonic()
                yield b": heartbeat\n\n"
            with suppress(TimeoutError):
                await asyncio.wait_for(changed.wait(), HEARTBEAT_S)

    async def _poll_while_listening(self) -> None:
        while self.listeners and not self._stopping.is_set():
            await self._poll()
            due_s = time.monotonic() + POLL_S
            is_stopping = self._stopping.is_set  # by another thread
            while self.listeners and time.monotonic() < due_s and not is_stopping():  # noqa: ASYNC110
                await asyncio.sleep(STOP_CHECK_S)
        self._notify()

    async def _poll(self) -> None:
        try:
            status = await run_sync(read_status, self._settings, self._database, JOBS_SHOWN)
        except DatabaseError as error:
            log.warning("cannot read the state of jobs: %s", type(error).__name__)
            return
        with in_language(None):
            state = await run_sync(self._json, status)  # may wait for a count
        if state != self._latest:
            self._latest, self._status = state, status
            self._event_number += 1
            self._notify()

    def _json(self, status: OverviewDocument) -> str:
        return json_bytes(self._document(status)).decode()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def event_listener(request: Request) -> AsyncIterator[EventHub]:
    """Yield the hub with one more listener, until the response ends; a FastAPI dependency.

    Raises:
        HTTPException: there are too many listeners.
    """
    hub: EventHub = request.app.state.event_hub
    if hub.listeners >= MAX_LISTENERS:
        text = (
            f"{MAX_LISTENERS} pages already follow the jobs. Close some of them, or poll /api/status instead."
        )
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
    hub.listeners += 1  # before anything is sent, so that simultaneous requests are all counted
    try:
        yield hub
    finally:
        hub.listeners -= 1


@router.get("/events", response_class=StreamingResponse)
@requires(Role.VIEWER)
async def events(hub: Annotated[EventHub, Depends(event_listener)]) -> StreamingResponse:
    """Stream jobs, workers and queues as server-sent events: the state at once, then each change."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(hub.events(), media_type="text/event-stream", headers=headers)
