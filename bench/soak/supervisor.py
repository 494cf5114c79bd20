"""Keeps worker processes running, as systemd or Kubernetes would, and remembers how each of them lived."""

import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import TAGGER

POLL_S = 0.5
RESTART_PAUSE_S = 1.0
SETTLED_S = 10.0
"""How long a worker lives before its memory is that of a worker at work."""
STOP_TIMEOUT_S = 60.0


@dataclass
class Life:
    """One worker process from its start to its end; memory in MiB, 0 where it did not live to be asked."""

    process: subprocess.Popen[bytes]
    began: float = field(default_factory=time.monotonic)
    lived_s: float = 0.0
    settled_mib: float = 0.0
    last_mib: float = 0.0

    @property
    def name(self) -> str:
        """How its name in the ledger begins."""
        return f"tagger-{self.process.pid}@"

    def look(self) -> None:
        """Ask how it is."""
        mib = resident_mib(self.process.pid)
        if mib:
            self.lived_s, self.last_mib = time.monotonic() - self.began, mib
            if not self.settled_mib and self.lived_s > SETTLED_S:
                self.settled_mib = mib


class Supervisor:
    """Runs `count` workers in this environment from `start` to `stop`."""

    def __init__(self, count: int, environment: Mapping[str, str], log: Path) -> None:
        self._count = count
        self._environment = environment
        self._log = log
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)
        self.lives: list[Life] = []

    def start(self) -> None:
        for _ in range(self._count):
            self._launch()
        self._thread.start()

    def alive(self) -> list[Life]:
        """The workers that run now, oldest first."""
        return [life for life in list(self.lives) if life.process.poll() is None]

    def stop(self) -> list[int]:
        """End all with SIGTERM; returns their exit codes."""
        self._ended.set()
        self._thread.join()
        last = self.alive()
        for life in last:
            with suppress(ProcessLookupError):
                life.process.send_signal(signal.SIGTERM)
        return [_exit_code(life.process) for life in last]

    def _run(self) -> None:
        while not self._ended.wait(POLL_S):
            alive = self.alive()
            for life in alive:
                life.look()
            if len(alive) < self._count and not self._ended.wait(RESTART_PAUSE_S):
                self._launch()

    def _launch(self) -> None:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [*TAGGER, "worker"],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # a ^C ends the soak, and the soak its workers
            )
        self.lives.append(Life(process))


def resident_mib(pid: int) -> float:
    """Memory of a process that is in use now; 0 where it is no more."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def _exit_code(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(timeout=STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
