"""Server-sent events about jobs for the page, and events of buckets from object stores.

One poller serves all listeners. Every event holds the whole state, so a listener that connects or reconnects is up to date at once,
and a slow one misses only outdated states. Objects that buckets have reported are gathered for some seconds: many events are one
job. What waits is in memory. If the server is killed, a scan finds it: an event saves time, and is never the only way.
"""

import asyncio
import json
import logging
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from tagger.database.actor import Actor, command_line_actor
from tagger.database.connection import Database
from tagger.database.enums import Priority
from tagger.database.retry import DatabaseError
from tagger.errors import TaggerError
from tagger.jobs.enqueue.job_options import inference_options
from tagger.jobs.enqueue.scan import Selection
from tagger.jobs.enqueue.watched_folders import check_object_changes
from tagger.photos.paths import ObjectPath
from tagger.settings import Settings
from tagger.system.documents import json_default
from tagger.web.api.job_starter import JobStarter, TaggingOptions
from tagger.web.api.jobs import JOBS_SHOWN, Status, read_status
from tagger.web.api.routes import api_router
from tagger.web.http.auth import while_authenticated

log = logging.getLogger(__name__)

QUIET_S = 2.0
"""Events are gathered until none has come for so long, but for at most `LONGEST_WAIT_S`."""
LONGEST_WAIT_S = 10.0
RETRY_S = 30.0
"""Objects that could not be checked, or whose job could not be started, wait for so long."""
MAX_WAITING = 100_000
"""About 65 MB."""
MAX_BATCH = 10_000
STOP_TIMEOUT_S = 10.0

Reported = tuple[ObjectPath, ObjectPath]
"""A prefix in which jobs may start, and an object in it."""


class EventBatches:
    """One thread that checks what was reported, and starts jobs."""

    def __init__(self, settings: Settings, database: Database, job_starter: JobStarter) -> None:
        self._settings = settings
        self._database = database
        self._job_starter = job_starter
        self._actor: Actor = command_line_actor()
        self._changed = threading.Condition()
        self._waiting: dict[Reported, None] = {}
        self._first_at = self._last_at = self._retry_at = 0.0
        self._is_closed = False
        self._problem = ""
        self._thread: threading.Thread | None = None

    def add(self, reported: Sequence[Reported], actor: Actor) -> None:
        """Check these objects soon, for this actor. Returns at once.

        Raises:
            HTTPException: too many wait already.
        """
        if not reported:
            return
        with self._changed:
            if len(self._waiting) + len(reported) > MAX_WAITING:
                text = (
                    f"{len(self._waiting)} reported objects wait to be checked. Send the events again later."
                )
                raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": f"{RETRY_S:.0f}"})
            self._last_at = time.monotonic()
            self._first_at = self._first_at if self._waiting else self._last_at
            self._waiting |= dict.fromkeys(reported)
            self._actor = actor
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._run, name="event-batches", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Check at once what waits, for at most `STOP_TIMEOUT_S`, and end the thread."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(STOP_TIMEOUT_S)
        if self._waiting:
            log.warning("%d reported objects were not checked; a scan finds them", len(self._waiting))

    def _run(self) -> None:
        while batch := self._take():
            for prefix in sorted({prefix for prefix, _ in batch}):
                objects = [path for each, path in batch if each == prefix]
                if not self._process(prefix, objects):
                    self._put_back(prefix, objects)

    def _take(self) -> list[Reported]:
        """Wait until a batch is complete; empty when the server stops and nothing waits, or nothing could be done."""
        with self._changed:
            while not self._is_closed and (delay_s := self._delay_s()) > 0:
                self._changed.wait(delay_s)
            if self._is_closed and self._problem:
                return []
            batch = list(islice(self._waiting, MAX_BATCH))
            for reported in batch:
                del self._waiting[reported]
            return batch

    def _delay_s(self) -> float:
        """How long the batch still waits; 0 if it is complete."""
        if not self._waiting:
            return threading.TIMEOUT_MAX
        due_at = min(self._last_at + QUIET_S, self._first_at + LONGEST_WAIT_S)
        return max(due_at, self._retry_at) - time.monotonic()

    def _put_back(self, prefix: ObjectPath, objects: Sequence[ObjectPath]) -> None:
        with self._changed:
            self._waiting |= dict.fromkeys((prefix, path) for path in objects)
            self._retry_at = time.monotonic() + RETRY_S

    def _process(self, prefix: ObjectPath, objects: Sequence[ObjectPath]) -> bool:
        """Check the objects, and start a job over those that need it; returns whether that was possible."""
        try:
            self._start_job(prefix, objects)
        except TaggerError as error:
            return self._fail(str(error))
        except HTTPException as error:  # too many scans, or open jobs
            return self._fail(error.detail)
        except DatabaseError as error:  # its text may hold values and addresses
            return self._fail(f"the database failed ({type(error).__name__})")
        except Exception:
            log.exception("unexpected error while reported objects were checked")
            return True  # it would come again
        self._problem = ""
        return True

    def _start_job(self, prefix: ObjectPath, objects: Sequence[ObjectPath]) -> None:
        settings, database = self._settings, self._database.acting_as(self._actor)
        inference = inference_options(database, settings, reprocess=False)
        changes = check_object_changes(database, prefix, objects, inference, settings.roots)
        log.info("reported objects: %d to tag, %d gone", len(changes.unseen), changes.gone)
        if changes.unreadable:
            log.warning("%d reported objects cannot be read; a scan may find them", changes.unreadable)
        if changes.unseen:
            starter = self._job_starter.acting_as(self._actor)
            starter.tag(Selection((), tuple(changes.unseen)), TaggingOptions(Priority.BULK))

    def _fail(self, problem: str) -> bool:
        """Log a problem, unless it is that of the attempt before."""
        if problem != self._problem:
            log.warning("reported objects wait, the next attempt is in %.0f s: %s", RETRY_S, problem)
        self._problem = problem
        return False


