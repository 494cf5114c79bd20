"""A line of text per photo as it is stored, safe for a terminal whatever the file is called."""

import os
import sys
import threading
import time
from collections.abc import Sequence
from typing import Self

import typer

from tagger.cli.output import printable
from tagger.cli.progress import ProgressLine
from tagger.database import Database
from tagger.holding import Stored, StoredPhoto
from tagger.ledger.chunks import ItemOutcome
from tagger.ledger.jobs import kind_of, model_of
from tagger.ledger.progress import list_jobs
from tagger.photos import path_from_text
from tagger.registry import model_by_id
from tagger.results import Dealt, Looked, Prediction, Result
from tagger.roots import Root, list_roots
from tagger.settings import Settings
from tagger.tables import WRITING_KINDS, Outcome


class StoredPrinter:
    """Prints a line per photo (or none) and shows how far the job is."""

    def __init__(self, database: Database, settings: Settings, job: int, *, lines: bool) -> None:
        progress = list_jobs(database, job)[0]
        labels = model_by_id(database, model_of(database, job)).manifest.labels
        self._labels = [(label.slug, label.name) for label in labels]
        self._lines = lines
        self._lock = threading.Lock()
        self._database, self._places = database, settings.roots
        self._roots: dict[int, Root] = {}
        self._done, self._total = progress.done, progress.total
        self._looked, self._began = 0, time.monotonic()
        self._doing = "writing" if kind_of(database, job) in WRITING_KINDS else "tagging"
        self._progress = ProgressLine(self._doing)

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.__exit__()

    def show(self, stored: Stored) -> None:
        """Called for each batch that was stored, from the threads that store."""
        with self._lock:
            if self._lines:
                with self._progress.cleared():
                    self._print(sorted(stored, key=lambda photo: photo.end.position))
            self._done += len(stored)
            self._looked += len(stored)
            rate = self._looked / max(time.monotonic() - self._began, 0.001)
            self._progress.show(self._doing, self._done, self._total, rate)

    def _print(self, stored: Stored) -> None:
        try:
            typer.echo("\n".join(map(self._line, stored)))
        except BrokenPipeError:  # whoever read the lines has seen enough; the tagging goes on
            self._lines = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _line(self, stored: StoredPhoto) -> str:
        root = self._root(stored.item.root_id)
        name = path_from_text(stored.item.path, stored.item.path_bytes)
        path = os.path.join(root.folder, name) if root else name  # noqa: PTH118 - a Path for each line costs more than the line
        return photo_line(path, stored.result, stored.end, self._labels)

    def _root(self, root_id: int) -> Root | None:
        """None for one that was just absorbed by a root above it: its photos have other paths now."""
        if root_id not in self._roots:
            with self._database.read() as connection:
                self._roots = {root.id: root for root in list_roots(connection, self._places)}
        return self._roots.get(root_id)


def photo_line(
    path: str, result: Result | Dealt, outcome: ItemOutcome, labels: Sequence[tuple[str, str]]
) -> str:
    """`labels` holds (slug, name) by the label's position."""
    return f"{printable(path)}: {_what(result, outcome, labels)}"


def scored(prediction: Prediction, labels: Sequence[tuple[str, str]]) -> str:
    return f"{labels[prediction.position][1]} {prediction.score:.0%}"


def _what(result: Result | Dealt, outcome: ItemOutcome, labels: Sequence[tuple[str, str]]) -> str:
    if isinstance(result, Dealt):
        return f"{outcome.outcome}: {result.text}"
    match outcome.outcome:
        case Outcome.FAILED:
            return f"failed ({outcome.reason}): {outcome.text}"
        case Outcome.SKIPPED:
            return f"skipped: {outcome.reason}"
        case _ if not isinstance(result, Looked):
            return f"{outcome.outcome}: the same picture was looked at before"
        case Outcome.TAGGED:
            return ", ".join(scored(p, labels) for p in result.predictions if p.accepted)
        case _:
            return f"unknown (at best {scored(result.predictions[0], labels)})"
