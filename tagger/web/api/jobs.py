"""The state of jobs and workers, as `tagger status`, also as events; starting and controlling jobs.

One poller serves all listeners of events. Every event holds the whole state, so a listener that connects or
reconnects is up to date at once, and a slow one misses only outdated states.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from itertools import islice
from typing import Annotated, Any, Literal

from anyio.to_thread import run_sync
from fastapi import Depends, Path, Query, Request
from fastapi.responses import StreamingResponse
from starlette.exceptions import HTTPException

from tagger.database import METADATA_KINDS, Priority
from tagger.database.connection import Database
from tagger.database.engine import DatabaseError
from tagger.errors import FailureKind
from tagger.jobs.enqueue.job_json import (
    JobFindings,
    StatusDocument,
    failure_documents,
    job_findings,
    status_document,
)
from tagger.jobs.enqueue.job_texts import idle_text
from tagger.jobs.enqueue.metadata_jobs import JobWrites, Undo, count_job_writes
from tagger.jobs.enqueue.submission import MetadataOptions, Retry, count_photos
from tagger.ledger import CLAIMABLE, job_control
from tagger.ledger.items import (
    FailingPhoto,
    FailureDocument,
    FailureFilter,
    count_failures,
    failing_photos,
    failure_conditions,
    unwritten_photos,
)
from tagger.ledger.job_control import (
    JobProgress,
    find_job,
    job_options,
    list_recent_jobs,
)
from tagger.ledger.workers import find_last_tick, list_workers
from tagger.texts import json_bytes
from tagger.texts.text_format import N_, gettext, in_language, reader_language
from tagger.web.access import Role, requires
from tagger.web.api.job_starter import (
    BackfillRequest,
    RetryRequest,
    TaggingRequest,
    UndoRequest,
    WriteMode,
    allowed_folders,
    check_mode,
    check_photos,
    check_write,
    folder_paths,
    start_job,
    start_tagging,
    wake_workers,
)
from tagger.web.routes import ONE_LINE, api_router
from tagger.web.state import AppState, State

# Recent jobs on a page, beside the open ones.
JOBS_SHOWN = 20


@dataclass(frozen=True)
class OverviewDocument(StatusDocument):
    """The state of all jobs but `older` ones. `problem` says why depths of queues are null."""

    older: int
    problem: str | None

    @property
    def has_redis(self) -> bool:
        return all(depth is not None for depth in self.queues.values())


def read_status(state: AppState, limit: int) -> OverviewDocument:
    from worker.broker import find_broker, queue_depths

    database = state.database
    jobs, older = list_recent_jobs(database, limit)
    queues, problem = queue_depths(
        find_broker(state.settings, database.ledger_id, start=False)
    )
    document = status_document(
        database, jobs, list_workers(database), queues, find_last_tick(database)
    )
    return OverviewDocument(
        **vars(document), older=older, problem=str(problem) if problem else None
    )


router = api_router("jobs")

JobNumber = Annotated[int, Path(ge=1, lt=2**63, description="A job's number.")]


@dataclass(frozen=True)
class JobDetails(JobFindings, JobProgress):
    """A job and what it found."""


@dataclass(frozen=True)
class Job(JobProgress):
    """A job that was started or resumed; `problem` says why it has to wait."""

    problem: str | None


@dataclass(frozen=True)
class NothingToRetry:
    """No photo of the job fails now."""

    job: None
    total: Literal[0]
    kinds: dict[str, int]
    dry_run: Literal[False]


@dataclass(frozen=True)
class CountedBackfill:
    """How many photos a backfill would include."""

    job: None
    total: int
    what: str
    dry_run: Literal[True]


@dataclass(frozen=True)
class PlannedUndo(JobWrites):
    """What an undo of a job would undo. `fields`: of keywords, place, position and description."""

    job: None
    fields: Sequence[str]
    dry_run: bool


@dataclass(frozen=True)
class FailurePage:
    """A page of failures; `next` is null on the last page."""

    failures: Sequence[FailureDocument]
    next: int | None


@router.get("/status")
@requires(Role.VIEWER)
def status(
    state: State, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> OverviewDocument:
    """Return all open jobs and the newest others, the running workers, and the depth of the queues."""
    return read_status(state, limit)


@router.get("/jobs/{job}")
@requires(Role.VIEWER)
def job(state: State, job: JobNumber) -> JobDetails:
    """Return a job, its progress and what it found."""
    progress = find_job(state.database, job)
    return JobDetails(**vars(progress), **vars(job_findings(state.database, job)))


@router.post("/jobs", status_code=HTTPStatus.ACCEPTED)
@requires(Role.EDITOR)
def enqueue(state: State, body: TaggingRequest) -> Job:
    """Start a job over folders. The job is recorded before the response; the scan may continue after it."""
    job = start_tagging(state, allowed_folders(state), folder_paths(body.paths), body)
    return _started_document(state, job)


@router.post("/backfills", status_code=HTTPStatus.ACCEPTED)
@requires(Role.EDITOR)
def backfill(state: State, body: BackfillRequest) -> Job | CountedBackfill:
    """Start a job over photos that are already in the database."""
    backfill = body.backfill(state)
    if body.dry_run:
        new = backfill.new_job(state.database, state.settings)
        count = count_photos(state.database, backfill, new, state.settings.roots)
        return CountedBackfill(None, count, backfill.scope, dry_run=True)
    return _started_document(state, start_job(state, backfill, body.priority))


@router.post("/jobs/{job}/pause")
@requires(Role.EDITOR)
def pause(state: State, job: JobNumber) -> JobProgress:
    """Pause a job. Batches that are being processed are still stored."""
    return job_control.pause(state.database, job)


@router.post("/jobs/{job}/resume")
@requires(Role.EDITOR)
def resume(state: State, job: JobNumber) -> Job:
    """Resume a paused job."""
    problem = wake_workers(state) if job_control.resume(state.database, job) else None
    return Job(**vars(find_job(state.database, job)), problem=problem)


@router.post("/jobs/{job}/cancel")
@requires(Role.EDITOR)
def cancel(state: State, job: JobNumber) -> JobProgress:
    """Cancel a job. Results that are stored already remain."""
    return job_control.cancel(state.database, job)


@router.post("/jobs/{job}/retry")
@requires(Role.EDITOR)
def retry(
    state: State, job: JobNumber, body: RetryRequest | None = None
) -> Job | NothingToRetry:
    """Retry the photos of a job that fail now, in a new job; `job` is null if none fails."""
    body = body or RetryRequest()
    failures = FailureFilter(job, tuple(body.kind))
    request = Retry(failures)
    request.check(state.database, state.settings.roots)
    if not count_failures(state.database, failures):
        return NothingToRetry(None, 0, {}, dry_run=False)
    check_photos(state, failure_conditions(failures))
    check_write(state.settings, _metadata_options(state, job))
    return _started_document(state, start_job(state, request, body.priority))


@router.post("/jobs/{job}/undo")
@requires(Role.EDITOR)
def undo(
    state: State, job: JobNumber, body: UndoRequest | None = None
) -> Job | PlannedUndo:
    """Undo what a job wrote to metadata, in a new job; `job` is null if nothing is left to undo."""
    body = body or UndoRequest()
    request = Undo(job)
    request.check(state.database, state.settings.roots)
    options = _metadata_options(state, job)
    writes = count_job_writes(state.database, job)
    check_mode(
        state.settings, WriteMode.EMBED if writes.embedded else WriteMode.SIDECAR
    )
    check_photos(state, request.conditions(state.database, state.settings.roots))
    if body.dry_run or not writes.photos:
        fields = options.fields if options else ()
        return PlannedUndo(
            **vars(writes), job=None, fields=fields, dry_run=body.dry_run
        )
    return _started_document(state, start_job(state, request, Priority.INTERACTIVE))


def _metadata_options(state: AppState, job: int) -> MetadataOptions | None:
    return MetadataOptions.from_job_options(job_options(state.database, [job])[job])


@router.get("/jobs/{job}/failures")
@requires(Role.VIEWER)
def failures(
    state: State,
    job: JobNumber,
    limit: Annotated[int, Query(ge=1, le=1000, description="The page size.")] = 100,
    after: Annotated[
        int, Query(ge=-1, lt=2**63, description="`next` of the previous page.")
    ] = -1,
    kind: Annotated[
        list[Annotated[str, ONE_LINE]] | None,
        Query(max_length=50, description="Only these kinds."),
    ] = None,
) -> FailurePage:
    """List the photos of a job that fail now, or were refused by a metadata job. `photo` is their number."""
    photos, next_after = failures_page(
        state.database, find_job(state.database, job), limit, after, kind or ()
    )
    return FailurePage(
        list(failure_documents(state.database, photos, state.settings.roots)),
        next_after,
    )


def failures_page(
    database: Database,
    job: JobProgress,
    limit: int,
    after: int,
    kinds: Collection[str] = (),
    *,
    is_processed: bool = False,
) -> tuple[list[FailingPhoto], int | None]:
    """Return a page of failures and the position of the next page; None if there is none.

    `is_processed`: only photos that the job has processed.
    """
    if job.kind in METADATA_KINDS:
        failing = unwritten_photos(database, job.job, kinds, after)
    else:
        valid_kinds = tuple(
            FailureKind(kind) for kind in kinds if kind in set(FailureKind)
        )
        if kinds and not valid_kinds:
            return [], None
        failures = FailureFilter(job.job, valid_kinds, is_processed=is_processed)
        failing = failing_photos(database, failures, after, page_size=limit + 1)
    photos = list(islice(failing, limit + 1))
    return photos[:limit], photos[limit - 1].position if len(photos) > limit else None


def _started_document(state: AppState, job: int) -> Job:
    # The job, and why it has to wait if it does.
    progress = find_job(state.database, job)
    now = read_status(state, 1)
    problem = None if progress.is_over else waiting_reason(state, now)
    return Job(**vars(progress), problem=problem)


REDIS_AWAY = N_(
    "Redis does not respond. Jobs are recorded and will be sent when it is back."
)


def redis_text(problem: str) -> str:
    return problem if reader_language() is None else gettext(REDIS_AWAY)


def waiting_reason(state: AppState, now: OverviewDocument) -> str | None:
    waits_for_redis = now.problem is not None  # it starts the embedded one itself
    if (now.workers and not now.has_redis) or (
        state.has_own_worker and waits_for_redis
    ):
        return gettext(REDIS_AWAY)
    if now.workers or not state.has_own_worker:
        return idle_text(now.workers) or None
    is_needed = any(not job.is_local and job.state in CLAIMABLE for job in now.jobs)
    starting = gettext(
        "The worker is starting, which takes up to a minute. Jobs are recorded and wait for it."
    )
    return (state.worker_problem or starting) if is_needed else None


log = logging.getLogger(__name__)

MAX_LISTENERS = 64
POLL_S = 1.0
# After so many polls without a change of the database, one of so many reads the state.
QUIET_POLLS = 5
# A comment is sent at this interval, so that proxies keep the connection open.
HEARTBEAT_S = 15.0
# How often the poller checks whether the server stops.
STOP_CHECK_S = 0.1
RETRY_MS = 2000


class EventHub:
    """Polls once a second while there are listeners. All of it runs in the server's event loop.

    `document` makes the JSON of a status.
    """

    def __init__(
        self, state: AppState, document: Callable[[OverviewDocument], dict[str, Any]]
    ) -> None:
        self._state = state
        self._document = document
        self._event_number = 0
        self._mark: int | None = None
        self._quiet_polls = 0
        self._latest: str | None = None
        self._status: OverviewDocument | None = None
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self.listeners = 0

    async def events(self) -> AsyncIterator[bytes]:
        """Yield the state, then each change of it, until the server stops, to one of the `listeners`."""
        if self._poller is None or self._poller.done():
            self._latest, self._quiet_polls = None, 0  # left from earlier listeners
            self._poller = asyncio.create_task(self._poll_while_listening())
        yield f"retry: {RETRY_MS}\n\n".encode()
        sent_number, sent_at_s = 0, time.monotonic()
        while not (self._state.stopping.is_set() or self._poller.done()):
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
        while self.listeners and not self._state.stopping.is_set():
            await self._poll()
            due_s = time.monotonic() + POLL_S
            is_stopping = self._state.stopping.is_set  # by another thread
            while self.listeners and time.monotonic() < due_s and not is_stopping():  # noqa: ASYNC110
                await asyncio.sleep(STOP_CHECK_S)
        self._notify()

    async def _poll(self) -> None:
        try:
            # While nobody writes to the database, only Redis and the clock change the state, which
            # is then read less often. First it is read some times more: numbers are counted meanwhile.
            mark = await run_sync(self._state.database.change_mark)
            is_quiet = mark is not None and mark == self._mark
            self._mark, self._quiet_polls = (
                mark,
                self._quiet_polls + 1 if is_quiet else 0,
            )
            if self._quiet_polls > QUIET_POLLS and self._quiet_polls % QUIET_POLLS:
                return
            status = await run_sync(read_status, self._state, JOBS_SHOWN)
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
            f"{MAX_LISTENERS} pages already follow the jobs. Close some of them, or poll "
            "/api/status instead."
        )
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
    hub.listeners += (
        1  # before anything is sent, so that simultaneous requests are all counted
    )
    try:
        yield hub
    finally:
        hub.listeners -= 1


@router.get("/events", response_class=StreamingResponse)
@requires(Role.VIEWER)
async def events(
    hub: Annotated[EventHub, Depends(event_listener)],
) -> StreamingResponse:
    """Stream jobs, workers and queues as server-sent events: the state at once, then each change."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        hub.events(), media_type="text/event-stream", headers=headers
    )
