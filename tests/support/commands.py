"""A terminal with its own folder, settings and tiny model; services are real processes."""

import json
import os
import pty
import signal
import sqlite3
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from select import select as select_ready
from typing import Any

import psutil
import redis
from PIL import Image
from rig.ledger_invariants import job_violations, library_violations
from sqlalchemy import select, text
from support.artifacts import LABELS, colour_of, tiny_artifact
from support.command_line import environment_of, run_command, run_program
from support.databases import read_scalar
from support.injection import injecting_path
from support.job_runs import process_job, processing_jobs

from tagger.cli.main import main
from tagger.database.connection import Database, open_database
from tagger.database.tables import chunks
from tagger.ledger.job_control import JobProgress, find_job, list_jobs
from tagger.ledger.workers import WorkerStatus, list_workers
from tagger.settings import load_settings
from tagger.transfer import upgrade_database
from worker.broker import RedisEndpoint, RedisKeys
from worker.embedded_redis import embedded_url

BIN = Path(sys.executable).parent
# Commands that install signal handlers, start processes and end on a signal.
SERVICES = {"beat", "serve", "up", "worker"}
REFUSED = {1, 2}  # The codes of services that do not start
Process = subprocess.Popen[bytes]


class Terminal:
    """Runs every command in `folder` with the same settings."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.data = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        model = folder / "tiny.pt"
        if not model.exists():
            tiny_artifact(model)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAGGER_")}
        self.environment = {
            **inherited,
            "TAGGER_DATA_FOLDER": str(self.data),
            "TAGGER_MODEL": str(model),
            "TAGGER_DEVICE": "cpu",
            "TAGGER_BACKEND": "torchscript",
            "TAGGER_SETTLE_S": "0",
            "TAGGER_PROCESSES": "1",
            "COLUMNS": "120",
            **(settings or {}),
        }
        self.injected: dict[str, str] = {}

    def inject(self, **faults: str | Path) -> None:
        """Inject faults into processes started from now on: `kill_on_open="kills"` (see faults/injected)."""
        self.injected |= {f"INJECT_{name.upper()}": str(value) for name, value in faults.items()}
        self.injected["PYTHONPATH"] = injecting_path(self.environment.get("PYTHONPATH"))

    def run(
        self, *arguments: str | bytes | Path, code: int = 0, stdin: bytes = b""
    ) -> subprocess.CompletedProcess[str]:
        """Run `tagger` with these arguments; fail unless it ends with `code`. Services may start."""
        if arguments[0] in SERVICES and code not in REFUSED:
            return self.run_process(*arguments, code=code)
        options = {"environment": self.environment, "folder": self.folder, "stdin": stdin, "code": code}
        output = run_command(main, *arguments, **options)
        return subprocess.CompletedProcess(["tagger", *arguments], output.code, output.text, output.err)

    def run_process(
        self, *arguments: str | bytes | Path, program: str = "tagger", code: int = 0, timeout_s: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Run a program of ours as a real process: for servers, and variables that Python reads."""
        options = {"cwd": self.folder, "env": self.environment, "timeout": timeout_s}
        return run_program(BIN / program, *arguments, code=code, **options)

    def process_job(self, job: int) -> None:
        """Process all chunks of a job in this process: for tests of results, which need no worker process."""
        with environment_of(self.environment), self.database() as database:
            process_job(database, load_settings(), job)

    @contextmanager
    def processing_jobs(self) -> Iterator[None]:
        """Process jobs in a thread, for tests of commands that wait for them."""
        with environment_of(self.environment):
            settings = load_settings()
        upgrade_database(settings.effective_database_url)
        with self.database() as database, processing_jobs(database, settings):
            yield

    def json(self, *arguments: str | bytes | Path, code: int = 0) -> Any:
        """Run a command with --json and return its document."""
        return json.loads(self.run(*arguments, "--json", code=code).stdout)

    def start(self, *arguments: str | Path, program: str = "tagger") -> Process:
        """Start a real process in the background; its output goes to `log`."""
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [BIN / program, *arguments],
                cwd=self.folder,
                env=self.environment | self.injected,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @contextmanager
    def running(self, *arguments: str | Path) -> Iterator[Process]:
        """Start a process, and kill it at the end of the context."""
        process = self.start(*arguments)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def is_killed(self, *arguments: str | Path, commit: int) -> bool:
        """Run the command, and kill it before this commit. False if it made fewer."""
        self.inject(kill_at_commit=str(commit))
        code = self.start(*arguments).wait(timeout=120)
        assert code in {0, -signal.SIGKILL}, self.log.read_text()[-2000:]
        return code != 0

    @property
    def log(self) -> Path:
        return self.folder / "processes.log"

    @contextmanager
    def workers(self, count: int = 1, *arguments: str) -> Iterator[list[Process]]:
        """Start Celery workers and wait until they are ready; stop those that still run with SIGTERM."""
        processes = [self.start("worker", *arguments) for _ in range(count)]
        try:
            self.wait_until(lambda: len(self.active_workers()) >= count)
            yield processes
        finally:
            for process in processes:
                stop(process)

    def jobs(self) -> list[JobProgress]:
        with self.database() as database:
            return list_jobs(database)

    def progress(self, job: int) -> JobProgress:
        with self.database() as database:
            return find_job(database, job)

    def assert_consistent(self) -> None:
        """Check that all jobs have ended, and that no photo is lost or counted twice."""
        with self.database() as database:
            assert [each for job in list_jobs(database) for each in job_violations(database, job.job)] == []
            assert library_violations(database) == []

    def active_workers(self) -> list[WorkerStatus]:
        with self.database() as database:
            return [worker for worker in list_workers(database) if not worker.is_starting]

    @contextmanager
    def database(self) -> Iterator[Database]:
        database = open_database(
            self.environment.get("TAGGER_DATABASE_URL") or f"sqlite:///{self.data}/tagger.sqlite"
        )
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def frozen(self, workers: Sequence[Process | psutil.Process]) -> Iterator[None]:
        """Pause the workers (SIGSTOP) inside the context, so that a job does not run ahead of the test."""
        with self.database() as database:
            for worker in workers:
                self.wait_until(partial(_freeze, worker, database), every_s=0.01)
        try:
            yield
        finally:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):  # a supervisor has ended it
                    worker.send_signal(signal.SIGCONT)

    def freeze_with_a_lease(self, worker: Process, database: Database) -> None:
        """Pause the worker (SIGSTOP) while it holds the lease of an unfinished chunk."""
        unfinished = select(chunks.c.job_id).where(
            chunks.c.worker.startswith(f"tagger-{worker.pid}@"), chunks.c.done.is_(False)
        )

        def has_lease() -> bool:
            with database.read() as connection:
                return connection.execute(unfinished).first() is not None

        def freeze_with_lease() -> bool:
            if not has_lease() or not _freeze(worker, database):
                return False
            if not has_lease():  # the chunk was done just before
                worker.send_signal(signal.SIGCONT)
                return False
            return True

        self.wait_until(freeze_with_lease, every_s=0.005)

    def wait_until(
        self, condition: Callable[[], object], timeout_s: float = 120.0, every_s: float = 0.2
    ) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                log = self.log.read_text(errors="replace") if self.log.exists() else ""
                raise AssertionError(f"the condition did not hold within {timeout_s} s\n{log[-4000:]}")
            time.sleep(every_s)

    def end_embedded_redis(self) -> None:
        """End the servers of all databases of the data folder."""
        for folder in self.data.glob("redis/*"):
            end_embedded_redis(self.data, folder.name)


