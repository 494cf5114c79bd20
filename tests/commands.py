"""Typing the commands as a person would: real processes, a data folder of their own, a tiny model."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import redis
from artifacts import LABELS, colour_of, tiny_artifact
from PIL import Image
from quick_start import QuickProcess
from sqlalchemy import select, text

from tagger.database import Database, open_database
from tagger.ledger.progress import JobProgress, WorkerSeen, list_jobs, list_workers
from tagger.tables import chunks
from worker.broker import Broker
from worker.embedded import embedded_url

BIN = Path(sys.executable).parent
INJECTED = Path(__file__).parent / "faults" / "injected"
WORKER_START_S = 60.0


class Terminal:
    """One person's terminal: every command runs in `folder` with the same settings."""

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
            "COLUMNS": "120",
            **(settings or {}),
        }
        self.injected: dict[str, str] = {}

    def inject(self, **faults: str | Path) -> None:
        """What `start` starts from now on breaks so: `kill_on_open="kills"` (see faults/injected/sitecustomize.py)."""
        self.injected |= {f"INJECT_{name.upper()}": str(value) for name, value in faults.items()}
        self.injected["PYTHONPATH"] = str(INJECTED)

    def run(
        self, *words: str | bytes | Path, code: int = 0, stdin: bytes = b"", timeout_s: float = 180
    ) -> subprocess.CompletedProcess[str]:
        """Type `tagger` and these words; fails unless it ends with `code`."""
        with QuickProcess(
            [str(BIN / "tagger"), *words],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                out, err = process.communicate(stdin, timeout=timeout_s)
            except BaseException:
                process.kill()
                raise
        result = subprocess.CompletedProcess(
            process.args, process.returncode, os.fsdecode(out), os.fsdecode(err)
        )
        assert result.returncode == code, (
            f"{result.args} ended with {result.returncode}:\n{result.stdout}{result.stderr}"
        )
        return result

    def json(self, *words: str | bytes | Path, code: int = 0) -> Any:
        """The document that a command with --json prints."""
        return json.loads(self.run(*words, "--json", code=code).stdout)

    def start(self, *words: str | Path, program: str = "tagger") -> subprocess.Popen[bytes]:
        """Start a command that goes on; its words go to `log`."""
        with self.log.open("ab") as log:
            # What is killed, frozen and starved is started for real.
            return subprocess.Popen(
                [str(BIN / program), *words],
                cwd=self.folder,
                env=self.environment | self.injected,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> Path:
        return self.folder / "processes.log"

    @contextmanager
    def workers(self, count: int = 1, *words: str) -> Iterator[list[subprocess.Popen[bytes]]]:
        """Celery workers that are ready; ended with SIGTERM, if they still live, as an operator would."""
        processes = [self.start("worker", *words) for _ in range(count)]
        try:
            self.wait_until(lambda: len(self.workers_seen()) >= count, timeout_s=WORKER_START_S)
            yield processes
        finally:
            for process in processes:
                stop(process)

    def jobs(self) -> list[JobProgress]:
        """What `status` says of all jobs, without the time that starting a command takes."""
        with self.database() as database:
            return list_jobs(database)

    def progress(self, job: int) -> JobProgress:
        """The same of one job."""
        with self.database() as database:
            return list_jobs(database, job)[0]

    def workers_seen(self) -> list[WorkerSeen]:
        """What `status` says of workers."""
        with self.database() as database:
            return list_workers(database)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The database the commands use."""
        database = open_database(
            self.environment.get("TAGGER_DATABASE_URL") or f"sqlite:///{self.data}/tagger.sqlite"
        )
        try:
            yield database
        finally:
            database.close()

    @contextmanager
    def frozen(self, workers: Sequence[subprocess.Popen[bytes]]) -> Iterator[None]:
        """The workers' processes stand still (SIGSTOP) meanwhile, so that a job does not run ahead of the test."""
        with self.database() as database:
            for worker in workers:
                self.wait_until(partial(_freeze, worker, database), every_s=0.01)
        try:
            yield
        finally:
            for worker in workers:
                worker.send_signal(signal.SIGCONT)

    def freeze_with_a_lease(self, worker: subprocess.Popen[bytes], database: Database) -> None:
        """Stop the worker's process (SIGSTOP) while it holds a chunk that is not done."""
        held = select(chunks.c.job_id).where(
            chunks.c.worker.startswith(f"tagger-{worker.pid}@"), chunks.c.done.is_(False)
        )

        def holds() -> bool:
            with database.read() as connection:
                return connection.execute(held).first() is not None

        def is_caught() -> bool:
            if not holds() or not _freeze(worker, database):
                return False
            if not holds():  # it was done just before
                worker.send_signal(signal.SIGCONT)
                return False
            return True

        self.wait_until(is_caught, every_s=0.005)

    def wait_until(
        self, condition: Callable[[], object], timeout_s: float = 120.0, every_s: float = 0.2
    ) -> None:
        until = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > until:
                log = self.log.read_text(errors="replace") if self.log.exists() else ""
                raise AssertionError(f"it did not come to that within {timeout_s} s\n{log[-4000:]}")
            time.sleep(every_s)

    def end_embedded_redis(self) -> None:
        with suppress(redis.RedisError), Broker(embedded_url(self.data), embedded=True).client() as client:
            client.shutdown(nosave=True)


def stop(process: subprocess.Popen[bytes]) -> int:
    """SIGTERM, and the exit code."""
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    return process.wait(timeout=60)


def _freeze(worker: subprocess.Popen[bytes], database: Database) -> bool:
    """Stop the process; not in the middle of a transaction, which would keep everybody else from writing."""
    worker.send_signal(signal.SIGSTOP)
    if _is_amid_a_transaction(database):
        worker.send_signal(signal.SIGCONT)
        return False
    return True


def _is_amid_a_transaction(database: Database) -> bool:
    """Whether anybody else has a transaction open in which something is written, or may be."""
    if not database.is_sqlite:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND xact_start IS NOT NULL"
        with database.read() as connection:
            return bool(connection.scalar(text(f"{others} AND pid <> pg_backend_pid()")))
    file = database.shown_url.removeprefix("sqlite:///")
    try:
        with closing(sqlite3.connect(file, timeout=0.2)) as connection:
            connection.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError:
        return True
    return False


def draw(path: Path, label: int | None = 0, *, size: tuple[int, int] = (120, 90), seed: int = 0) -> Path:
    """A photo of a label of the tiny model, or (None) of nothing it knows; another seed gives another picture."""
    colour = (128, 128, 128) if label is None else colour_of(label)
    picture = Image.new("RGB", size, colour)
    for bit in range(24):  # a few pixels that tell pictures apart, too small to matter
        shade = (255, 255, 255) if seed >> bit & 1 else (0, 0, 0)
        picture.paste(shade, (bit * 4, 0, bit * 4 + 4, 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=90)
    return path


def draw_many(folder: Path, count: int, *, size: tuple[int, int] = (120, 90)) -> None:
    """Pictures that are all different, of every label in turn and of none."""
    for seed in range(count):
        label = seed % (len(LABELS) + 1)
        draw(
            folder / f"{seed // 100:02}" / f"{seed:05}.jpg",
            label if label < len(LABELS) else None,
            size=size,
            seed=seed,
        )
