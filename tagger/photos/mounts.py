"""Checks whether the disk or share of a folder responds. An unavailable share may hang instead of failing."""

import os
import threading
import time
from enum import Enum
from pathlib import Path

TIMEOUT_S = 5.0
RETRY_S = 60.0
"""How long a hanging check speaks for its folder. Each further one that hangs does so for twice as long."""


class MountState(Enum):
    """The result of listing a folder. SILENT: it did not respond in time."""

    FILLED = "filled"
    EMPTY = "empty"
    MISSING = "missing"
    SILENT = "silent"


def check_mount(folder: Path) -> MountState:
    """List a folder's first entry; SILENT if that takes longer than TIMEOUT_S.

    Only the first call waits for a folder that hangs; later ones return at once until it answers.
    """
    with _lock:
        check = _checks.get(folder)
        if check is None or not check.is_alive():
            check = _start_check(folder, RETRY_S)
        elif check.age_s > check.retry_s:  # the folder may be mounted again, and the old mount never answer
            check = _start_check(folder, 2 * check.retry_s)
    check.join(max(0.0, TIMEOUT_S - check.age_s))
    return check.state


def _start_check(folder: Path, retry_s: float) -> "_MountCheck":
    check = _checks[folder] = _MountCheck(folder, retry_s)
    check.start()
    return check


class _MountCheck(threading.Thread):
    """Lists a folder in a thread of its own, which may hang for ever."""

    def __init__(self, folder: Path, retry_s: float) -> None:
        super().__init__(name="mount", daemon=True)
        self._folder = folder
        self._started_at = time.monotonic()
        self.retry_s = retry_s
        self.state = MountState.SILENT

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._started_at

    def run(self) -> None:
        try:
            with os.scandir(self._folder) as entries:
                self.state = MountState.EMPTY if next(entries, None) is None else MountState.FILLED
        except OSError:
            self.state = MountState.MISSING


_lock = threading.Lock()
_checks: dict[Path, _MountCheck] = {}
