"""A progress line with photos per second and remaining time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from tagger.cli.output.console import verbosity


class ProgressLine:
    """A progress bar on stderr. It is not shown if stderr is not a terminal, or with -q."""

    def __init__(self, description: str) -> None:
        self._is_shown = sys.stderr.isatty() and verbosity.level >= 0
        if self._is_shown:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
            )
            self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
            self._task = self._progress.add_task(description, total=None, rate="")

    def __enter__(self) -> Self:
        if self._is_shown:
            self._progress.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._is_shown:
            self._progress.stop()

    @contextmanager
    def cleared(self) -> Iterator[None]:
        """Hide the line while other text is printed."""
        if self._is_shown:
            self._progress.stop()
        yield
        if self._is_shown:
            self._progress.start()

    def show(
        self, description: str, done: int, total: int | None, photos_per_second: float | None = None
    ) -> None:
        """Update the line; `total` is None if it is not known."""
        if self._is_shown:
            rate = f"{photos_per_second:.1f} photos/s" if photos_per_second else ""
            self._progress.update(self._task, description=description, completed=done, total=total, rate=rate)
