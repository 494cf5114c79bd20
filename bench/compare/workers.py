"""Real Celery workers with a new database, measured over the same photos: those of the tagger, and of `bench.compare.celery_app`."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis
from celery import Celery

from bench.compare import BROKER, DATABASE, MODEL, TASK
from bench.processes import TAGGER, cpu_seconds, peak_memory, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.ledger.progress import JobProgress, find_job
from tagger.ledger.workers import list_workers
from tests.rig.servers import RedisServer

POLL_S = 0.1
Worker = subprocess.Popen[bytes]


@dataclass(frozen=True)
class WorkerRun:
    """The measurements of one job.

    `processing_s` is the time from the job's first claim to its end. `cpu_s` is the workers' CPU time, `enqueue_cpu_s` that of
    the command that enqueued the job and of Redis.
    """

    photos: int
    processing_s: float
    cpu_s: float
    enqueue_cpu_s: float
    peak_mib: float


def run_workers(data: Path, model: Path, warm_up: Path, photos: Sequence[Path], count: int) -> WorkerRun:
    """Start workers, let them process the warm-up photos, and measure them over the photos."""
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        client = stack.enter_context(server.client())
        environment = tagger_environment(data, model=str(model), device="cpu", redis_url=server.url)
        database = stack.enter_context(closing(open_database(f"sqlite:///{data / 'tagger.sqlite'}")))
        workers = [
            stack.enter_context(_process([*TAGGER, "worker"], environment, data)) for _ in range(count)
        ]
        _wait_until_ready(workers, database)
        _run_job([warm_up], environment, workers, database)
        pids = [worker.pid for worker in workers]
        cpu_before_s, redis_before_s = sum(map(cpu_seconds, pids)), _redis_cpu_seconds(client)
        with peak_memory(*pids) as peak:
            job, command_cpu_s = _run_job(photos, environment, workers, database)
        if job.started_at is None or job.finished_at is None:
            raise SystemExit("the job did not start")
        return WorkerRun(
            photos=job.total,
            processing_s=(job.finished_at - job.started_at).total_seconds(),
            cpu_s=sum(map(cpu_seconds, pids)) - cpu_before_s,
            enqueue_cpu_s=command_cpu_s + _redis_cpu_seconds(client) - redis_before_s,
            peak_mib=peak.value,
        )


def run_peer(
    environment: Mapping[str, str], database: Path, model: Path, warm_up: Path, photos: Sequence[Path]
) -> WorkerRun:
    """Like `run_workers`, for one worker of `bench.compare.celery_app` with one process per core."""
    with RedisServer() as server, server.client() as client:
        settings = {BROKER: server.url, MODEL: str(model), DATABASE: str(database)}
        command = [sys.executable, "-m", "celery", "-A", "bench.compare.celery_app", "worker"]
        command += ["--pool", "prefork", "--loglevel", "WARNING"]
        with _process(command, {**environment, **settings}, database.parent) as worker:
            sender = Celery(broker=server.url)
            warm_up_photos = list(warm_up.iterdir())
            _send(sender, warm_up_photos)
            _wait_for_photos(worker, database, len(warm_up_photos))
            cpu_before_s, sending_before_s = cpu_seconds(worker.pid), _own_and_redis_seconds(client)
            start = time.monotonic()
            with peak_memory(worker.pid) as peak:
                _send(sender, photos)
                sending_s = _own_and_redis_seconds(client) - sending_before_s
                _wait_for_photos(worker, database, len(warm_up_photos) + len(photos))
                processing_s = time.monotonic() - start
            cpu_s = cpu_seconds(worker.pid) - cpu_before_s
    return WorkerRun(len(photos), processing_s, cpu_s, sending_s, peak.value)


def _send(sender: Celery, photos: Sequence[Path]) -> None:
    for path in photos:
        sender.send_task(TASK, (str(path),))


def _own_and_redis_seconds(client: redis.Redis) -> float:
    return time.process_time() + _redis_cpu_seconds(client)


def _wait_for_photos(worker: Worker, database: Path, count: int) -> None:
    while not database.exists() or _count_photos(database) < count:
        _check_running([worker])
        time.sleep(POLL_S)


def _count_photos(database: Path) -> int:
    with closing(sqlite3.connect(database, timeout=30)) as connection, suppress(sqlite3.OperationalError):
        return int(connection.execute("SELECT count(*) FROM tags WHERE rank = 1").fetchone()[0])
    return 0  # the table does not exist yet


def _run_job(
    paths: Sequence[Path], environment: dict[str, str], workers: Sequence[Worker], database: Database
) -> tuple[JobProgress, float]:
    """Enqueue photos or a folder and wait for the job's end; return the job and the command's CPU seconds."""
    enqueue = run([*TAGGER, "enqueue", *paths], environment).checked()
    while not (progress := find_job(database, int(enqueue.out))).is_over:
        _check_running(workers)
        time.sleep(POLL_S)
    return progress, enqueue.usage.cpu_s


def _redis_cpu_seconds(client: redis.Redis) -> float:
    """Return the CPU time of a Redis server so far."""
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


@contextmanager
def _process(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[Worker]:
    """Run a worker process, with a log in the folder; stop it with SIGTERM at the end."""
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_until_ready(workers: Sequence[Worker], database: Database) -> None:
    """Wait until all workers are in the database, where they register once their model is loaded."""
    while len(list_workers(database)) < len(workers):
        _check_running(workers)
        time.sleep(POLL_S)
    time.sleep(1.0)  # Celery subscribes to its queues just after


def _check_running(workers: Sequence[Worker]) -> None:
    if any(worker.poll() is not None for worker in workers):
        raise SystemExit("a worker ended")
