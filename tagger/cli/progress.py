"""A progress line with photos/s and ETA, on a terminal only."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from tagger.cli.console import loudness


class ProgressLine:
    """Shows how far a job is. Off a terminal, or with -q, it shows nothing."""

    def __init__(self, what: str) -> None:
        self._shown = sys.stderr.isatty() and loudness.level >= 0
        if self._shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            rate = TextColumn("{task.fields[rate]}")
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                rate,
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task(what, total=None, rate="")

    def __enter__(self) -> Self:
        if self._shown:
            self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._shown:
            self._progress.stop()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Take the line away while something else is printed, which would end up in the middle of it."""
        if self._shown:
            self._progress.stop()
        yield
        if self._shown:
            self._progress.start()

    def show(self, what: str, done: int, total: int | None, photos_per_second: float | None = None) -> None:
        if self._shown:
            rate = f"{photos_per_second:.1f} photos/s" if photos_per_second else ""
            self._progress.update(self._task, description=what, completed=done, total=total, rate=rate)
