"""CPU time and memory of a running program, all its processes included (Linux).

Processes in other sessions, such as the worker's embedded Redis, are not counted.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil

SAMPLE_INTERVAL_S = 1.0
"""The kernel walks all pages to count shared memory once. More frequent samples would slow the measured program."""


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
