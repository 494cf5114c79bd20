"""CPU time and memory of a running program, all its processes included (Linux).

Processes in other sessions, such as the worker's embedded Redis, are not counted.
"""

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

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


class Peak:
    """Calls `measure` at this interval inside a `with` block, and once at its end; `value` is the highest result."""

    def __init__(self, measure: Callable[[], float], interval_s: float) -> None:
        self.value = 0.0
        self._measure = measure
        self._interval_s = interval_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _sample(self) -> None:
        ended = False
        while not ended:
            ended = self._ended.wait(self._interval_s)
            self.value = max(self.value, self._measure())


def peak_memory(*pids: int) -> Peak:
    """The peak of the programs' memory together, in MiB, inside a `with` block."""
    return Peak(lambda: sum(map(memory_mib, pids)), SAMPLE_INTERVAL_S)


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
