"""One real Celery worker, an embedded Redis and a database, all of their own, measured over one job."""

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import redis

from bench.processes import TAGGER, Usage, cpu_seconds, peak_mib, run, tagger_environment
from tagger.database import Database, open_database
from tagger.ledger.progress import JobProgress, list_jobs, list_workers
from worker.broker import Broker
from worker.embedded import embedded_url

READY_TIMEOUT_S = 120.0
POLL_S = 0.1


@dataclass(frozen=True)
class WorkerRun:
    """One job; `whole` is from the start of `enqueue` to the job's end, and the worker process's alone.

    `going_s` is from the job's first claim to its end, `enqueue_cpu_s` what the command that recorded the job used.
    """

    photos: int
    whole: Usage
    going_s: float
    enqueue_cpu_s: float

    @property
    def rate(self) -> float:
        return self.photos / self.whole.wall_s

    @property
    def rate_going(self) -> float:
        return self.photos / max(self.going_s, 0.001)

    @property
    def cpu_ms(self) -> float:
        return self.whole.cpu_s / self.photos * 1000

    @property
    def enqueue_ms(self) -> float:
        return self.enqueue_cpu_s / self.photos * 1000


def run_worker(data: Path, folder: Path, model: Path) -> WorkerRun:
    """Start a worker, wait until it is ready, enqueue a folder, and measure until the job is finished."""
    environment = tagger_environment(data, model=str(model))
    with running_worker(data, environment) as process, opened_database(data) as database:
        wait_until_ready(process, database)
        cpu_before, began = cpu_seconds(process.pid), time.time()
        enqueued = run([*TAGGER, "enqueue", folder], environment).checked()
        job = wait_until_finished(process, database, int(enqueued.out))
        cpu_s = cpu_seconds(process.pid) - cpu_before
        if job.started_at is None or job.finished_at is None:
            raise SystemExit("the job ended without having begun; was the folder empty?")
        return WorkerRun(
            photos=job.total,
            whole=Usage(job.finished_at.timestamp() - began, cpu_s, peak_mib(process.pid)),
            going_s=(job.finished_at - job.started_at).total_seconds(),
            enqueue_cpu_s=enqueued.usage.cpu_s,
        )


@contextmanager
def running_worker(data: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process, ended with SIGTERM; its embedded Redis is ended too."""
    with (data / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [*TAGGER, "worker"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
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


def wait_until_ready(process: subprocess.Popen[bytes], database: Database) -> None:
    """Until it says in the database that it is there, which it does after its model is loaded."""
    until = time.monotonic() + READY_TIMEOUT_S
    while not list_workers(database):
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
