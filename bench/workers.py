"""Real Celery workers of the tagger with an embedded Redis and a new database, measured over one job."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.process_tree import cpu_seconds, peak_memory
from bench.processes import TAGGER, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.ledger.progress import JobProgress, list_jobs
from tagger.ledger.workers import list_workers
from worker.broker import Broker
from worker.embedded_socket import embedded_url

READY_TIMEOUT_S = 120.0
POLL_S = 0.1


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


def run_workers(data: Path, model: Path, warm_up: Path, folder: Path, count: int) -> WorkerRun:
    """Start workers, let them process the warm-up photos, and measure them over the folder's photos."""
    environment = tagger_environment(data, model=str(model), device="cpu")
    with ExitStack() as stack:
        workers = [stack.enter_context(running_worker(data, environment))]
        database = stack.enter_context(worker_database(data))
        wait_until_ready(workers[0], database)  # the first creates the database and starts Redis
        workers += [stack.enter_context(worker_process(data, environment)) for _ in range(count - 1)]
        wait_until_ready(workers[-1], database, count)
        client = stack.enter_context(Broker(embedded_url(data), embedded=True).client())
        _run_job(warm_up, environment, workers[0], database)
        return _measure(folder, environment, workers, database, client)


def _measure(
    folder: Path,
    environment: dict[str, str],
    workers: Sequence[subprocess.Popen[bytes]],
    database: Database,
    client: redis.Redis,
) -> WorkerRun:
    pids = [worker.pid for worker in workers]
    cpu_before_s, redis_before_s = sum(map(cpu_seconds, pids)), redis_cpu_seconds(client)
    with peak_memory(*pids) as peak:
        job, command_cpu_s = _run_job(folder, environment, workers[0], database)
    if job.started_at is None or job.finished_at is None:
        raise SystemExit(f"the job did not start; {folder} may have no photos")
    return WorkerRun(
        photos=job.total,
        processing_s=(job.finished_at - job.started_at).total_seconds(),
        cpu_s=sum(map(cpu_seconds, pids)) - cpu_before_s,
        enqueue_cpu_s=command_cpu_s + redis_cpu_seconds(client) - redis_before_s,
        peak_mib=peak.value,
    )


def _run_job(
    folder: Path, environment: dict[str, str], worker: subprocess.Popen[bytes], database: Database
) -> tuple[JobProgress, float]:
    """Enqueue a folder and wait for the job's end; return the job and the command's CPU seconds."""
    enqueue = run([*TAGGER, "enqueue", folder], environment).checked()
    return wait_until_finished(worker, database, int(enqueue.out)), enqueue.usage.cpu_s


def redis_cpu_seconds(client: redis.Redis) -> float:
    """Return the CPU time of a Redis server so far."""
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


@contextmanager
def running_worker(data: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process; stop it and its embedded Redis at the end."""
    with embedded_redis_stopped(data), worker_process(data, environment) as process:
        yield process


@contextmanager
def worker_process(data: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker process; stop it with SIGTERM at the end."""
    with (data / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            [*TAGGER, "worker"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


@contextmanager
def embedded_redis_stopped(data: Path) -> Iterator[None]:
    """Stop the data folder's embedded Redis at the end."""
    try:
        yield
    finally:
        with suppress(redis.RedisError), Broker(embedded_url(data), embedded=True).client() as client:
            client.shutdown(nosave=True)


def worker_database(data: Path) -> closing[Database]:
    """Open the database of a data folder."""
    return closing(open_database(f"sqlite:///{data / 'tagger.sqlite'}"))


def wait_until_ready(process: subprocess.Popen[bytes], database: Database, count: int = 1) -> None:
    """Wait until so many workers are in the database, where they register once their model is loaded."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while len(list_workers(database)) < count:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the worker did not start")
        time.sleep(POLL_S)
    time.sleep(1.0)  # Celery subscribes to its queues just after


def wait_until_finished(process: subprocess.Popen[bytes], database: Database, job: int) -> JobProgress:
    """Wait until the job is over, as long as the worker runs."""
    while not (progress := list_jobs(database, job)[0]).is_over:
        if process.poll() is not None:
            raise SystemExit("the worker ended before the job")
        time.sleep(POLL_S)
    return progress
