"""The progress of a stage: a line in the log when it starts, and its photos for whoever displays them.

Knows no terminal: the command line sets `display`.
"""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

log = logging.getLogger("trainer")


class Show(Protocol):
    """Shows how much of a stage is done, of a total if it is known. `state` follows the description."""

    def __call__(
        self, done: int, total: int | None = None, photos_per_second: float | None = None, state: str = ""
    ) -> None: ...


@contextmanager
def _no_display(_description: str) -> Iterator[Show]:
    yield lambda *_values: None


# Displays the stage of a description for as long as the context lasts.
display: Callable[[str], AbstractContextManager[Show]] = _no_display


@contextmanager
def photo_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Say that the stage starts, and display it; call the yielded function with the photos just processed."""
    if total:
        log.info("%s (%d)", description, total)
    with photo_counter(description, total) as counter:
        yield counter.advance


@contextmanager
def photo_counter(description: str, total: int, done: int = 0) -> Iterator["PhotoCounter"]:
    """Display a stage. `done`: the photos of an earlier run."""
    with display(description) as show:
        yield PhotoCounter(show, total, done)


class PhotoCounter:
    """Counts photos, and shows them with their rate."""

    def __init__(self, show: Show, total: int, done: int) -> None:
        self._show, self._done, self._total = show, done, total
        self._first, self._started_at = done, time.monotonic()

    def advance(self, count: int, state: str = "") -> None:
        """Add `count` photos. `state` follows the description."""
        self._done += count
        rate = (self._done - self._first) / max(time.monotonic() - self._started_at, 1e-3)
        self._show(self._done, self._total, rate, state)
