"""One program over one set of photos, with its start left out: CPU time of all its processes, time, memory.

A command is run twice, over the warm-up photos and over those and the set, and the difference is the set's. Workers
are started and given the warm-up photos first, and measured while they go through the set.
"""

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.comparison.stored import BY_PEER, BY_TAGGER, Wanted, count_stored, first_tags
from bench.peers import BROKER, DATABASE, MODEL
from bench.process_tree import PeakMemory, cpu_seconds
from bench.processes import TAGGER, Usage, plain_environment, run, tagger_environment
from bench.workers import redis_cpu_seconds, run_workers
from tests.support.servers import RedisServer

REPOSITORY = Path(__file__).parent.parent.parent
PEER_DATABASE = "peer.sqlite"
POLL_S = 0.1
STALLED_S = 120.0
LEAST = 0.001
"""What is too quick for a clock, or less than its noise: ratios want more than nothing."""


@dataclass(frozen=True)
class Task:
    """What a program is to do: look at `photos`, a folder, with `model`, after `warm_up`.

    `remembered` holds what the tagger found out about this machine when it first ran here.
    """

    model: Path
    remembered: Path
    warm_up: Path
    photos: Path
    wanted: Wanted

    @property
    def count(self) -> int:
        return len(self.wanted.photos)


@dataclass(frozen=True)
class Measured:
    """One run. None: there is no such thing, as a worker is up before and a command sends nothing.

    A rate is None where another program disturbed the start so much that nothing is left without it.

    `cpu_ms` and `rate` (photos per second) leave the start out, `start_s` is it. `sending_cpu_s`: the command that
    sent the photos to workers, and Redis meanwhile. `firsts`: the slug of each photo's best tag.
    """

    cpu_ms: float
    rate: float | None
    peak_mib: float
    firsts: Mapping[str, str]
    start_s: float | None = None
    sending_cpu_s: float | None = None


def tag(**settings: str) -> Callable[[Task], Measured]:
    """`tagger tag`, with settings that are not the usual ones."""

    def measure(task: Task) -> Measured:
        def run_it(folder: Path, paths: Sequence[Path]) -> Usage:
            shutil.copytree(task.remembered, folder, dirs_exist_ok=True)
            return _run_tag(task.model, folder, paths, settings)

        return _command(task, run_it, BY_TAGGER, "tagger.sqlite", "`tagger tag`")

    return measure


def remember(model: Path, warm_up: Path, folder: Path, **settings: str) -> None:
    """Let the tagger find out what runs the model best here, and keep that in a folder, without the database."""
    _run_tag(model, folder, [warm_up], settings)
    for file in folder.glob("*.sqlite*"):
        file.unlink()


def reference(task: Task) -> dict[str, str]:
    """The best tag of each photo, as found with photos decoded whole and float32; not measured."""
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        _run_peer(("bench.peers.loader",), task.model, Path(folder), [task.photos])
        return first_tags(Path(folder) / PEER_DATABASE, BY_PEER, task.wanted, "bench.peers.loader")


def peer_command(*words: str) -> Callable[[Task], Measured]:
    """A peer that is a command: MODEL DATABASE PATH… are put behind the words."""

    def measure(task: Task) -> Measured:
        def run_it(folder: Path, paths: Sequence[Path]) -> Usage:
            command: list[str | Path] = [
                sys.executable,
                "-m",
                *words,
                task.model,
                folder / PEER_DATABASE,
                *paths,
            ]
            return run(command, _peer_environment(), with_children=True).checked().usage

        return _command(task, run_it, BY_PEER, PEER_DATABASE, " ".join(words))

    return measure


def workers(count: int) -> Callable[[Task], Measured]:
    """Celery workers of the tagger."""

    def measure(task: Task) -> Measured:
        with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
            shutil.copytree(task.remembered, name, dirs_exist_ok=True)
            done = run_workers(Path(name), task.model, task.warm_up, task.photos, count)
            firsts = first_tags(Path(name) / "tagger.sqlite", BY_TAGGER, task.wanted, "`tagger worker`")
        return Measured(
            cpu_ms=max(1000 * done.cpu_s / done.photos, LEAST),
            rate=done.photos / max(done.going_s, LEAST),
            peak_mib=done.peak_mib,
            firsts=firsts,
            sending_cpu_s=done.sending_cpu_s,
        )

    return measure


