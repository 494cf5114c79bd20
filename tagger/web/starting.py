"""Jobs begun from the page: recorded at once, their folders searched in a thread, so that nobody waits for a long scan.

A server that ends meanwhile leaves a scan that was cut off, as a command does: what was found is worked on.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException

from tagger.backfill import Backfill, OnFound, check, fill_backfill, new_job
from tagger.database import Database
from tagger.errors import ScanEnded, TaggerError
from tagger.ledger.jobs import NewJob, cancel_job, create_job, finish_scan, kept_alive
from tagger.looks import look_of
from tagger.scan import Scan, ScanReport, Selection, check_roots
from tagger.schedules import Run, RunPutOff, list_runs, list_schedules, run_now
from tagger.settings import Settings
from tagger.tables import Priority, Runner
from tagger.web.permitted import check_backfill, check_room
from tagger.writing.asked import WriteAsked

log = logging.getLogger(__name__)

SCANS_AT_ONCE = 4
SHORT_S = 1.0
"""Whoever starts a job over a small folder is told at once how many photos it has."""
LOOK_S = 0.05
END_S = 5.0
PROBLEMS_SAID = 3


class _Stopped(Exception):
    """The server ends."""


@dataclass(frozen=True)
class Asked:
    """How a job over folders is to be made; `write`: its tags are written into metadata then."""

    priority: Priority
    again: bool = False
    write: WriteAsked | None = None


class Starter:
    """One server's. Searches a few jobs' folders at a time."""

    def __init__(self, settings: Settings, database: Database, stopping: threading.Event) -> None:
        self._settings = settings
        self._database = database
        self._stopping = stopping
        self._room = threading.BoundedSemaphore(SCANS_AT_ONCE)
        self._threads: set[threading.Thread] = set()

    def tag(self, selection: Selection, asked: Asked) -> int:
        """Begin a job over folders; returns its number.

        Raises:
            RootAway: a folder's disk is not mounted.
            HTTPException: too many folders are being searched, or too many jobs are open.
        """
        check_roots(self._database, selection, self._settings.roots)
        look = look_of(self._database, self._settings, again=asked.again)
        write = asked.write.as_options() if asked.write else {}
        new = NewJob(
            model_id=look.model_id,
            top_k=look.top_k,
            threshold=look.threshold,
            runner=Runner.WORKERS,
            priority=asked.priority,
            again=asked.again,
            options={"paths": [ascii(str(folder)) for folder in selection.folders][:100], **write},
        )

        def fill(job: int) -> ScanReport:
            with kept_alive(self._database, job):
                scan = Scan(self._database, job, look, self._settings.roots)
                report = scan.run(selection, self._until_stopped(_Stopped))
            finish_scan(self._database, job, _note(report))
            return report

        return self._begin(new, fill)

    def backfill(self, wanted: Backfill, priority: Priority) -> int:
        """Begin a backfill; returns its number.

        Raises:
            TaggerError: what a backfill raises before it is recorded.
            HTTPException: too many folders are being searched, or too many jobs are open.
        """
        places = self._settings.roots
        selection = check(self._database, wanted, places)
        new = new_job(self._database, self._settings, wanted, priority)

        def fill(job: int) -> ScanReport:
            on_found = self._until_stopped(_Stopped)
            return fill_backfill(self._database, wanted, job, new.model_id, selection, places, on_found)

        return self._begin(new, fill)

    def run_now(self, name: str) -> Run:
        """Begin a run of a schedule, beside its due times.

        Raises:
            TaggerError: there is no such schedule, or it cannot be run.
            HTTPException: it does what the page may not, too many folders are being searched, too many jobs are open.
        """
        made: Future[Run] = Future()
        with self._taking_room():
            for schedule in list_schedules(self._database):
                if schedule.name == name:
                    check_backfill(self._settings, self._database, schedule.backfill)
            began = datetime.now(UTC)
            self._start(partial(self._make_run, name, made))
        wait([made], SHORT_S)
        while not made.done():
            # A run has its row and its job before anything is searched.
            runs = [run for run in list_runs(self._database, name, 1) if run.due_at >= began]
            if runs:
                return runs[0]
            wait([made], LOOK_S)
        return made.result()

    def send(self, job: int) -> str | None:
        """Send a recorded job's messages; returns what was in the way."""
        from worker.broker import find_broker, send_waiting

        return send_waiting(self._database, find_broker(self._settings, start=False), job)

    def close(self) -> None:
        """Let scans end at their next page; the server is about to."""
        self._stopping.set()
        for thread in tuple(self._threads):
            thread.join(END_S)

    def _begin(self, new: NewJob, fill: Callable[[int], ScanReport]) -> int:
        with self._taking_room():
            job = create_job(self._database, new)
            thread = self._start(partial(self._fill, job, fill))
        thread.join(SHORT_S)
        return job

    @contextmanager
    def _taking_room(self) -> Iterator[None]:
        """For a thread, which gives the room back."""
        if not self._room.acquire(blocking=False):
            text = f"The folders of {SCANS_AT_ONCE} jobs are being searched already. Wait until one of them is through."
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, {"Retry-After": "10"})
        try:
            check_room(self._database)
            yield
        except BaseException:
            self._room.release()
            raise

    def _start(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            finally:
                self._threads.discard(thread)
                self._room.release()

        thread = threading.Thread(target=run, name="scan", daemon=True)
        self._threads.add(thread)
        thread.start()
        return thread

    def _make_run(self, name: str, made: Future[Run]) -> None:
        try:
            run = run_now(self._database, self._settings, name, self._until_stopped(RunPutOff))
        except RunPutOff:
            text = "The server ends. The run is left to the clock of schedules."
            made.set_exception(HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text))
        except Exception as error:
            if not isinstance(error, TaggerError):
                log.exception("the run of a schedule failed in a way that nobody foresaw")
            made.set_exception(error)
        else:
            if run.job is not None:
                self._send(run.job)
            made.set_result(run)

    def _fill(self, job: int, fill: Callable[[int], ScanReport]) -> None:
        try:
            fill(job)
            self._send(job)
        except (_Stopped, ScanEnded):
            log.info("the scan of job %d was ended", job)
        except TaggerError as error:
            self._end_badly(job, str(error))
        except Exception:
            log.exception("the scan of job %d failed in a way that nobody foresaw", job)
            self._end_badly(job, "its scan failed; the server's log says why")

    def _send(self, job: int) -> None:
        problem = self.send(job)
        if problem:
            log.warning("job %d is recorded and will be sent later: %s", job, problem)

    def _end_badly(self, job: int, note: str) -> None:
        try:
            with self._database.write() as connection:
                cancel_job(connection, job, note)
        except SQLAlchemyError as error:  # whoever sees it next ends it
            log.warning("job %d could not be ended: %s", job, type(error).__name__)

    def _until_stopped(self, stopped: type[Exception]) -> OnFound:
        """For a scan to call now and then."""

        def go_on(_count: int) -> None:
            if self._stopping.is_set():
                raise stopped

        return go_on


def _note(report: ScanReport) -> str | None:
    """What a command would warn of."""
    said = [f"{ascii(str(each.path))[1:-1]}: {each.text}" for each in report.problems[:PROBLEMS_SAID]]
    more = len(report.problems) - len(said)
    said += [f"and {more} more that could not be read"] if more else []
    said += [] if report.found else ["no photos were found there"]
    return "; ".join(said) or None
