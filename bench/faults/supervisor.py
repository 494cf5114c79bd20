"""Keeps worker processes running, as systemd or Kubernetes would, and records the memory of each."""

import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.process_tree import resident_mib
from bench.processes import TAGGER

POLL_S = 0.5
RESTART_DELAY_S = 1.0
WARM_UP_S = 10.0
"""After this time a worker's memory no longer grows because of its start."""
STOP_TIMEOUT_S = 60.0


@dataclass
class WorkerProcess:
    """One worker process from its start to its end. Memory is 0 if the process ended before it was sampled."""

    process: subprocess.Popen[bytes]
    started: float = field(default_factory=time.monotonic)
    lifetime_s: float = 0.0
    warm_mib: float = 0.0
    last_mib: float = 0.0

    @property
    def name_prefix(self) -> str:
        """The beginning of the worker's name in the ledger."""
        return f"tagger-{self.process.pid}@"

    def sample_memory(self) -> None:
        with suppress(psutil.NoSuchProcess):
            self.last_mib = resident_mib(self.process.pid)
            self.lifetime_s = time.monotonic() - self.started
            if not self.warm_mib and self.lifetime_s > WARM_UP_S:
                self.warm_mib = self.last_mib


class Supervisor:
    """Runs `count` workers from `start` to `stop`."""

    def __init__(self, count: int, environment: Mapping[str, str], log: Path) -> None:
        self._count = count
        self._environment = environment
        self._log = log
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self.workers: list[WorkerProcess] = []

    def start(self) -> None:
        for _ in range(self._count):
            self._start_worker()
        self._thread.start()

    def running(self) -> list[WorkerProcess]:
        """Return the running workers, oldest first."""
        return [worker for worker in list(self.workers) if worker.process.poll() is None]

    def stop(self) -> list[int]:
        """Stop all workers with SIGTERM; return their exit codes."""
        self._stop.set()
        self._thread.join()
        running = self.running()
        for worker in running:
            with suppress(ProcessLookupError):
                worker.process.send_signal(signal.SIGTERM)
        return [_exit_code(worker.process) for worker in running]

    def _run(self) -> None:
        while not self._stop.wait(POLL_S):
            running = self.running()
            for worker in running:
                worker.sample_memory()
            if len(running) < self._count and not self._stop.wait(RESTART_DELAY_S):
                self._start_worker()

    def _start_worker(self) -> None:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*TAGGER, "worker"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches only the soak, which stops its workers
            )
        self.workers.append(WorkerProcess(process))


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
