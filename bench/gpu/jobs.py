"""Jobs of the real programs, `tagger tag` and `tagger worker` with an embedded Redis and SQLite, and what they cost while they run."""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from statistics import mean
from typing import Self

import redis

from bench.processes import SHIPPED, TAGGER, Finished, run, tagger_environment
from tagger.database.connection import open_database
from tagger.ledger.progress import JobProgress, find_job
from tagger.ledger.workers import WorkerStatus, list_workers
from worker.embedded_redis import socket_client
from worker.embedded_socket import socket_path

REPOSITORY = Path(__file__).parents[2]
SIMULATED = Path(__file__).parent / "simulated"
LEASE_S = 6
"""So that nobody waits for the 45 s after which another worker continues the work of one that was killed."""
POLL_S, STOP_S = 0.05, 60.0
SUBSCRIBE_S = 1.0
"""A worker that has registered subscribes to its queues in this time."""
WAIT_S = 120.0
"""For anything. The first start on a GPU selects the batch size."""
SAMPLE_S, PARTS = 0.1, 10
SAMPLE = re.compile(r"(\d+) %, (\d+) MiB")
NO_SAMPLES = "nvidia-smi does not say"

Process = subprocess.Popen[bytes]


class Library:
    """A data folder with its database and its embedded Redis, and the programs that use it. Closing it ends them."""

    def __init__(self, folder: Path, device: str) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700)
        # GPUs run TorchScript, so the CPU runs it in their place.
        backend = {"backend": "torchscript"} if device == "cpu" else {}
        self.environment = tagger_environment(folder, model=str(SHIPPED), device=device, **backend)
        # From a checkout that is not installed, and with packages that were carried.
        self.environment["PYTHONPATH"] = os.pathsep.join(
            [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        self.database = open_database(f"sqlite:///{folder / 'tagger.sqlite'}")
        self._log = folder / "workers.log"
        self._workers: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_workers()
        socket = socket_path(self.folder, self.database.ledger_id)
        if socket.exists():
            with suppress(redis.RedisError), socket_client(str(socket), STOP_S) as client:
                client.shutdown(nosave=True)
        self.database.close()

    def tag(self, *words: str | Path, **variables: str) -> Finished:
        """Run `tagger tag --again` to its end, with these variables."""
        return run([*TAGGER, "tag", "--again", *words], self.environment | variables).checked(0, 3)

    def simulated(self, **faults: float) -> dict[str, str]:
        """The variables that simulate faults in a process (see simulated/sitecustomize.py)."""
        path = os.pathsep.join([str(SIMULATED), self.environment["PYTHONPATH"]])
        return {
            "PYTHONPATH": path,
            **{f"SIMULATED_{name.upper()}": str(each) for name, each in faults.items()},
        }

    def start_worker(self, **faults: int) -> Process:
        """Start a worker with short leases and these faults, without waiting until it is ready."""
        environment = self.environment | self.simulated(lease_s=LEASE_S, **faults)
        with self._log.open("ab") as log:
            worker = subprocess.Popen(
                [*TAGGER, "worker"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._workers.append(worker)
        return worker

    def wait_until_ready(self, worker: Process) -> None:
        """Wait until a worker takes messages."""
        self.wait_until(lambda: any(not each.is_starting for each in self._statuses(worker)), worker)
        time.sleep(SUBSCRIBE_S)

    def is_busy(self, worker: Process) -> bool:
        """Whether a worker processes photos."""
        return any(each.chunks for each in self._statuses(worker))

    def enqueue(self, folder: Path) -> int:
        """Make a job for all photos of a folder, also of those that have tags."""
        return int(run([*TAGGER, "enqueue", "--again", folder], self.environment).checked().out)

    def wait_for(self, job: int) -> JobProgress:
        """Wait until a job is over."""
        self.wait_until(lambda: find_job(self.database, job).is_over)
        return find_job(self.database, job)

    def wait_until(self, is_over: Callable[[], bool], worker: Process | None = None) -> None:
        """Wait for something, while a worker runs.

        Raises:
            SystemExit: it did not happen in time, or the worker ended. The message has the end of the workers' log.
        """
        deadline = time.monotonic() + WAIT_S
        while not is_over():
            if time.monotonic() > deadline or (worker is not None and worker.poll() is not None):
                last = " ".join(self._log.read_text().splitlines()[-2:])
                raise SystemExit(f"nothing happened for {WAIT_S:.0f} s, or a worker ended: {last}")
            time.sleep(POLL_S)

    def stop_workers(self) -> None:
        """Stop all workers that run."""
        for worker in self._workers:
            self.stop(worker)

    def stop(self, worker: Process) -> None:
        """Stop a worker as systemd does, if it runs."""
        if worker.poll() is None:
            worker.terminate()
            with suppress(subprocess.TimeoutExpired):
                worker.wait(STOP_S)
            worker.kill()
            worker.wait()

    def _statuses(self, worker: Process) -> Sequence[WorkerStatus]:
        return [each for each in list_workers(self.database) if f"-{worker.pid}@" in each.name]


@contextmanager
def frozen(*workers: Process) -> Iterator[None]:
    """Let workers do nothing inside the context: afterwards, all of them have the same job before them."""
    for worker in workers:
        worker.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGCONT)


def peak_memory_mib(pid: int) -> float:
    """The most memory that a running process has had (Linux)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def nvidia_smi(query: str) -> str:
    """What nvidia-smi says of the first GPU, where there is one."""
    if shutil.which("nvidia-smi") is None:
        return NO_SAMPLES
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader", "--id=0"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


class GpuLoad:
    """Samples the load and the memory of the first GPU inside its context, all processes together. Without nvidia-smi, it has none."""

    def __init__(self) -> None:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="load", daemon=True)
        self._samples: list[tuple[float, int, int]] = []
        """The time, percent, and MiB."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(SAMPLE_S):
            at, said = time.time(), nvidia_smi("utilization.gpu,memory.used")
            if numbers := SAMPLE.fullmatch(said):
                self._samples.append((at, int(numbers[1]), int(numbers[2])))

    def load(self, start: float, end: float) -> str:
        """The average between two times, and that of each tenth of it."""
        loads = [load for at, load, _ in self._samples if start <= at <= end]
        if not loads:
            return NO_SAMPLES
        bounds = [len(loads) * part // PARTS for part in range(PARTS + 1)]
        parts = [loads[first:last] for first, last in pairwise(bounds) if last > first]
        return f"{mean(loads):.0f} %; over time: {' '.join(f'{mean(part):.0f}' for part in parts)}"

    @property
    def memory(self) -> str:
        """The most that was taken."""
        return f"{max(memory for _, _, memory in self._samples):,} MiB" if self._samples else NO_SAMPLES