def end_embedded_redis(data_folder: Path, ledger_id: str) -> None:
    broker = RedisEndpoint(embedded_url(data_folder, ledger_id), RedisKeys(ledger_id), embedded=True)
    with suppress(redis.RedisError), broker.client() as client:
        client.shutdown(nosave=True)


def stop(process: Process) -> int:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    return process.wait(timeout=60)


def _freeze(worker: Process | psutil.Process, database: Database) -> bool:
    """Pause the process, unless it is in a transaction, which would block all other writers."""
    worker.send_signal(signal.SIGSTOP)
    if _has_open_transaction(database):
        worker.send_signal(signal.SIGCONT)
        return False
    return True


def _has_open_transaction(database: Database) -> bool:
    """Whether another connection has an open transaction that writes or may write."""
    if not database.is_sqlite:
        others = (
            "SELECT count(*) FROM pg_stat_activity WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        )
        return bool(read_scalar(database, text(f"{others} AND datname = current_database()")))
    file = database.redacted_url.removeprefix("sqlite:///")
    try:
        with closing(sqlite3.connect(file, timeout=0.2)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    return False


def draw(path: Path, label: int | None = 0, *, size: tuple[int, int] = (120, 90), seed: int = 0) -> Path:
    """Draw a photo of a label of the tiny model, or of none (None); another seed gives another image."""
    colour = (128, 128, 128) if label is None else colour_of(label)
    image = Image.new("RGB", size, colour)
    for bit in range(24):  # the seed in a few pixels: too few to change the prediction
        shade = (255, 255, 255) if seed >> bit & 1 else (0, 0, 0)
        image.paste(shade, (bit * 4, 0, bit * 4 + 4, 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, quality=90)
    return path


def draw_many(folder: Path, count: int, *, size: tuple[int, int] = (120, 90)) -> None:
    """Draw distinct photos: of each label, then of no label, and so on."""
    for seed in range(count):
        label = seed % (len(LABELS) + 1)
        draw(
            folder / f"{seed // 100:02}" / f"{seed:05}.jpg",
            label if label < len(LABELS) else None,
            size=size,
            seed=seed,
        )


def child_processes(parent: Process, word: str) -> list[psutil.Process]:
    """Those that run and have `word` in their command line."""
    found = psutil.Process(parent.pid).children()
    return [each for each in found if word in _command_line(each)]


def wait_until_gone(terminal: Terminal, processes: Sequence[psutil.Process]) -> None:
    terminal.wait_until(lambda: are_gone(processes), timeout_s=60)


def are_gone(processes: Sequence[psutil.Process]) -> bool:
    return not any(map(_command_line, processes))


def _command_line(process: psutil.Process) -> list[str]:
    """Empty for one that has ended."""
    with suppress(psutil.NoSuchProcess):  # or a zombie
        return list(process.cmdline())
    return []


WAIT_S = 60.0


class Screen:
    """A command in a terminal of 80 columns and 24 lines, and what it wrote there."""

    def __init__(self, terminal: Terminal, *words: str) -> None:
        self._ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (24, 80))
        self.process = subprocess.Popen(
            [str(BIN / "tagger"), *words],
            cwd=terminal.folder,
            env={**terminal.environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        self.written = b""
        self._found_to = 0

    def read_until(self, expected: bytes) -> None:
        """Until that has been written after what the last call waited for."""
        deadline = time.monotonic() + WAIT_S
        while (found := self.written.find(expected, self._found_to)) < 0:
            ready, _, _ = select_ready([self._ours], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{expected!r} was not written: {self.written!r}"
            self.written += os.read(self._ours, 65536)
        self._found_to = found + len(expected)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
