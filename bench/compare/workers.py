"""A real Celery worker with a new database, measured: the tagger's, and `bench.compare.celery_app`."""

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

from celery import Celery

from bench.compare import BROKER, DATABASE, MODEL, TASK
from bench.processes import TAGGER, cpu_seconds, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.ledger.job_control import JobProgress, find_job
from tagger.ledger.workers import list_workers
from tests.rig.servers import RedisServer

POLL_S = 0.1
Worker = subprocess.Popen[bytes]


def run_worker(data: Path, model: Path, warm_up: Path, photos: Path) -> tuple[float, float]:
    """Let a worker of the tagger process the folder of warm-up photos and then that of photos.

    Returns:
        its CPU time for the photos, and the seconds from the first claim to the end of their job
    """
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer())
        environment = tagger_environment(data, model=str(model), device="cpu", redis_url=server.url)
        database = stack.enter_context(closing(open_database(f"sqlite:///{data / 'tagger.sqlite'}")))
        worker = stack.enter_context(_process([*TAGGER, "worker"], environment, data))
        while not list_workers(database):  # it registers once its model is loaded
            _wait_for(worker)
        time.sleep(1.0)  # Celery subscribes to its queues just after
        _run_job(warm_up, environment, worker, database)
        cpu_before_s = cpu_seconds(worker.pid)
        job = _run_job(photos, environment, worker, database)
        if job.started_at is None or job.finished_at is None:
            raise SystemExit("the job did not start")
        seconds = (job.finished_at - job.started_at).total_seconds()
        return cpu_seconds(worker.pid) - cpu_before_s, seconds


def run_peer(
    environment: Mapping[str, str], database: Path, model: Path, warm_up: Path, photos: Sequence[Path]
) -> tuple[float, float]:
    """Like `run_worker`, for a worker of `bench.compare.celery_app` with one process per core."""
    with RedisServer() as server:
        settings = {BROKER: server.url, MODEL: str(model), DATABASE: str(database)}
        command = [sys.executable, "-m", "celery", "-A", "bench.compare.celery_app", "worker"]
        command += ["--pool", "prefork", "--loglevel", "WARNING"]
        with _process(command, {**environment, **settings}, database.parent) as worker:
            sender = Celery(broker=server.url)
            warm_up_photos = list(warm_up.iterdir())
            _send(sender, warm_up_photos)
            _wait_for_photos(worker, database, len(warm_up_photos))
            cpu_before_s, start = cpu_seconds(worker.pid), time.monotonic()
            _send(sender, photos)
            _wait_for_photos(worker, database, len(warm_up_photos) + len(photos))
            return cpu_seconds(worker.pid) - cpu_before_s, time.monotonic() - start


def _send(sender: Celery, photos: Sequence[Path]) -> None:
    for path in photos:
        sender.send_task(TASK, (str(path),))


def _wait_for_photos(worker: Worker, database: Path, count: int) -> None:
    stored = 0
    while stored < count:
        _wait_for(worker)
        with closing(sqlite3.connect(database, timeout=30)) as connection, suppress(sqlite3.OperationalError):
            # the table may not exist yet
            stored = connection.execute("SELECT count(*) FROM tags WHERE rank = 1").fetchone()[0]


def _run_job(folder: Path, environment: dict[str, str], worker: Worker, database: Database) -> JobProgress:
    """Enqueue a folder and wait for the job's end."""
    enqueue = run([*TAGGER, "enqueue", folder], environment).checked()
    while not (progress := find_job(database, int(enqueue.out))).is_over:
        _wait_for(worker)
    return progress


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


def _wait_for(worker: Worker) -> None:
    if worker.poll() is not None:
        raise SystemExit("a worker ended")
    time.sleep(POLL_S)
