"""Progress on stderr: a line when a stage starts, and on terminals a bar with photos or bytes per second and the remaining time."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

log = logging.getLogger("trainer")


@contextmanager
def photo_progress(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Say that the stage starts, and show a bar while the block runs; call the yielded function with the number of photos just processed."""
    if total:
        log.info("%s (%d)", description, total)
    with _bar(MofNCompleteColumn(), _Rate()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def byte_progress(description: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Like `photo_progress`, for bytes; `total` is None if unknown."""
    with _bar(DownloadColumn(), TransferSpeedColumn()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda count: bar.advance(task, count)


class TrainingBar:
    """A bar for all epochs, with the loss of the current one."""

    def __init__(self, bar: Progress, done: int, epochs: int, photos: int) -> None:
        self._bar, self._done, self._photos = bar, done, photos
        self._task = bar.add_task("training", total=epochs * photos, completed=done * photos)

    def advance(self, count: int, loss: float) -> None:
        """Add `count` photos; `loss` is the mean of this epoch so far."""
        self._bar.update(self._task, advance=count, description=f"epoch {self._done + 1}, loss {loss:.3f}")

    def end_epoch(self) -> None:
        """Start the next epoch."""
        self._done += 1
        self._bar.update(self._task, completed=self._done * self._photos)


@contextmanager
def training_progress(done: int, epochs: int, photos: int) -> Iterator[TrainingBar]:
    """Show a bar for `epochs` epochs of `photos` photos each; `done` epochs are complete: loss, rate and remaining time."""
    with _bar(TaskProgressColumn(), _Rate()) as bar:
        yield TrainingBar(bar, done, epochs, photos)


def _bar(*columns: ProgressColumn) -> Progress:
    """A bar on stderr with these columns, which is hidden unless stderr is a terminal."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} photos/s" if task.speed else "")
