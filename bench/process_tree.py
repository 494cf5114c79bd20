"""A running program with all its processes: CPU time and memory, as /proc tells them (Linux).

What a program detached into a session of its own, as the worker's embedded Redis is, does not belong to it.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

SAMPLED_EVERY_S = 1.0
"""Counting shared memory once makes the kernel walk all pages, which those who are measured would feel ten times a second."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class _Process:
    """`cpu_ticks` are its own and those of children that have ended and were waited for."""

    pid: int
    parent: int
    session: int
    cpu_ticks: int


def cpu_seconds(pid: int) -> float:
    """CPU time so far of a process, the processes it started, and those of them that have ended."""
    return sum(process.cpu_ticks for process in _tree(pid)) / _TICKS


def memory_mib(pid: int) -> float:
    """What a process and those it started take now; pages that several share are divided among them."""
    return sum(_proportional_kib(process.pid) for process in _tree(pid)) / 1024


class PeakMemory:
    """Samples what programs take together while it is entered; `mib` is the most that was seen."""

    def __init__(self, *pids: int) -> None:
        self.mib = 0.0
        self._pids = pids
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
            ended = self._ended.wait(SAMPLED_EVERY_S)
            self.mib = max(self.mib, sum(memory_mib(pid) for pid in self._pids))


def _tree(root: int) -> list[_Process]:
    everything = {process.pid: process for process in _processes()}
    if root not in everything:
        return []
    found, session = [everything[root]], everything[root].session
    for process in found:  # grows meanwhile
        found += (
            each for each in everything.values() if each.parent == process.pid and each.session == session
        )
    return found


def _processes() -> Iterator[_Process]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with _may_have_ended():
                # The name, in parentheses, may hold anything; what follows it is numbers.
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                ticks = sum(int(field) for field in fields[11:15])
                yield _Process(int(folder.name), int(fields[1]), int(fields[3]), ticks)


def _proportional_kib(pid: int) -> int:
    with _may_have_ended():
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


@contextmanager
def _may_have_ended() -> Iterator[None]:
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        yield
