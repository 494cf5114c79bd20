"""The worker of `tagger serve`, for people who start none: it runs while there are jobs or due schedules."""

from __future__ import annotations

import fcntl
import logging
import threading
import time
from typing import IO, TYPE_CHECKING, Self

from tagger.cli.supervised_process import REFUSED, SupervisedProcess, stop_processes
from tagger.cli.worker_processes import STOP_TIMEOUT_S
from tagger.database.engine import with_retry
from tagger.errors import TaggerError
from tagger.ledger.workers import find_last_tick, is_worker_needed, list_workers, record_tick
from tagger.processes.permissions import create_private_file, make_private_folder
from tagger.roots.availability import resume_jobs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tagger.database.connection import Database
    from tagger.ledger.workers import WorkerStatus
    from tagger.settings import Settings

log = logging.getLogger(__name__)

POLL_S = 1.0
# How often it looks for the folders that jobs wait for.
FOLDERS_POLL_S = 10.0
# How often it says that due schedules are looked for, as beat does.
TICK_S = 20.0
# How long the worker stays without a job: loading the model takes seconds.
IDLE_END_S = 60.0
# How long a worker that cannot start waits for the next attempt.
RETRY_S = 30.0


def tags_photos(settings: Settings, database: Database) -> bool:
    """Whether `tagger serve` runs a worker itself: not where workers may run on other machines."""
    return database.is_sqlite or settings.redis_url is None


class PageWorker:
    """Starts a worker when a job waits for one or a schedule is due, and nobody else runs any; ends it later.

    It works in a thread. Of several servers with one data folder, one runs a worker, and none beside those
    that people start.
    """

    def __init__(self, database: Database, settings: Settings, report: Callable[[str], None]) -> None:
        """`report` is called with why the worker cannot run, and with "" when it does."""
        self._database = database
        self._settings = settings
        self._report = report
        self._process: SupervisedProcess | None = None
        # How the names of its workers begin. One that was killed is listed for some time.
        self._started: set[str] = set()
        self._lock: IO[bytes] | None = None
        self._needed_at = 0.0
        self._next_start = 0.0
        self._next_folders = 0.0
        self._next_tick = 0.0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="page-worker", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        """Stop the worker: it stores the current batch, and returns the rest. A second Ctrl-C kills it."""
        self._closed.set()
        self._thread.join()
        self._stop()

    def _run(self) -> None:
        while not self._closed.wait(POLL_S):
            try:
                with_retry(self._check, self._closed, self._closed)
            except (TaggerError, OSError) as error:
                self._report(str(error))
                self._next_start = time.monotonic() + RETRY_S
                self._stop()
            except Exception:
                log.exception("The check for jobs failed unexpectedly")  # the thread goes on

    def _check(self) -> None:
        """Start, restart or stop the worker.

        Raises:
            TaggerError, OSError: it cannot run.
        """
        now = time.monotonic()
        if now >= self._next_folders:
            resume_jobs(self._database, self._settings.roots)
            self._next_folders = now + FOLDERS_POLL_S
        if now >= self._next_tick:
            self._next_tick = now + TICK_S
            if self._are_own(list_workers(self._database)) and find_last_tick(self._database) is not None:
                record_tick(self._database)
        if is_worker_needed(self._database):
            self._needed_at = now
        elif self._process is None or now - self._needed_at > IDLE_END_S:
            self._stop()
            return
        if self._process is not None:
            self._started.add(f"tagger-{self._process.child.pid}@")
        workers = list_workers(self._database)
        if any(not worker.is_starting for worker in workers):
            self._report("")
        if self._are_own(workers):
            self._keep_running()
        else:
            self._stop()

    def _are_own(self, workers: Iterable[WorkerStatus]) -> bool:
        """Whether nobody else runs one of these workers."""
        return all(worker.name.startswith(tuple(self._started)) for worker in workers)

    def _keep_running(self) -> None:
        if self._process is not None:
            code = self._process.child.exit_code
            if code == REFUSED:
                raise self._process.failure(code)
            self._process.check()
        elif time.monotonic() >= self._next_start and self._has_lock():
            folder, command = self._settings.data_folder, ("worker", "--background", "--beat")
            self._process = SupervisedProcess("worker", folder, command, warn=log.warning)

    def _has_lock(self) -> bool:
        """Take the lock that lets one server of the data folder run a worker."""
        if self._lock is None:
            folder = self._settings.data_folder
            make_private_folder(folder)
            create_private_file(folder / "page-worker.lock")
            file = (folder / "page-worker.lock").open("ab")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                return False
            self._lock = file
        return True

    def _stop(self) -> None:
        try:
            if self._process is not None:
                stop_processes([self._process], STOP_TIMEOUT_S)
        finally:
            self._process = None
            if self._lock is not None:
                self._lock.close()
                self._lock = None
