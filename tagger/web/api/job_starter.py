"""Starting jobs from the page: a job is recorded at once, and its folders are scanned in a thread.

If the server stops during a scan, the job keeps the photos found so far, as with an interrupted command.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from copy import copy
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from tagger.database.actors import Actor
from tagger.database.connection import Database
from tagger.database.enums import Priority, Runner
from tagger.database.retry import DatabaseError
from tagger.errors import ScanInterrupted, TaggerError
from tagger.jobs.enqueue.scan import Scan
from tagger.jobs.enqueue.schedule_runs import RunInterrupted, ScheduleRun, run_now
from tagger.jobs.enqueue.submission import JobRequest, prepare_job, queue_job
from tagger.ledger import job_control
from tagger.ledger.jobs import cancel_job, create_job
from tagger.settings import Settings
from tagger.texts.text_format import gettext
from tagger.web.api.job_requests import check_open_jobs, check_schedule

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_SCANS = 4
# How long a request waits for its scan: with a small folder, the response has the number of photos.
RESPONSE_WAIT_S = 1.0
STOP_TIMEOUT_S = 5.0


class JobStarter:
    """Starts jobs, with at most `MAX_SCANS` scans at a time. Created once per server."""

    def __init__(
        self, settings: Settings, database: Database, stopping: threading.Event, *, has_own_worker: bool
    ) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self._has_own_worker = has_own_worker
        self._scan_slots = threading.BoundedSemaphore(MAX_SCANS)
        self._running: set[Future[Any]] = set()

    def acting_as(self, actor: Actor) -> "JobStarter":
        """Return the same starter for another actor, whose jobs are recorded as theirs."""
        view = copy(self)
        view._database = self._database.acting_as(actor)  # noqa: SLF001 - of the same class
        return view

    def start(self, request: JobRequest, priority: Priority) -> int:
        """Record a job for workers and return its number. Its photos are added in a thread.

        Raises:
            TaggerError: the request is not possible.
            HTTPException: too many scans are running, or too many jobs are open.
        """
        new = prepare_job(self._database, self._settings, request, Runner.WORKERS, priority)
        with self._scan_slot():
            job = create_job(self._database, new)
            scan = Scan(self._database, job, new, self._settings.roots, self._check_stopping)
            future = self._start_thread(partial(self._queue_job, request, scan))
        wait([future], RESPONSE_WAIT_S)
        return job

    def run_now(self, name: str) -> ScheduleRun:
        """Start a run of a schedule, in addition to its due times.

        Raises:
            TaggerError: there is no such schedule, or it cannot run.
            HTTPException: the page may not run it, too many scans are running, or too many jobs are open.
        """
        with self._scan_slot():
            check_schedule(self._settings, self._database, name)
            recorded: Future[ScheduleRun] = Future()
            future = self._start_thread(partial(self._run_schedule, name, recorded.set_result))
        wait([future], RESPONSE_WAIT_S)
        wait([future, recorded], return_when=FIRST_COMPLETED)
        return (future if future.done() else recorded).result()

    def resume(self, job: int) -> str | None:
        """Resume a paused job. Returns why workers could not be woken; None if they were, or need not be.

        Raises:
            JobNotFound, JobFinished: it cannot be resumed.
        """
        return self._wake_workers() if job_control.resume(self._database, job) else None

    def close(self) -> None:
        """Interrupt the scans, since the server stops."""
        self._stopping.set()
        wait(tuple(self._running), STOP_TIMEOUT_S)

    @contextmanager
    def _scan_slot(self) -> Iterator[None]:
        """Acquire a slot for a thread, which releases it at its end."""
        if not self._scan_slots.acquire(blocking=False):
            text = gettext(
                "%(count)s scans are running already. Wait until one of them has finished.", count=MAX_SCANS
            )
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
        try:
            job_control.recover_stale_jobs(self._database)
            check_open_jobs(self._database)
            yield
        except BaseException:
            self._scan_slots.release()
            raise

    def _start_thread(self, work: Callable[[], T]) -> Future[T]:
        """Run in a thread that ends with the process, and then release the slot."""
        future: Future[T] = Future()

        def run() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - for the request that waits
                future.set_exception(error)
            finally:
                self._running.discard(future)
                self._scan_slots.release()

        self._running.add(future)
        threading.Thread(target=run, name="scan", daemon=True).start()
        return future

    def _run_schedule(self, name: str, on_recorded: Callable[[ScheduleRun], None]) -> ScheduleRun:
        try:
            run = run_now(self._database, self._settings, name, self._check_stopping, on_recorded)
        except RunInterrupted:
            text = gettext("The server is stopping. The run is left to `tagger beat`.")
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text) from None
        except TaggerError:
            raise
        except Exception:
            log.exception("unexpected error in a run of a schedule")
            raise
        if run.job is not None:
            self._send(run.job)
        return run

    def _queue_job(self, request: JobRequest, scan: Scan) -> None:
        job = scan.job_id
        try:
            queue_job(request, scan)
            self._send(job)
        except (RunInterrupted, ScanInterrupted):
            log.info("the scan of job %d was interrupted", job)
        except TaggerError as error:
            self._cancel(job, str(error))
        except Exception:
            log.exception("unexpected error in the scan of job %d", job)
            self._cancel(job, "the scan failed; see the server's log")

    def _send(self, job: int) -> None:
        problem = self._wake_workers()
        if problem and not self._has_own_worker:  # which starts Redis, or says what it waits for
            log.warning("job %d is recorded and will be sent later: %s", job, problem)

    def _wake_workers(self) -> str | None:
        from worker.producer import wake_workers

        return wake_workers(self._database, self._settings)

    def _cancel(self, job: int, note: str) -> None:
        try:
            with self._database.write() as connection:
                cancel_job(connection, job, note)
        except DatabaseError as error:  # the abandoned job is cancelled later
            log.warning("job %d could not be cancelled: %s", job, type(error).__name__)

    def _check_stopping(self, _count: int) -> None:
        """Raise RunInterrupted if the server stops; a callback for scans."""
        if self._stopping.is_set():
            raise RunInterrupted


def job_starter(request: Request) -> JobStarter:
    """Return the application's job starter, for the actor of the request."""
    starter: JobStarter = request.app.state.job_starter
    return starter.acting_as(request.state.actor)


# A parameter of a route that receives the job starter.
Starter = Annotated[JobStarter, Depends(job_starter)]
