"""Real Celery workers of the tagger with a new database, measured over one job."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.processes import TAGGER, cpu_seconds, peak_memory, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.ledger.progress import JobProgress, list_jobs
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
        workers = [stack.enter_context(_worker_process(data, environment)) for _ in range(count)]
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


def _run_job(
    paths: Sequence[Path], environment: dict[str, str], workers: Sequence[Worker], database: Database
) -> tuple[JobProgress, float]:
    """Enqueue photos or a folder and wait for the job's end; return the job and the command's CPU seconds."""
    enqueue = run([*TAGGER, "enqueue", *paths], environment).checked()
    while not (progress := list_jobs(database, int(enqueue.out))[0]).is_over:
        _check_running(workers)
        time.sleep(POLL_S)
    return progress, enqueue.usage.cpu_s


def _redis_cpu_seconds(client: redis.Redis) -> float:
    """Return the CPU time of a Redis server so far."""
    info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])


@contextmanager
def _worker_process(data: Path, environment: dict[str, str]) -> Iterator[Worker]:
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


def _wait_until_ready(workers: Sequence[Worker], database: Database) -> None:
    """Wait until all workers are in the database, where they register once their model is loaded."""
    while len(list_workers(database)) < len(workers):
        _check_running(workers)
        time.sleep(POLL_S)
    time.sleep(1.0)  # Celery subscribes to its queues just after


def _check_running(workers: Sequence[Worker]) -> None:
    if any(worker.poll() is not None for worker in workers):
        raise SystemExit("a worker ended")
