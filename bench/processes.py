"""Runs programs and measures their wall time, CPU time and peak memory, all their processes included (Linux).

Processes in other sessions, such as the worker's embedded Redis, are not counted.
Imports nothing heavy: a process starts with its parent's peak memory, so this one stays small.
"""

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TAGGER = (sys.executable, "-m", "tagger")
SHIPPED = Path(__file__).parents[1] / "tagger" / "shipped" / "landmarks.pt"
"""The model that the package ships."""
SAMPLE_INTERVAL_S = 1.0
"""The kernel walks all pages to count shared memory once. More frequent samples would slow the measured program."""


@dataclass(frozen=True)
class Usage:
    """`cpu_s` is user and system time of all threads; `peak_mib` the largest resident set."""

    wall_s: float
    cpu_s: float
    peak_mib: float


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    usage: Usage
    code: int
    out: str
    err: str

    def checked(self, *allowed_codes: int) -> "Finished":
        """Return itself if the exit code is one of `allowed_codes` (0 by default).

        Raises:
            SystemExit: it has another exit code. The message ends with its error output.
        """
        if self.code not in (allowed_codes or (0,)):
            raise SystemExit(f"a command ended with code {self.code}:\n{self.err[-2000:]}")
        return self


def run(
    command: Sequence[str | Path], environment: Mapping[str, str], *, with_children: bool = False
) -> Finished:
    """Run a command to its end. Its output goes to files, so that no reader disturbs the measurement.

    CPU time includes the children that it waited for. Peak memory is that of the largest process or, with children,
    the sampled sum of all processes.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.monotonic()
        process = subprocess.Popen(
            [str(word) for word in command],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
        )
        with peak_memory(process.pid) if with_children else nullcontext() as sampled:
            _, status, rusage = os.wait4(process.pid, 0)
            wall_s = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak_mib = sampled.value if sampled else rusage.ru_maxrss / 1024
        usage = Usage(wall_s, rusage.ru_utime + rusage.ru_stime, peak_mib)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="surrogateescape"))
    return Finished(usage, process.returncode, *texts)


def tagger_environment(data_folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of the tagger's first start with a data folder, with only these settings.

    Photos are read at once: those that a benchmark has just drawn or copied are complete.
    """
    variables = {f"TAGGER_{name.upper()}": value for name, value in settings.items()}
    defaults = {"TAGGER_DATA_FOLDER": str(data_folder), "TAGGER_SETTLE_S": "0"}
    return plain_environment() | defaults | variables


def plain_environment() -> dict[str, str]:
    """Return the environment of this process, without settings of the tagger.

    PYTHONDONTWRITEBYTECODE is removed too: where it is set, as in many containers, every start would compile torch and
    all other modules again, and the measurement would include that.
    """
    excluded = ("TAGGER_", "PYTHONDONTWRITEBYTECODE")
    return {name: value for name, value in os.environ.items() if not name.startswith(excluded)}


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and its descendants, including those that have ended."""
    # cpu_times() includes the children that have ended and were waited for.
    return _sum(pid, lambda process: sum(process.cpu_times()[:4]))


def memory_mib(pid: int) -> float:
    """Return the memory of a process and its descendants. Shared pages are divided among their users."""
    return _sum(pid, lambda process: process.memory_full_info().pss) / 2**20


@dataclass
class Peak:
    """The highest value that was measured so far."""

    value: float = 0.0


@contextmanager
def peak_memory(*pids: int) -> Iterator[Peak]:
    """Measure the programs' memory together, in MiB, inside a `with` block and once at its end."""
    peak, ended = Peak(), threading.Event()

    def sample() -> None:
        is_last = False
        while not is_last:
            is_last = ended.wait(SAMPLE_INTERVAL_S)
            peak.value = max(peak.value, sum(map(memory_mib, pids)))

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        ended.set()
        thread.join()


def _sum(pid: int, measure: Callable[[psutil.Process], float]) -> float:
    total = 0.0
    for process in _processes(pid):
        with suppress(psutil.Error):  # it has ended since
            total += measure(process)
    return total


def _processes(pid: int) -> list[psutil.Process]:
    """Return the process and its descendants in the same session; none if it has ended."""
    try:
        root = psutil.Process(pid)
        session = os.getsid(pid)
        return [root, *(child for child in root.children(recursive=True) if _session(child) == session)]
    except (psutil.NoSuchProcess, ProcessLookupError):
        return []


def _session(process: psutil.Process) -> int | None:
    with suppress(ProcessLookupError):
        return os.getsid(process.pid)
    return None