def celery_peer(app: str) -> Callable[[Task], Measured]:
    """A peer that is a Celery app: a worker with Celery's own pool of processes, one for each core."""

    def measure(task: Task) -> Measured:
        with RedisServer() as server, tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
            database = Path(name) / PEER_DATABASE
            settings = {BROKER: server.url, MODEL: str(task.model), DATABASE: str(database)}
            with _celery_worker(app, Path(name) / "worker.log", settings) as process:
                return _measured(process, server, database, task, app)

    return measure


def _run_tag(model: Path, folder: Path, paths: Sequence[Path], settings: Mapping[str, str]) -> Usage:
    environment = tagger_environment(folder, model=str(model), device="cpu", **settings)
    return run([*TAGGER, "tag", *paths], environment, with_children=True).checked(0, 3).usage


def _run_peer(words: Sequence[str], model: Path, folder: Path, paths: Sequence[Path]) -> Usage:
    command: list[str | Path] = [sys.executable, "-m", *words, model, folder / PEER_DATABASE, *paths]
    return run(command, _peer_environment(), with_children=True).checked().usage


def _command(
    task: Task, run_it: Callable[[Path, Sequence[Path]], Usage], query: str, database: str, name: str
) -> Measured:
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        start = run_it(Path(folder), [task.warm_up])
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as folder:
        whole = run_it(Path(folder), [task.warm_up, task.photos])
        firsts = first_tags(Path(folder) / database, query, task.wanted, name)
    return Measured(
        cpu_ms=max(1000 * (whole.cpu_s - start.cpu_s) / task.count, LEAST),
        rate=task.count / (whole.wall_s - start.wall_s) if whole.wall_s > start.wall_s else None,
        peak_mib=whole.peak_mib,
        firsts=firsts,
        start_s=start.wall_s,
    )


def _measured(
    process: subprocess.Popen[bytes], server: RedisServer, database: Path, task: Task, app: str
) -> Measured:
    _send(server, task.warm_up)
    warm, _ = _wait_until_stored(process, database, _photos_in(task.warm_up))
    with server.client() as client, PeakMemory(process.pid) as peak:
        before, redis_before = cpu_seconds(process.pid), redis_cpu_seconds(client)
        began, sending_cpu_s = _send(server, task.photos)
        _, ended = _wait_until_stored(process, database, warm + task.count)
        cpu_s = cpu_seconds(process.pid) - before
        sending_cpu_s += redis_cpu_seconds(client) - redis_before
    return Measured(
        cpu_ms=max(1000 * cpu_s / task.count, LEAST),
        rate=task.count / max(ended - began, LEAST),
        peak_mib=peak.mib,
        firsts=first_tags(database, BY_PEER, task.wanted, app),
        sending_cpu_s=sending_cpu_s,
    )


def _send(server: RedisServer, folder: Path) -> tuple[float, float]:
    """When the first message was sent, and the CPU seconds that sending took."""
    sent = run([sys.executable, "-m", "bench.peers.send", server.url, folder], _peer_environment()).checked()
    return float(sent.out), sent.usage.cpu_s


def _wait_until_stored(process: subprocess.Popen[bytes], database: Path, count: int) -> tuple[int, float]:
    """Until so many photos are stored; how many are, and when the last was."""
    stored, last = count_stored(database)
    progressed = time.monotonic()
    while stored < count:
        time.sleep(POLL_S)
        before = stored
        stored, last = count_stored(database)
        if stored > before:
            progressed = time.monotonic()
        if process.poll() is not None or time.monotonic() - progressed > STALLED_S:
            said = (database.parent / "worker.log").read_text(errors="replace")[-2000:]
            raise SystemExit(f"a Celery peer stored {stored} of {count} photos and no more:\n{said}")
    return stored, last


@contextmanager
def _celery_worker(app: str, log: Path, settings: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "celery",
        "-A",
        app,
        "worker",
        "--pool",
        "prefork",
        "--loglevel",
        "WARNING",
    ]
    with log.open("wb") as words:
        process = subprocess.Popen(
            command,
            cwd=REPOSITORY,
            env={**_peer_environment(), **settings},
            stdin=subprocess.DEVNULL,
            stdout=words,
            stderr=words,
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)  # Celery's children end with it
        process.wait(timeout=60)


def _peer_environment() -> dict[str, str]:
    # OpenMP's threads sleep while they wait, as they do in the tagger. No documentation tells people so, and by default
    # they spin: half of DataLoader's CPU time would be that, and the more, the busier the machine is.
    return plain_environment() | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}


def _photos_in(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())
