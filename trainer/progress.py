"""Progress on stderr: a line when a stage starts, and on terminals a bar with photos per second and the remaining time."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from tagger.cli.output.console import ProgressLine

log = logging.getLogger("trainer")


class Advance(Protocol):
    """Adds the number of photos just processed; `state` follows the description of the stage."""

    def __call__(self, count: int, state: str = "") -> None: ...


@contextmanager
def photo_progress(description: str, total: int, done: int = 0) -> Iterator[Advance]:
    """Say that the stage starts, and show a bar while the block runs. `done`: photos of an earlier run."""
    if total:
        log.info("%s (%d)", description, total)
    current, started_at = done, time.monotonic()
    with ProgressLine(description) as line:

        def advance(count: int, state: str = "") -> None:
            nonlocal current
            current += count
            rate = (current - done) / max(time.monotonic() - started_at, 1e-3)
            line.show(current, total, rate, state)

        yield advance
