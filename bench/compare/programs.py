"""Measures one program over one set of photos: CPU time of all its processes, throughput, memory. Start-up is excluded.

A command runs twice, over the warm-up photos and over these and the set; the difference is the set's cost. Workers process
the warm-up photos before the measurement begins.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert, select

from bench.compare.stored_tags import PEER_QUERY, TAGGER_QUERY, ExpectedTags, count_stored, read_top_tags
from bench.compare.workers import redis_cpu_seconds, run_workers
from bench.peers import BROKER, DATABASE, MODEL
from bench.process_tree import cpu_seconds, peak_memory
from bench.processes import TAGGER, Usage, plain_environment, run, tagger_environment
from tagger.database.connection import open_database
from tagger.database.tables import backend_selections
from tests.rig.servers import RedisServer

REPOSITORY = Path(__file__).parents[2]
PEER_DATABASE, TAGGER_DATABASE = "peer.sqlite", "tagger.sqlite"
POLL_S = 0.1
STALL_TIMEOUT_S = 120.0
MIN_COST = 0.001
"""The lower limit of a cost: a difference within the clock's noise may be zero or less, and ratios need a positive number."""


@dataclass(frozen=True)
class Workload:
    """The model and the photos of one measurement. `data_folder` contains the backend selections of this machine, in a database without photos."""

    model: Path
    data_folder: Path
    warm_up: Path
    photos: Path
    expected: ExpectedTags

    @property
    def count(self) -> int:
        return len(self.expected.photos)


@dataclass(frozen=True)
class Measurement:
    """One run of a program.

    `cpu_ms` per photo and `rate` (photos/s) exclude start-up. `rate` is None if start-up took longer than the whole run,
    which other load may cause. `start_s` is for commands only. `enqueue_cpu_s`, for workers only, is the CPU time of the
    command that enqueued the photos and of Redis. `top_tags` has the slug of each photo's best tag.
    """

    cpu_ms: float
    rate: float | None
    peak_mib: float
    top_tags: Mapping[str, str]
    start_s: float | None = None
    enqueue_cpu_s: float | None = None


def measure_tag(**settings: str) -> Callable[[Workload], Measurement]:
    """`tagger tag` with these settings."""

    def measure(workload: Workload) -> Measurement:
        def run_tag(folder: Path, paths: Sequence[Path]) -> Usage:
            shutil.copytree(workload.data_folder, folder, dirs_exist_ok=True)
            return _run_tag(workload.model, folder, paths, settings)

        return _measure_command(workload, run_tag, TAGGER_QUERY, TAGGER_DATABASE, "`tagger tag`")

    return measure


def cache_backend_selection(model: Path, warm_up: Path, data_folder: Path, **settings: str) -> None:
    """Let the tagger choose the fastest backend of this machine, and keep of its database only the choices.

    Otherwise each run would measure the backends again: that takes longer than many a set of photos, and may end differently.
    """
    _run_tag(model, data_folder, [warm_up], settings)
    url = f"sqlite:///{data_folder / TAGGER_DATABASE}"
    with closing(open_database(url)) as database, database.read() as connection:
        choices = [dict(row) for row in connection.execute(select(backend_selections)).mappings()]
    for file in data_folder.glob("*.sqlite*"):
        file.unlink()
    with closing(open_database(url)) as database, database.write() as connection:
        connection.execute(insert(backend_selections), choices)


def reference_tags(workload: Workload) -> dict[str, str]:
    """The best tag of each photo, decoded at full size and computed in float32."""
    with _temporary_folder() as folder:
        _run_script(["bench.peers.loader"], workload.model, folder, [workload.photos])
        return read_top_tags(folder / PEER_DATABASE, PEER_QUERY, workload.expected, "bench.peers.loader")


def measure_script(module: str, *options: str) -> Callable[[Workload], Measurement]:
    """A peer that is a command with the arguments MODEL DATABASE PATH…."""

    def measure(workload: Workload) -> Measurement:
        def run_script(folder: Path, paths: Sequence[Path]) -> Usage:
            return _run_script([module, *options], workload.model, folder, paths)

        return _measure_command(workload, run_script, PEER_QUERY, PEER_DATABASE, " ".join([module, *options]))

    return measure


def measure_workers(count: int) -> Callable[[Workload], Measurement]:
    """Celery workers of the tagger."""

    def measure(workload: Workload) -> Measurement:
        with _temporary_folder() as folder:
            shutil.copytree(workload.data_folder, folder, dirs_exist_ok=True)
            job = run_workers(folder, workload.model, workload.warm_up, workload.photos, count)
            database = folder / TAGGER_DATABASE
            top_tags = read_top_tags(database, TAGGER_QUERY, workload.expected, "`tagger worker`")
        return Measurement(
            cpu_ms=max(1000 * job.cpu_s / job.photos, MIN_COST),
            rate=job.photos / max(job.processing_s, MIN_COST),
            peak_mib=job.peak_mib,
            top_tags=top_tags,
            enqueue_cpu_s=job.enqueue_cpu_s,
        )

    return measure


def measure_celery_app(app: str) -> Callable[[Workload], Measurement]:
    """A peer that is a Celery app, in a worker with a prefork pool of one process per core."""

    def measure(workload: Workload) -> Measurement:
        with RedisServer() as server, _temporary_folder() as folder:
            database = folder / PEER_DATABASE
            settings = {BROKER: server.url, MODEL: str(workload.model), DATABASE: str(database)}
            with _celery_worker(app, folder / "worker.log", settings) as worker:
                return _measure_worker(worker, server, database, workload, app)

    return measure


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        yield Path(name)


