"""The processes that a command has started."""

from collections.abc import Sequence
from contextlib import suppress

import psutil
from support.commands import Process, Terminal


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
