"""Runs a job with simulated workers: its rates, what PostgreSQL and Redis spend on it, and how long each step takes."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain

import psutil
import redis

from bench.fleet.simulated_worker import WorkerCosts
from bench.process_tree import Peak
from bench.processes import plain_environment
from tagger.database.connection import Database
from tagger.ledger.progress import list_jobs
from tests.rig.servers import PostgresServer, RedisServer
from worker.redis_keys import RedisKeys

POLL_S = 0.5
READY_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Servers:
    """The real servers of a fleet, with the settings that they have without configuration."""

    postgres: PostgresServer
    redis: RedisServer

    def database_cpu_s(self) -> float:
        """The CPU time so far of PostgreSQL, its sessions and its helpers."""
        server = psutil.Process(self.postgres.pid)
        return sum(sum(process.cpu_times()[:4]) for process in (server, *server.children(recursive=True)))


@dataclass(frozen=True)
class JobCosts:
    """One job over all photos. `redis_bytes` is what Redis used at most beyond its start, `messages` how many it held at most."""

    photos: int
    processing_s: float
    workers_cpu_s: float
    database_cpu_s: float
    claim_ms: list[float]
    store_ms: list[float]
    sweep_ms: list[float]
    messages: int
    redis_bytes: int


def run_job(database: Database, servers: Servers, job: int, workers: int) -> JobCosts:
    """Start the workers, wait for the end of the recorded job, and stop them."""
    with redis.Redis.from_url(servers.redis.url) as client:
        before_s = servers.database_cpu_s()
        start_bytes = _used_bytes(client)
        with (
            Peak(partial(_messages, client, RedisKeys(database.ledger_id)), POLL_S) as messages,
            Peak(partial(_used_bytes, client), POLL_S) as used_bytes,
        ):
            costs = _process(database, servers, job, workers)
        database_cpu_s = servers.database_cpu_s() - before_s
    progress = list_jobs(database, job)[0]
    if progress.started_at is None or progress.finished_at is None:
        raise SystemExit(f"job {job} did not end: {progress.state}")
    return JobCosts(
        photos=progress.total,
        processing_s=(progress.finished_at - progress.started_at).total_seconds(),
        workers_cpu_s=sum(each.cpu_s for each in costs),
        database_cpu_s=database_cpu_s,
        claim_ms=_joined(each.claim_ms for each in costs),
        store_ms=_joined(each.store_ms for each in costs),
        sweep_ms=_joined(each.sweep_ms for each in costs),
        messages=int(messages.value),
        redis_bytes=max(int(used_bytes.value) - start_bytes, 0),
    )


def _process(database: Database, servers: Servers, job: int, count: int) -> list[WorkerCosts]:
    with ExitStack() as stack:
        processes = [stack.enter_context(_worker(servers, f"simulated-{number}")) for number in range(count)]
        while not list_jobs(database, job)[0].is_over:
            if any(process.poll() is not None for process in processes):
                raise SystemExit("a simulated worker ended before the job")
            time.sleep(POLL_S)
        for process in processes:
            process.send_signal(signal.SIGTERM)
        return [WorkerCosts(**json.loads(process.communicate(timeout=120)[0])) for process in processes]


@contextmanager
def _worker(servers: Servers, name: str) -> Iterator[subprocess.Popen[bytes]]:
    words = [
        sys.executable,
        "-m",
        "bench.fleet.simulated_worker",
        servers.postgres.url,
        servers.redis.url,
        name,
    ]
    process = subprocess.Popen(
        words, env=plain_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _joined(lists: Iterable[list[float]]) -> list[float]:
    return sorted(chain.from_iterable(lists))


def _messages(client: "redis.Redis", keys: RedisKeys) -> int:
    return sum(client.llen(queue) for queue in keys.queues.values())


def _used_bytes(client: "redis.Redis") -> int:
    return int(client.info("memory")["used_memory"])
