"""Makes the classifier that the tagger runs: data, recipes, evaluation, export.

Here is what all of them use: errors, the progress of a stage, and its work in threads, ahead of the loop that
needs the results. Knows no terminal: the command line sets `display`.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TypeVar

from safetensors import SafetensorError

from tagger.errors import TaggerError
from tagger.model.devices import core_count

log = logging.getLogger("trainer")


class DataUnusable(TaggerError):
    """{path} cannot be used: {reason}. {remedy}."""


class BackboneUnusable(TaggerError):
    """The backbone {backbone} cannot be used: {reason}. {remedy}."""


class TrainingFailed(TaggerError):
    """Training failed: {reason}. {remedy}."""


class ExportImpossible(TaggerError):
    """The model cannot be exported: {reason}. {remedy}."""


class OutputUnwritable(TaggerError):
    """Cannot write to {path}: {reason}. Choose another location, free disk space, or fix the permissions."""


@contextmanager
def writing_to(path: Path) -> Iterator[None]:
    """Raise failures to write to `path` as `OutputUnwritable`."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OutputUnwritable(path=path, reason=reason) from error


# The progress of a stage.

# Shows how much of a stage is done, of a total if it is known, the photos per second, and a text that follows
# the description: as `tagger.cli.console.ProgressLine.show`.
Show = Callable[..., None]


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
def photo_counter(
    description: str, total: int, done: int = 0
) -> Iterator["PhotoCounter"]:
    """Display a stage. `done`: the photos of an earlier run."""
    with display(description) as show:
        yield PhotoCounter(show, total, done)


class PhotoCounter:
    def __init__(self, show: Show, total: int, done: int) -> None:
        self._show, self._done, self._total = show, done, total
        self._first, self._started_at = done, time.monotonic()

    def advance(self, count: int, state: str = "") -> None:
        """Add `count` photos. `state` follows the description."""
        self._done += count
        rate = (self._done - self._first) / max(
            time.monotonic() - self._started_at, 1e-3
        )
        self._show(self._done, self._total, rate, state)


# Work in threads, ahead of the loop that needs the results.

Item = TypeVar("Item")
Result = TypeVar("Result")


def compute_ahead(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    ahead: int,
    name: str,
) -> Iterator[Result]:
    """Yield the results of `function` in the order of the items, with up to `ahead` of them in progress.

    Args:
        function: called in threads, one for each core
        items: read in this thread, not before they are needed
        ahead: the most results that wait
        name: of the threads
    """
    pending: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(core_count(), name) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
