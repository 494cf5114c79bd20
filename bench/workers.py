"""Real Celery workers of the tagger, an embedded Redis and a database, all of their own, measured over one job."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.process_tree import PeakMemory, cpu_seconds
from bench.processes import TAGGER, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.ledger.progress import JobProgress, list_jobs
from tagger.ledger.workers import list_workers
from worker.broker import Broker
from worker.embedded_redis import embedded_url

READY_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True)
class WorkerRun:
    """One job. `going_s` is from its first claim to its end, CPU seconds are the workers' from its enqueueing to its end.

    `sending_cpu_s` is what the command that recorded the job used, and Redis meanwhile.
    """

    photos: int
    going_s: float
    cpu_s: float
    sending_cpu_s: float
    peak_mib: float


def run_workers(data: Path, model: Path, warm_up: Path, folder: Path, count: int) -> WorkerRun:
    """Start workers, give them a job to get warm, and measure them over the next, until it is finished."""
    environment = tagger_environment(data, model=str(model), device="cpu")
    with ExitStack() as stack:
        workers = [stack.enter_context(running_worker(data, environment))]
        database = stack.enter_context(opened_database(data))
        wait_until_ready(workers[0], database)  # the first makes the database and starts Redis
        workers += [stack.enter_context(worker_process(data, environment)) for _ in range(count - 1)]
        wait_until_ready(workers[-1], database, count)
        client = stack.enter_context(Broker(embedded_url(data), embedded=True).client())
        run_job(warm_up, environment, workers, database)
        return _measured(folder, environment, workers, database, client)


def _measured(
    folder: Path,
    environment: dict[str, str],
    workers: Sequence[subprocess.Popen[bytes]],
    database: Database,
    client: redis.Redis,
) -> WorkerRun:
    pids = [worker.pid for worker in workers]
    before, redis_before = sum(map(cpu_seconds, pids)), redis_cpu_seconds(client)
    with PeakMemory(*pids) as peak:
        job, enqueueing_cpu_s = run_job(folder, environment, workers, database)
    if job.started_at is None or job.finished_at is None:
        raise SystemExit("the job ended without having begun; was the folder empty?")
    return WorkerRun(
        photos=job.total,
        going_s=(job.finished_at - job.started_at).total_seconds(),
        cpu_s=sum(map(cpu_seconds, pids)) - before,
        sending_cpu_s=enqueueing_cpu_s + redis_cpu_seconds(client) - redis_before,
        peak_mib=peak.mib,
    )


def run_job(
    folder: Path,
    environment: dict[str, str],
    workers: Sequence[subprocess.Popen[bytes]],
    database: Database,
) -> tuple[JobProgress, float]:
    """Enqueue a folder and wait for the job's end; what it came to, and the CPU seconds of the command."""
    enqueued = run([*TAGGER, "enqueue", folder], environment).checked()
    return wait_until_finished(workers[0], database, int(enqueued.out)), enqueued.usage.cpu_s


def redis_cpu_seconds(client: redis.Redis) -> float:
    """CPU time of a Redis so far."""
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


@contextmanager
def running_worker(data: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; its embedded Redis is ended with it."""
    with embedded_redis_ended(data), worker_process(data, environment) as process:
        yield process


@contextmanager
def worker_process(data: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, ended with SIGTERM."""
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
def embedded_redis_ended(data: Path) -> Iterator[None]:
    """Afterwards no embedded Redis of this data folder goes on."""
    try:
        yield
    finally:
        with suppress(redis.RedisError), Broker(embedded_url(data), embedded=True).client() as client:
            client.shutdown(nosave=True)


@contextmanager
def opened_database(data: Path) -> Iterator[Database]:
    """The worker's database."""
    database = open_database(f"sqlite:///{data / 'tagger.sqlite'}")
    try:
        yield database
    finally:
        database.close()


def wait_until_ready(process: subprocess.Popen[bytes], database: Database, count: int = 1) -> None:
    """Until so many say in the database that they are there, which they do after their model is loaded."""
    until = time.monotonic() + READY_TIMEOUT_S
    while len(list_workers(database)) < count:
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit("the worker did not start")
        time.sleep(POLL_S)
    time.sleep(1.0)  # Celery subscribes to its queues just after


def wait_until_finished(process: subprocess.Popen[bytes], database: Database, job: int) -> JobProgress:
    """Until the job is over, as long as the worker lives."""
    while not (progress := list_jobs(database, job)[0]).is_over:
        if process.poll() is not None:
            raise SystemExit("the worker ended before the job")
        time.sleep(POLL_S)
    return progress
