"""Turns of those who write to an SQLite file, as SQLite keeps no order of those who wait.

Who writes page after page would leave its lock for less than a millisecond, and others would find it taken
for many seconds. So whoever begins to write holds a lock of the folder until the write has begun, and who
has just written waits for it.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Whoever waits longer begins without a turn: another one may be frozen.
LONGEST_S = 5.0
POLL_S = 0.01


@contextmanager
def turn_to_write(file: Path) -> Iterator[None]:
    """Wait until all who waited before have begun to write to the file, those of other processes too."""
    try:
        folder = os.open(file.parent, os.O_RDONLY)
    except OSError:  # who may not list it writes without a turn
        yield
        return
    try:
        _lock(folder)
        yield
    finally:
        os.close(folder)  # with its lock


def _lock(folder: int) -> None:
    end = time.monotonic() + LONGEST_S
    while time.monotonic() < end:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(POLL_S)
        except OSError:  # the file system has no such locks
            return
        else:
            return
