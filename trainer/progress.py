"""Progress on stderr, for people at a terminal only: photos or bytes per second and the time that is left."""

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


@contextmanager
def photo_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar while the block runs; call what it yields with the number of photos just done."""
    if total == 0 or not sys.stderr.isatty():
        yield _say_nothing
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


@contextmanager
def byte_progress(what: str, total: int | None, done: int = 0) -> Iterator[Callable[[int], None]]:
    """The same for bytes, of which `done` are there already; None: nobody knows how many there will be."""
    if not sys.stderr.isatty():
        yield _say_nothing
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total, completed=done)
        yield lambda count: bar.advance(task, count)


class TrainingBar:
    """What `training_progress` yields: a line for all epochs and one for the photos of this one."""

    def __init__(self, bar: Progress, done: int, epochs: int, photos: int) -> None:
        self._bar, self._done, self._photos = bar, done, photos
        self._all = bar.add_task("training", total=epochs * photos, completed=done * photos)
        self._epoch = bar.add_task("", total=photos)

    def advance(self, count: int, loss: float) -> None:
        """`count` more photos; `loss` is the mean of this epoch until now."""
        self._bar.advance(self._all, count)
        self._bar.update(self._epoch, advance=count, description=f"epoch {self._done + 1}, loss {loss:.3f}")

    def epoch_ended(self) -> None:
        """The next epoch begins."""
        self._done += 1
        self._bar.update(self._all, completed=self._done * self._photos)
        self._bar.reset(self._epoch)


@contextmanager
def training_progress(done: int, epochs: int, photos: int) -> Iterator[TrainingBar]:
    """A bar for `epochs`, of which `done` are behind us, and one for the `photos` of an epoch: loss, rate and the time left."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty()) as bar:
        yield TrainingBar(bar, done, epochs, photos)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} photos/s" if task.speed else "")


def _say_nothing(_count: int) -> None:
    return
