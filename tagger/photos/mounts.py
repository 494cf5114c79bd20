"""Checks whether the disk or share of a folder responds. An unavailable share may hang instead of failing."""

import os
import threading
from enum import Enum
from pathlib import Path

TIMEOUT_S = 5.0


class MountState(Enum):
    """The result of listing a folder. SILENT: it did not respond in time."""

    FILLED = "filled"
    EMPTY = "empty"
    MISSING = "missing"
    SILENT = "silent"


def check_mount(folder: Path) -> MountState:
    """List a folder's first entry; SILENT if that takes longer than TIMEOUT_S."""
    with _lock:
        check = _checks.get(folder)
        if check is None or not check.is_alive():
            check = _checks[folder] = _MountCheck(folder)
            check.start()
    check.join(TIMEOUT_S)
    return check.state


class _MountCheck(threading.Thread):
    """Lists a folder in a thread of its own. While one hangs, later checks of the folder wait for it instead of starting another."""

    def __init__(self, folder: Path) -> None:
        super().__init__(name="mount", daemon=True)
        self._folder = folder
        self.state = MountState.SILENT

    def run(self) -> None:
        try:
            with os.scandir(self._folder) as entries:
                self.state = MountState.EMPTY if next(entries, None) is None else MountState.FILLED
        except OSError:
            self.state = MountState.MISSING


_lock = threading.Lock()
_checks: dict[Path, _MountCheck] = {}
