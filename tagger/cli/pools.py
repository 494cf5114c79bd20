"""Which child processes commands run: `tagger up`, workers and jobs of several processes, and `tagger serve`.

A large local job runs in several processes, which claim its chunks from SQL, as workers do. The process of
the command coordinates: it keeps the job's lease, prints what is stored, replaces processes that died, and
loads no model. The others run `tagger worker --job`.
"""

from __future__ import annotations

import fcntl
import logging
import math
import os
import threading
import time
from contextlib import suppress
from functools import partial
from typing import IO, TYPE_CHECKING, Self

from tagger.cli import console
from tagger.cli.program import Session, open_session
from tagger.database import CLASSIFICATION_KINDS, JobState
from tagger.database.engine import with_retry
from tagger.errors import (
    JobProcessesFailed,
    ProcessFailed,
    RedisUnavailable,
    TaggerError,
    Unavailable,
)
from tagger.jobs.processing.executor import STOP_S, JobThreads, own_job
from tagger.jobs.processing.model_cache import share_memory
from tagger.ledger import finish_job, process_space
from tagger.ledger.job_control import JobProgress, count_open_chunks, find_job
from tagger.ledger.workers import (
    find_last_tick,
    is_worker_needed,
    list_workers,
    record_tick,
    release_chunks_of,
)
from tagger.model.devices import process_count, thread_share
from tagger.processes import EXIT_CODE, handle_own_signals, resume_collection
from tagger.processes.permissions import create_private_file, make_private_folder
from tagger.processes.pool import ERROR, REFUSED, Child, Pool
from tagger.processes.stall import watch
from tagger.roots.availability import resume_jobs

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Mapping, Sequence

    from tagger.cli.job_submission import StoredPrinter
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
        # Check that Redis answers, and start the embedded one if it does not run. Print what has changed.
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
    return {
        name: value for name, value in os.environ.items() if name.upper() not in own
    } | own


# --- tagger tag ---

# With fewer photos for each, starting a process takes longer than it saves.
PHOTOS_PER_PROCESS = 500
# How long processes have to stop. The whole command has two seconds (see processes.process).
JOB_STOP_S = STOP_S + 0.3
# How long processes have to end after their job. One that is stopped, as by a debugger, is killed then: it
# has renewed no lease, so that others have taken its photos.
JOB_END_S = 10.0
JOB_POLL_S = 0.2
# What the names of their stall reports begin with.
JOB_STALL_NAME = "job"


def job_process_count(
    database: Database, settings: Settings, progress: JobProgress
) -> int:
    """Return how many processes run a local job. A number in the settings is limited by its chunks alone."""
    if progress.kind not in CLASSIFICATION_KINDS or database.is_in_memory:
        return 1
    most = settings.processes or (progress.queued // PHOTOS_PER_PROCESS)
    if most < 2:
        return 1
    count = settings.processes or min(most, process_count(settings.threads))
    return max(1, min(count, count_open_chunks(database, progress.job)))


def run_in_processes(
    database: Database, settings: Settings, job: int, count: int, printer: StoredPrinter
) -> None:
    """Run a local job in `count` processes, as `run_job` does in this one, which loads no model.

    Raises:
        JobProcessesFailed: they keep dying. And what a process says of the error that has ended it.
    """
    processes = _JobProcesses(database, settings, job, count, printer)
    with own_job(database, job), processes:
        try:
            processes.run()
        except ProcessFailed as error:
            end = str(error.values["reason"]).removeprefix("it ").removesuffix(".")
            raise JobProcessesFailed(end=end) from error


class _JobProcesses(Pool):
    # The processes of one job: `tagger worker --job`.
    def __init__(
        self,
        database: Database,
        settings: Settings,
        job: int,
        count: int,
        printer: StoredPrinter,
    ) -> None:
        super().__init__(
            settings.data_folder,
            lambda text: printer.show_message(f"warning: {text}"),
            JOB_STOP_S,
        )
        self._database = database
        self._job = job
        self._printer = printer
        # Several processes have the same reason for a warning.
        self._messages: set[str] = set()
        for number in range(1, count + 1):
            child = Child(
                f"{console.command}.{number}",
                ["worker", "--job", str(job), "--process", str(number)],
                stall_name=f"{JOB_STALL_NAME}.{number}",
                on_line=self._show,
                environment=child_environment(settings, count, number),
            )
            self.children.append(child)

    def run(self) -> None:
        # Run until the job ends or waits for an unavailable root, and print what is stored.
        #
        # Raises:
        #     ProcessFailed: processes keep dying. Unavailable: an error has ended one.
        done, over_at = 0, math.inf
        while self.children and time.monotonic() < over_at + JOB_END_S:
            time.sleep(JOB_POLL_S)
            self._printer.update()
            self.check()
            progress = with_retry(partial(find_job, self._database, self._job))
            if progress.done > done:
                done = progress.done
                for child in self.children:
                    child.early_exits = 0
            if not _is_running(progress):
                over_at = min(over_at, time.monotonic())

    def is_needed(self, child: Child) -> bool:
        # Release what an ended process held. It is started again if its job needs it.
        #
        # Raises:
        #     Unavailable: an error has ended it.
        last_line = child.last_line()
        if last_line.startswith(ERROR):
            raise Unavailable(reason=last_line.removeprefix(ERROR))
        # The worker of its chunks (see ledger.jobs.process_name).
        worker = f"{process_space()}/{child.pid}"
        with_retry(partial(release_chunks_of, self._database, self._job, worker))
        # It may have died between its last chunk and this.
        with_retry(partial(finish_job, self._database, self._job))
        is_running = _is_running(
            with_retry(partial(find_job, self._database, self._job))
        )
        return is_running and (child.exit_code != 0 or len(self.children) == 1)

    def _show(self, line: str) -> None:
        if line not in self._messages:
            self._messages.add(line)
            self._printer.show_message(line)


def _is_running(progress: JobProgress) -> bool:
    return not progress.is_over and progress.state != JobState.WAITING


def process_job(settings: Settings, job: int, number: int) -> None:
    """Process chunks of a local job, of which this is a process, until none is left."""
    watch(f"{JOB_STALL_NAME}.{number}", settings.data_folder, settings.stall_timeout_s)
    database = open_session(settings, waits=True).database
    share_memory(settings, settings.processes or 1)
    resume_collection()
    with JobThreads(database, settings, job, is_shared=True) as threads:
        threads.run()


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
        self._thread = threading.Thread(
            target=self._run, name="page-worker", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        # Stop the worker: it stores the current batch, and returns the rest. A second Ctrl-C kills it.
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
                log.exception(
                    "The check for jobs failed unexpectedly"
                )  # the thread goes on

    def _check(self) -> None:
        # Start, restart or stop the worker.
        #
        # Raises:
        #     TaggerError, OSError: it cannot run.
        now = time.monotonic()
        workers = list_workers(self._database)
        self._started |= {f"tagger-{child.pid}@" for child in self._pool.children}
        are_own = all(
            worker.name.startswith(tuple(self._started)) for worker in workers
        )
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
        # Resume the jobs whose folder is back, and tell that schedules are looked after.
        if now >= self._next_folders:
            resume_jobs(self._database, self._settings.roots)
            self._next_folders = now + FOLDERS_CHECK_S
        if now >= self._next_tick:
            self._next_tick = now + TICK_S
            if are_own and find_last_tick(self._database) is not None:
                record_tick(self._database)

    def _has_lock(self) -> bool:
        # Take the lock that lets one server of the data folder run a worker.
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
