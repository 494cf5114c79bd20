"""The kinds of faults. They are injected in rounds of random order, so that each kind occurs."""

import random
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass

from sqlalchemy import select

from bench.soak.recovery import RecoveryMonitor
from bench.soak.supervisor import WorkerProcess
from bench.soak.system import System
from tagger.database.enums import JobState
from tagger.database.tables import chunks, jobs
from tests.support.servers import PostgresServer
from worker.celery_app import make_app
from worker.messages import TASK_NAME, ChunkMessage

INTERVAL_S = (5.0, 18.0)
"""The minimum and maximum time between two faults."""
WORKER_FREEZE_S = 55.0
"""Longer than a lease and a sweep."""
REDIS_FREEZE_S = 25.0
SERVER_OUTAGE_S = 30.0
DATABASE_LOCK_S = 20.0
FOLDER_OUTAGE_S = 15.0
INVALID_MODEL_S = 12.0
BUSY_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class FaultContext:
    """What faults work on. They wait with `pause`, which ends when the system stops."""

    system: System
    monitor: RecoveryMonitor
    rng: random.Random

    def pause(self, seconds: float) -> None:
        self.system.stopping.wait(seconds)

    def choose_worker(self) -> WorkerProcess | None:
        """Wait for a worker with a claimed chunk; after BUSY_TIMEOUT_S choose any running one."""
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while not (busy := self._busy_workers()) and time.monotonic() < deadline:
            self.pause(0.1)
        candidates = busy or self.system.supervisor.running()
        return self.rng.choice(candidates) if candidates else None

    @property
    def postgres(self) -> PostgresServer:
        assert self.system.postgres is not None
        return self.system.postgres

    def _busy_workers(self) -> list[WorkerProcess]:
        return [worker for worker in self.system.supervisor.running() if self.monitor.is_busy(worker)]


Fault = Callable[[FaultContext], None]


def inject_faults(context: FaultContext, until: float) -> Iterator[str]:
    """Inject faults until the given time; yield the name of each."""
    faults = faults_for(context.system)
    while True:
        for name in context.rng.sample(sorted(faults), len(faults)):
            context.pause(context.rng.uniform(*INTERVAL_S))
            if context.system.stopping.is_set() or time.monotonic() > until:
                return
            faults[name](context)
            yield name


def faults_for(system: System) -> dict[str, Fault]:
    """Return the faults by name, with those of the system's database."""
    return _FAULTS | (_SQLITE_FAULTS if system.postgres is None else _POSTGRES_FAULTS)


def kill_worker(context: FaultContext) -> None:
    if worker := context.choose_worker():
        context.monitor.kill("one worker", [worker])


def kill_all_workers(context: FaultContext) -> None:
    context.choose_worker()  # waits until a worker is busy
    context.monitor.kill("all workers", context.system.supervisor.running())


def stop_worker(context: FaultContext) -> None:
    if worker := context.choose_worker():
        worker.process.send_signal(signal.SIGTERM)


def freeze_worker(context: FaultContext) -> None:
    if worker := context.choose_worker():
        context.monitor.freezes += 1
        worker.process.send_signal(signal.SIGSTOP)
        context.pause(WORKER_FREEZE_S)
        worker.process.send_signal(signal.SIGCONT)


def kill_redis(context: FaultContext) -> None:
    context.system.redis.kill()
    context.system.redis.start()


def kill_and_erase_redis(context: FaultContext) -> None:
    context.system.redis.kill_and_erase()
    context.system.redis.start()


def flush_redis(context: FaultContext) -> None:
    context.system.redis.flush()


def stop_redis(context: FaultContext) -> None:
    context.system.redis.stop()
    context.pause(SERVER_OUTAGE_S)
    context.system.redis.start()


def freeze_redis(context: FaultContext) -> None:
    context.system.redis.pause()
    context.pause(REDIS_FREEZE_S)
    context.system.redis.resume()


def repeat_messages(context: FaultContext) -> None:
    """Send the messages of all running jobs again, also those of claimed and finished chunks."""
    system = context.system
    query = select(chunks.c.job_id, chunks.c.chunk).join(jobs, jobs.c.id == chunks.c.job_id)
    with system.database.read() as connection:
        rows = connection.execute(query.where(jobs.c.state == JobState.RUNNING)).all()
    app = make_app(system.redis.url)
    for row in rows:
        message = ChunkMessage(ledger=system.database.ledger_id, job=row.job_id, chunk=row.chunk)
        app.send_task(TASK_NAME, args=[message.body()], queue="tagger.bulk")
    app.close()


def unmount_folder(context: FaultContext) -> None:
    system = context.system
    with system.photos_lock:
        unmounted = system.photos.rename(system.folder / "unmounted")
        context.pause(FOLDER_OUTAGE_S)
        unmounted.rename(system.photos)


def replace_model(context: FaultContext) -> None:
    """Replace the model file by an invalid one: running workers keep their model, new ones do not start."""
    model = context.system.model
    valid = model.read_bytes()
    replacement = context.system.folder / "replacement.pt"
    replacement.write_bytes(b"invalid")
    replacement.replace(model)
    kill_worker(context)
    context.pause(INVALID_MODEL_S)
    replacement.write_bytes(valid)
    replacement.replace(model)


def lock_sqlite(context: FaultContext) -> None:
    with closing(sqlite3.connect(context.system.folder / "tagger.sqlite", timeout=60)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        context.pause(DATABASE_LOCK_S)
        connection.rollback()


def restart_postgres(context: FaultContext) -> None:
    context.postgres.stop()
    context.postgres.start()


def kill_postgres(context: FaultContext) -> None:
    context.postgres.kill()
    context.postgres.start()


def stop_postgres(context: FaultContext) -> None:
    context.postgres.stop()
    context.pause(SERVER_OUTAGE_S)
    context.postgres.start()


_FAULTS: dict[str, Fault] = {
    "worker killed": kill_worker,
    "all workers killed": kill_all_workers,
    "worker stopped with SIGTERM": stop_worker,
    "worker frozen for longer than its lease": freeze_worker,
    "Redis killed": kill_redis,
    "Redis killed and its files deleted": kill_and_erase_redis,
    "Redis flushed": flush_redis,
    "Redis stopped for a while": stop_redis,
    "Redis frozen": freeze_redis,
    "messages sent twice": repeat_messages,
    "photo folder unmounted": unmount_folder,
    "model file replaced and a worker killed": replace_model,
}
_SQLITE_FAULTS: dict[str, Fault] = {"SQLite locked by another process": lock_sqlite}
_POSTGRES_FAULTS: dict[str, Fault] = {
    "PostgreSQL restarted": restart_postgres,
    "PostgreSQL killed": kill_postgres,
    "PostgreSQL stopped for a while": stop_postgres,
}
