"""How jobs go, told to pages as it happens: server-sent events, one poller for all who listen.

Every event holds the whole state, so whoever comes, or comes back, is right at once, and whoever is slow misses nothing
but what is past.
"""

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database
from tagger.settings import Settings
from tagger.web.pages.job_words import live_document
from tagger.web.status import JOBS_SHOWN, status_of

log = logging.getLogger(__name__)

POLL_S = 1.0
HEARTBEAT_S = 15.0
"""A line now and then, so that what stands between knows that somebody still speaks."""
LOOK_S = 0.1
"""How soon the end of the server is seen."""
RETRY_MS = 2000


class Hub:
    """Looks once a second while somebody listens; all of it runs in the server's event loop."""

    def __init__(self, settings: Settings, database: Database, stopping: threading.Event) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self._start = secrets.token_hex(4)
        self._number = 0
        self._latest: str | None = None
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self.listeners = 0
        self.looks = 0

    @contextmanager
    def counted(self) -> Iterator[None]:
        """One listener more meanwhile; known before anything is sent, so that many who come at once are all counted."""
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1

    async def listen(self) -> AsyncIterator[bytes]:
        """The state, then each change of it, until the server ends. To be `counted` meanwhile."""
        if self._poller is None or self._poller.done():
            self._latest = None  # from when somebody last listened
            self._poller = asyncio.create_task(self._poll())
        yield f"retry: {RETRY_MS}\n\n".encode()
        seen, spoken = 0, time.monotonic()
        while not (self._stopping.is_set() or self._poller.done()):
            changed = self._changed
            if self._latest is not None and seen != self._number:
                seen, spoken = self._number, time.monotonic()
                yield self._event()
                continue
            if time.monotonic() - spoken >= HEARTBEAT_S:
                spoken = time.monotonic()
                yield b": still here\n\n"
            await _wait(changed, HEARTBEAT_S)

    def _event(self) -> bytes:
        return f"id: {self._start}-{self._number}\nevent: state\ndata: {self._latest}\n\n".encode()

    async def _poll(self) -> None:
        while self.listeners and not self._stopping.is_set():
            await self._look()
            due = time.monotonic() + POLL_S
            while time.monotonic() < due and self.listeners and not self._stopping.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(LOOK_S)
        self._wake()

    async def _look(self) -> None:
        self.looks += 1
        try:
            found = await run_sync(self._document)
        except SQLAlchemyError as error:
            log.warning("how jobs go cannot be told now: %s", type(error).__name__)
            return
        if found != self._latest:
            self._latest = found
            self._number += 1
            self._wake()

    def _document(self) -> str:
        return json.dumps(live_document(status_of(self._settings, self._database, JOBS_SHOWN)))

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


async def _wait(event: asyncio.Event, most_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), most_s)
    except TimeoutError:
        return
