"""The system under test, photos, Redis, a database and workers that are restarted, and what a fault works on."""

import json
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from bench.processes import SHIPPED, TAGGER, Finished, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.database.tables import chunks, contents
from tagger.ledger.workers import list_workers
from tagger.transfer.upgrade import upgrade_database
from tests.rig.servers import PostgresServer, RedisServer

INJECTED = Path(__file__).parents[1] / "injected"
PHOTO_SIZE = (640, 480)
BATCH_SIZE = 8
READY_TIMEOUT_S = 120.0
SETTLE_S = "3"
"""The default of TAGGER_SETTLE_S, because one of the faults copies photos."""
STALL_S = 20
"""Longer than a server is away in one attempt to reach it."""
SUPERVISION_S = 0.5
RESTART_DELAY_S = 1.0
STOP_TIMEOUT_S = 60.0
BUSY_TIMEOUT_S = 20.0
POLL_S = 0.1


WorkerProcess = subprocess.Popen[bytes]


class Supervisor:
    """Runs `count` workers from `start` to `stop`."""

    def __init__(self, count: int, environment: Mapping[str, str], log: Path) -> None:
        self._count = count
        self._environment = environment
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self.workers: list[WorkerProcess] = []

    def start(self) -> None:
        for _ in range(self._count):
            self._start_worker()
        self._thread.start()

    def running(self) -> list[WorkerProcess]:
        """Return the running workers, oldest first."""
        return [worker for worker in list(self.workers) if worker.poll() is None]

    def stop(self) -> list[int]:
        """Stop all workers with SIGTERM; return their exit codes."""
        self._stop.set()
        self._thread.join()
        running = self.running()
        for worker in running:
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)
        return [_exit_code(worker) for worker in running]

    def _run(self) -> None:
        while not self._stop.wait(SUPERVISION_S):
            if len(self.running()) < self._count and not self._stop.wait(RESTART_DELAY_S):
                self._start_worker()

    def _start_worker(self) -> None:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*TAGGER, "worker"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the soak, which stops its workers
            )
        self.workers.append(process)


def _exit_code(process: WorkerProcess) -> int:
    try:
        return process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


@dataclass(frozen=True)
class System:
    """The servers, the workers and their files; `postgres` is None with SQLite."""

    folder: Path
    redis: RedisServer
    postgres: PostgresServer | None
    database: Database
    supervisor: Supervisor
    environment: dict[str, str]
    stopping: threading.Event
    photos_lock: threading.Lock
    """Held while photos are drawn or enqueued, and by the fault that renames their folder."""

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"

    def inference_count(self) -> int:
        """Return how many photos all workers together have classified."""
        counts = self.folder / "inferences"
        return sum(map(int, counts.read_text().split())) if counts.exists() else 0

    def content_count(self) -> int:
        """Return how many images the database has."""
        with self.database.read() as connection:
            return connection.scalar(select(func.count()).select_from(contents)) or 0


@contextmanager
def running_system(*, postgres: bool, workers: int) -> Iterator[System]:
    """Start the servers; stop them and delete all files at the end. The workers are started by their supervisor."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="tagger-faults-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        shutil.copy(SHIPPED, folder / "model.pt")
        server = stack.enter_context(PostgresServer()) if postgres else None
        redis = stack.enter_context(RedisServer())
        url = server.url if server else f"sqlite:///{folder / 'tagger.sqlite'}"
        upgrade_database(url)
        environment = tagger_environment(
            folder,
            redis_url=redis.url,
            database_url=url,
            model=str(folder / "model.pt"),
            threads="1",
            batch_size=str(BATCH_SIZE),
            settle_s=SETTLE_S,
        )
        injected = {
            "PYTHONPATH": str(INJECTED),
            "INJECT_COUNT_INFERENCES": str(folder / "inferences"),
            "INJECT_FREEZE": "worker",
            "INJECT_FREEZE_WHEN": str(folder / "freeze"),
            "TAGGER_STALL_TIMEOUT_S": str(STALL_S),
        }
        supervisor = Supervisor(workers, environment | injected, folder / "workers.log")
        database = stack.enter_context(closing(open_database(url)))
        yield System(
            folder, redis, server, database, supervisor, environment, threading.Event(), threading.Lock()
        )


def wait_until_ready(system: System) -> None:
    """Wait until a worker is ready.

    Raises:
        SystemExit: none is in time. The message ends with the workers' log.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not list_workers(system.database):
        if time.monotonic() > deadline:
            raise SystemExit(f"no worker started:\n{system.log.read_text()[-2000:]}")
        time.sleep(0.2)


def enqueue_again(system: System, folder: Path) -> Finished:
    """Enqueue all photos of a folder, also those that have tags."""
    return run([*TAGGER, "enqueue", "--again", "--json", folder], system.environment)


def job_id(enqueued: Finished) -> int:
    """Return the id of the job that `enqueue` created."""
    return int(json.loads(enqueued.checked().out)["job"])


@dataclass
class FaultContext:
    """What faults work on. They wait with `pause`, which ends when the system stops."""

    system: System
    rng: random.Random
    kills: int = field(default=0, init=False)
    freezes: int = field(default=0, init=False)

    def pause(self, seconds: float) -> None:
        self.system.stopping.wait(seconds)

    def choose_worker(self) -> WorkerProcess | None:
        """Wait for a worker with a claimed chunk; after BUSY_TIMEOUT_S choose any running one."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while not (busy := self._busy_workers()) and time.monotonic() < deadline:
            self.pause(POLL_S)
        candidates = busy or self.system.supervisor.running()
        return self.rng.choice(candidates) if candidates else None

    def kill(self, workers: list[WorkerProcess]) -> None:
        """Kill the workers with SIGKILL."""
        for worker in workers:
            worker.kill()
        for worker in workers:
            worker.wait()
        self.kills += len(workers)

    def _busy_workers(self) -> list[WorkerProcess]:
        """Return the workers that have claimed a chunk that is not done."""
        with suppress(SQLAlchemyError), self.system.database.read() as connection:
            running = self.system.supervisor.running()
            names = connection.scalars(select(chunks.c.worker).where(chunks.c.lease_until.is_not(None)))
            claiming = {str(name).partition("@")[0] for name in names}  # without the machine
            return [worker for worker in running if f"tagger-{worker.pid}" in claiming]
        return []


Fault = Callable[[FaultContext], None]
"""Breaks something and repairs it before it returns."""
