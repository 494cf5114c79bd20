"""Which child processes commands run: `tagger up`, a worker of several processes, and `tagger serve`."""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Self

from tagger.cli import console
from tagger.database.engine import with_retry
from tagger.errors import ProcessFailed, RedisUnavailable, TaggerError
from tagger.ledger.workers import find_last_tick, is_worker_needed, list_workers, record_tick
from tagger.model.devices import thread_share
from tagger.processes.permissions import create_private_file, make_private_folder
from tagger.processes.pool import REFUSED, Child, Pool
from tagger.processes.process import EXIT_CODE, handle_own_signals
from tagger.processes.stall import watch
from tagger.roots.availability import resume_jobs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from tagger.cli.session import Session
    from tagger.database.connection import Database
    from tagger.settings import Settings

log = logging.getLogger(__name__)

# Longer than a worker takes to stop (see worker.tasks), and less than its supervisor usually waits.
WORKER_STOP_S = 58.0


# --- tagger up ---

SERVICES_STOP_S = 60.0
REDIS_CHECK_S = 5.0


class Services(Pool):
    """Keeps a worker, beat, the web page and the embedded Redis running. Stops all but Redis at the end."""

    def __init__(self, session: Session, page: socket.socket | None) -> None:
        """`page`: the listening socket of the web page, which stays open across restarts."""
        super().__init__(session.settings.data_folder, console.warning, SERVICES_STOP_S)
        self._session = session
        self._redis_checked_at = -math.inf
        self._redis_answers = True
        self._listener = page
        self.worker = self.start("worker", "worker")
        self.start("beat", "beat")
        if page is not None:
            number = page.fileno()
            self._page = self.start(
                "page", "serve", "--fd", str(number), file_descriptors=(number,)
            )

    def check(self) -> None:
        """Restart processes that have exited. While Redis is away, nothing is restarted: they wait for it.

        Raises:
            ProcessFailed: one exits right after each start. Without the page, the others continue.
        """
        has_exited = any(child.exit_code is not None for child in self.children)
        if has_exited or time.monotonic() - self._redis_checked_at > REDIS_CHECK_S:
            self._check_redis()
        if not self._redis_answers:
            return
        try:
            super().check()
        except ProcessFailed as error:
            if self._listener is None or error.values["name"] != self._page.name:
                raise
            console.warning(
                f"{error} The web page is no longer served; the other services continue."
            )
            self.children.remove(self._page)
            self._listener.close()

    def _check_redis(self) -> None:
        """Check that Redis answers, and start the embedded one if it does not run. Print what has changed."""
        from worker.broker import check_broker, find_broker

        settings, database = self._session
        answered = self._redis_answers
        try:
            check_broker(find_broker(settings, database.ledger_id, start=True))
        except RedisUnavailable as error:
            self._redis_answers = False
            if answered:
                remedy = "to tag photos without Redis, press Ctrl-C and use: tagger tag"
                console.warning(f"{error} Waiting for it; {remedy}")
        else:
            self._redis_answers = True
            if not answered:
                console.info("Redis answers again")
        self._redis_checked_at = time.monotonic()


# --- tagger worker ---

POLL_S = 0.5


def run_worker_processes(
    settings: Settings, count: int, arguments: Sequence[str], *, beat: bool
) -> int:
    """Run `tagger worker` with these arguments in `count` processes until stopped; returns the exit code.

    The first one is ready before the others start: what keeps it from starting is said once.
    """
    handle_own_signals()
    watch("worker", settings.data_folder, settings.stall_timeout_s)
    pool = Pool(settings.data_folder, log.warning, WORKER_STOP_S)

    def start(number: int) -> Child:
        child = Child(
            f"tagger-{os.getpid()}.{number}",
            [
                "worker",
                *arguments,
                "--process",
                str(number),
                *(["--beat"] if beat and number == 1 else []),
            ],
            stall_name=f"worker.{number}",
            environment=child_environment(settings, count, number),
        )
        pool.children.append(child)
        return child

    try:
        first = start(1)
        while not first.is_ready:
            if first.exit_code == REFUSED:
                return REFUSED
            pool.check()
            time.sleep(POLL_S)
        for number in range(2, count + 1):
            start(number)
        while True:
            pool.check()
            time.sleep(POLL_S)
    except KeyboardInterrupt:
        return 0 if len(pool.children) > 1 else EXIT_CODE
    finally:
        with suppress(KeyboardInterrupt):  # of a second signal: they are killed
            pool.stop()


def child_environment(settings: Settings, count: int, number: int) -> Mapping[str, str]:
    """The environment of one of several processes: its threads, and a port for its metrics."""
    own = {
        "TAGGER_PROCESSES": str(count),
        "TAGGER_THREADS": str(thread_share(settings.threads, count, number)),
        "TAGGER_DEVICE": settings.device,
    }
    if settings.metrics_port is not None:
        own["TAGGER_METRICS_PORT"] = str(settings.metrics_port + number - 1)
    for name in ("batch_size", "model"):
        if (value := getattr(settings, name)) is not None:
            own[f"TAGGER_{name.upper()}"] = str(value)
    return {name: value for name, value in os.environ.items() if name.upper() not in own} | own


# --- tagger serve ---

CHECK_S = 1.0
# How often it looks for the folders that jobs wait for.
FOLDERS_CHECK_S = 10.0
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

    def __init__(
        self, database: Database, settings: Settings, report: Callable[[str], None]
    ) -> None:
        """`report` is called with why the worker cannot run, and with "" when it does."""
        self._database = database
        self._settings = settings
        self._report = report
        self._pool = Pool(settings.data_folder, log.warning, WORKER_STOP_S)
        # How the names of its workers begin. One that was killed is listed for some time.
        self._started: set[str] = set()
        self._lock: IO[bytes] | None = None
        self._needed_at = self._next_start = self._next_folders = self._next_tick = 0.0
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
        while not self._closed.wait(CHECK_S):
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
        workers = list_workers(self._database)
        self._started |= {f"tagger-{child.pid}@" for child in self._pool.children}
        are_own = all(worker.name.startswith(tuple(self._started)) for worker in workers)
        self._sweep(now, are_own=are_own)
        if is_worker_needed(self._database):
            self._needed_at = now
        elif not self._pool.children or now - self._needed_at > IDLE_END_S:
            self._stop()
            return
        if any(not worker.is_starting for worker in workers):
            self._report("")
        if not are_own:
            self._stop()
        elif self._pool.children:
            (child,) = self._pool.children
            if child.exit_code == REFUSED:
                raise self._pool.failure(child)
            self._pool.check()
        elif now >= self._next_start and self._has_lock():
            self._pool.start("worker", "worker", "--background", "--beat")

    def _sweep(self, now: float, *, are_own: bool) -> None:
        """Resume the jobs whose folder is back, and tell that schedules are looked after."""
        if now >= self._next_folders:
            resume_jobs(self._database, self._settings.roots)
            self._next_folders = now + FOLDERS_CHECK_S
        if now >= self._next_tick:
            self._next_tick = now + TICK_S
            if are_own and find_last_tick(self._database) is not None:
                record_tick(self._database)

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
            self._pool.stop()
        finally:
            if self._lock is not None:
                self._lock.close()
                self._lock = None
