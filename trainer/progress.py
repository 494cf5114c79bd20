"""Progress on stderr: a line when a stage starts, and on terminals a bar with rate and remaining time."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tagger.cli.output.console import ProgressLine

log = logging.getLogger("trainer")


@contextmanager
def photo_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Say that the stage starts, and show a bar; call the yielded function with the photos just processed."""
    if total:
        log.info("%s (%d)", description, total)
    with ProgressLine(description) as line:
        yield PhotoCounter(line, total).advance


class PhotoCounter:
    """Counts photos, and shows them with their rate. `done`: those of an earlier run."""

    def __init__(self, line: ProgressLine, total: int, done: int = 0) -> None:
        self._line, self._done, self._total = line, done, total
        self._first, self._started_at = done, time.monotonic()

    def advance(self, count: int, state: str = "") -> None:
        """Add `count` photos. `state` follows the description."""
        self._done += count
        rate = (self._done - self._first) / max(time.monotonic() - self._started_at, 1e-3)
        self._line.show(self._done, self._total, rate, state)
