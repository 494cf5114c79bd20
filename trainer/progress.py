"""Progress on stderr, for people at a terminal only: photos per second and the time that is left."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
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


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} photos/s" if task.speed else "")


def _say_nothing(_count: int) -> None:
    return