def _run_tag(model: Path, folder: Path, paths: Sequence[Path], settings: Mapping[str, str]) -> Usage:
    environment = tagger_environment(folder, model=str(model), device="cpu", **settings)
    return run([*TAGGER, "tag", *paths], environment, with_children=True).checked(0, 3).usage


def _run_script(arguments: Sequence[str], model: Path, folder: Path, paths: Sequence[Path]) -> Usage:
    command: list[str | Path] = [sys.executable, "-m", *arguments, model, folder / PEER_DATABASE, *paths]
    return run(command, _peer_environment(), with_children=True).checked().usage


def _measure_command(
    workload: Workload,
    run_command: Callable[[Path, Sequence[Path]], Usage],
    query: str,
    database: str,
    program: str,
) -> Measurement:
    with _temporary_folder() as folder:
        start = run_command(folder, [workload.warm_up])
    with _temporary_folder() as folder:
        total = run_command(folder, [workload.warm_up, workload.photos])
        top_tags = read_top_tags(folder / database, query, workload.expected, program)
    return Measurement(
        cpu_ms=max(1000 * (total.cpu_s - start.cpu_s) / workload.count, MIN_COST),
        rate=workload.count / (total.wall_s - start.wall_s) if total.wall_s > start.wall_s else None,
        peak_mib=total.peak_mib,
        top_tags=top_tags,
        start_s=start.wall_s,
    )


def _measure_worker(
    worker: subprocess.Popen[bytes], server: RedisServer, database: Path, workload: Workload, app: str
) -> Measurement:
    _send(server, workload.warm_up)
    warm_up_count = sum(1 for _ in workload.warm_up.iterdir())
    _wait_until_stored(worker, database, warm_up_count)
    with server.client() as client, peak_memory(worker.pid) as peak:
        cpu_before_s, redis_before_s = cpu_seconds(worker.pid), redis_cpu_seconds(client)
        start, send_cpu_s = _send(server, workload.photos)
        end = _wait_until_stored(worker, database, warm_up_count + workload.count)
        cpu_s = cpu_seconds(worker.pid) - cpu_before_s
        redis_cpu_s = redis_cpu_seconds(client) - redis_before_s
    return Measurement(
        cpu_ms=max(1000 * cpu_s / workload.count, MIN_COST),
        rate=workload.count / max(end - start, MIN_COST),
        peak_mib=peak.value,
        top_tags=read_top_tags(database, PEER_QUERY, workload.expected, app),
        enqueue_cpu_s=send_cpu_s + redis_cpu_s,
    )


def _send(server: RedisServer, folder: Path) -> tuple[float, float]:
    """Send the photos; return the time of the first message, and the CPU seconds of the command."""
    command: list[str | Path] = [sys.executable, "-m", "bench.peers.send", server.url, folder]
    finished = run(command, _peer_environment()).checked()
    return float(finished.out), finished.usage.cpu_s


def _wait_until_stored(worker: subprocess.Popen[bytes], database: Path, count: int) -> float:
    """Wait until `count` photos are stored; return the time of the last.

    Raises:
        SystemExit: the worker has ended, or stores no further photos.
    """
    stored, last = count_stored(database)
    last_change = time.monotonic()
    while stored < count:
        time.sleep(POLL_S)
        before = stored
        stored, last = count_stored(database)
        if stored > before:
            last_change = time.monotonic()
        if worker.poll() is not None or time.monotonic() - last_change > STALL_TIMEOUT_S:
            log = (database.parent / "worker.log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"a Celery peer stopped after {stored} of {count} photos:\n{log}")
    return last


@contextmanager
def _celery_worker(app: str, log: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = ["celery", "-A", app, "worker", "--pool", "prefork", "--loglevel", "WARNING"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=REPOSITORY,
            env={**_peer_environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)  # the pool's processes end with it
        process.wait(timeout=60)


def _peer_environment() -> dict[str, str]:
    # OpenMP's threads sleep while they wait, as in the tagger. By default they spin: half of DataLoader's CPU time would be
    # spinning, and more on a busy machine.
    return plain_environment() | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}


@dataclass(frozen=True)
class Program:
    """`name` is for --programs, `title` for the report."""

    name: str
    title: str
    measure: Callable[[Workload], Measurement]


TAG, TAG_TORCHSCRIPT = "tag", "tag-torchscript"
TORCHSCRIPT = {"backend": "torchscript"}
WORKER, WORKERS = "worker", "workers"
REFERENCE = "loader"
"""Decodes photos at full size and computes in float32; the other programs' tags are compared with its tags."""

PROGRAMS = (
    Program(TAG, "`tagger tag`", measure_tag()),
    Program("tag-sandbox", "`tagger tag`, sandbox for all photos", measure_tag(sandbox="always")),
    Program(TAG_TORCHSCRIPT, "`tagger tag`, TorchScript", measure_tag(**TORCHSCRIPT)),
    Program(WORKER, "`tagger worker`", measure_workers(1)),
    Program(WORKERS, "`tagger worker`, two of them", measure_workers(2)),
    Program(
        "celery", "Celery, one photo per task", measure_celery_app("bench.peers.celery_apps:one_per_task")
    ),
    Program("celery-batches", "celery-batches", measure_celery_app("bench.peers.celery_apps:batched")),
    Program(REFERENCE, "DataLoader", measure_script("bench.peers.loader")),
    Program("loader-scaled", "DataLoader, scaled", measure_script("bench.peers.loader", "--scaled")),
    Program(
        "loader-frozen",
        "DataLoader, scaled, frozen",
        measure_script("bench.peers.loader", "--scaled", "--frozen"),
    ),
)


def find_program(name: str) -> Program:
    return next(program for program in PROGRAMS if program.name == name)
