"""CPU time and memory of a running program with all its processes, read from /proc (Linux).

Processes in a session of their own, such as the worker's embedded Redis, are not counted.
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
"""The kernel walks all pages to count shared memory once. More frequent samples would slow the measured program."""
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class _Process:
    """`cpu_ticks` includes those of children that have ended and were waited for."""

    pid: int
    parent: int
    session: int
    cpu_ticks: int


def cpu_seconds(pid: int) -> float:
    """Return the CPU time so far of a process and of those it started, ended ones included."""
    return sum(process.cpu_ticks for process in _tree(pid)) / _TICKS


def memory_mib(pid: int) -> float:
    """Return the memory in MiB of a process and those it started. Shared pages are divided among their users."""
    return sum(_proportional_kib(process.pid) for process in _tree(pid)) / 1024


class PeakMemory:
    """Samples the sum of the programs' memory inside a `with` block; `mib` is the peak."""

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
    tree, session = [everything[root]], everything[root].session
    for process in tree:  # grows in the loop
        tree += (
            child for child in everything.values() if child.parent == process.pid and child.session == session
        )
    return tree


def _processes() -> Iterator[_Process]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with _may_have_ended():
                # The name, in parentheses, may contain any character; the fields after it are numbers.
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