MAX_LISTENERS = 64
POLL_S = 1.0
HEARTBEAT_S = 15.0
"""A comment is sent at this interval, so that proxies keep the connection open."""
STOP_CHECK_S = 0.1
"""How often the poller checks whether the server stops."""
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
        document: Callable[[Status], dict[str, Any]],
    ) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self._document = document
        self._server_id = secrets.token_hex(4)
        self._event_number = 0
        self._latest: str | None = None
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self.listeners = 0
        self.polls = 0

    @contextmanager
    def listener(self) -> Iterator[None]:
        """Count a listener within the context, before anything is sent, so that simultaneous requests are all counted."""
        self.listeners += 1
        try:
            yield
        finally:
            self.listeners -= 1

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the state, then each change of it, until the server stops. Call it within `listener`."""
        if self._poller is None or self._poller.done():
            self._latest = None  # left from earlier listeners
            self._poller = asyncio.create_task(self._poll_while_listening())
        yield f"retry: {RETRY_MS}\n\n".encode()
        sent_number, sent_at_s = 0, time.monotonic()
        while not (self._stopping.is_set() or self._poller.done()):
            changed = self._changed
            if self._latest is not None and sent_number != self._event_number:
                sent_number, sent_at_s = self._event_number, time.monotonic()
                yield self._event()
                continue
            if time.monotonic() - sent_at_s >= HEARTBEAT_S:
                sent_at_s = time.monotonic()
                yield b": heartbeat\n\n"
            await _wait(changed, HEARTBEAT_S)

    def _event(self) -> bytes:
        return f"id: {self._server_id}-{self._event_number}\nevent: state\ndata: {self._latest}\n\n".encode()

    async def _poll_while_listening(self) -> None:
        while self.listeners and not self._stopping.is_set():
            await self._poll()
            due_s = time.monotonic() + POLL_S
            while time.monotonic() < due_s and self.listeners and not self._stopping.is_set():  # noqa: ASYNC110 - set by another thread
                await asyncio.sleep(STOP_CHECK_S)
        self._notify()

    async def _poll(self) -> None:
        self.polls += 1
        try:
            state = await run_sync(self._read)
        except DatabaseError as error:
            log.warning("cannot read the state of jobs: %s", type(error).__name__)
            return
        if state != self._latest:
            self._latest = state
            self._event_number += 1
            self._notify()

    def _read(self) -> str:
        return json.dumps(
            self._document(read_status(self._settings, self._database, JOBS_SHOWN)), default=json_default
        )

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
    with hub.listener():
        yield hub


@router.get("/events", response_class=StreamingResponse)
async def events(request: Request, hub: Annotated[EventHub, Depends(event_listener)]) -> StreamingResponse:
    """Stream open and recent jobs, workers and queues as server-sent events: the state at once, then each change."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    parts = while_authenticated(request, hub.events())
    return StreamingResponse(parts, media_type="text/event-stream", headers=headers)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        await asyncio.wait_for(event.wait(), timeout_s)
    except TimeoutError:
        return
