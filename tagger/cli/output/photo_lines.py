"""A line of text for each photo that is stored, and the predictions of `tagger predict`, which are printed, not stored.

Control characters in file names are escaped.
"""

import json as json_module
import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import typer

from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.formats import printable
from tagger.cli.session import open_session
from tagger.database.connection import Database
from tagger.database.enums import METADATA_KINDS, JobKind, Outcome, TagReason, TagState
from tagger.errors import PhotoFailed
from tagger.jobs.processing.claimed_chunk import Item, StoredBatch
from tagger.jobs.processing.model_cache import open_local_model
from tagger.ledger.chunks import ItemOutcome
from tagger.ledger.progress import find_job, job_models
from tagger.library.acceptance import EffectiveTag
from tagger.library.catalog.landmarks import Landmark, landmarks_by_id
from tagger.library.catalog.registered_models import model_by_id, model_to_try
from tagger.library.catalog.registration import landmarks_of_labels
from tagger.library.catalog.roots import Root, list_roots
from tagger.model.predictions import LabelPrediction
from tagger.photos.paths import absolute_path
from tagger.pipeline.requests import Classified, Result
from tagger.settings import Settings
from tagger.system.documents import json_default

LEAST_TELLING_SCORE = 0.01
"""A prediction below it says nothing about an unknown photo, so it is not printed."""


TELL_NOTHING = frozenset({Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.UNCHANGED})
"""Outcomes that most photos of a large job have, and that its summary counts."""


class StoredPrinter:
    """Prints a line for each stored photo, if `lines` is set, and shows the progress of the job.

    On a terminal, photos in which nothing was found have no line unless -v is set, and none has one with -q.
    """

    def __init__(self, database: Database, settings: Settings, job: int, *, lines: bool) -> None:
        progress = find_job(database, job)
        with database.read() as connection:
            self._names = {
                model_id: [
                    landmark.display_name
                    for landmark in landmarks_of_labels(
                        connection, model_by_id(database, model_id).manifest.labels
                    )
                ]
                for model_id in job_models(connection, job)
            }
        self._landmark_names: dict[int, str] = {}
        self._lines = lines and not (sys.stdout.isatty() and console.verbosity < 0)
        self._hidden = TELL_NOTHING if sys.stdout.isatty() and console.verbosity < 1 else frozenset()
        self._lock = threading.Lock()
        self._database, self._root_paths = database, settings.roots
        self._roots: dict[int, Root] = {}
        self._done, self._total = progress.done, progress.total
        self._stored_count, self._started_at = 0, time.monotonic()
        kind = progress.kind
        self._written = "undone" if kind == JobKind.UNDO else str(Outcome.WRITTEN)
        self._progress = ProgressLine("writing" if kind in METADATA_KINDS else "tagging")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.__exit__()

    def show(self, stored: StoredBatch) -> None:
        """Print a stored batch. Several threads call this."""
        with self._lock:
            shown = [photo for photo in stored if photo.outcome.outcome not in self._hidden]
            if self._lines and shown:
                with self._progress.cleared():
                    self._print(sorted(shown, key=lambda photo: photo.outcome.position))
            self._done += len(stored)
            self._stored_count += len(stored)
            rate = self._stored_count / max(time.monotonic() - self._started_at, 0.001)
            self._progress.show(self._done, self._total, rate)

    def _print(self, stored: StoredBatch) -> None:
        try:
            typer.echo("\n".join(map(self._line, stored)))
        except BrokenPipeError:  # the reader of the pipe has exited; the job continues without lines
            self._lines = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _line(self, item: Item) -> str:
        root = self._root(item.root_id)
        path = os.path.join(str(root.folder), item.file) if root else item.file  # noqa: PTH118 - a Path for each line costs more than the line
        tags = [(tag, self._landmark_name(tag.landmark_id)) for tag in item.tags]
        return photo_line(path, item.result, item.outcome, self._names, tags, written=self._written)

    def _landmark_name(self, landmark_id: int) -> str:
        if landmark_id not in self._landmark_names:
            with self._database.read() as connection:
                found = landmarks_by_id(connection, {landmark_id})
            self._landmark_names |= {key: each.display_name for key, each in found.items()}
        return self._landmark_names[landmark_id]

    def _root(self, root_id: int) -> Root | None:
        """None if the root was merged into a root above it, which changes the paths of its photos."""
        if root_id not in self._roots:
            with self._database.read() as connection:
                self._roots = {root.id: root for root in list_roots(connection, self._root_paths)}
        return self._roots.get(root_id)


def photo_line(
    path: str,
    result: Result | str,
    outcome: ItemOutcome,
    names: Mapping[int, Sequence[str]],
    tags: Sequence[tuple[EffectiveTag, str]] = (),
    *,
    written: str = "written",
) -> str:
    """`names` are the names of the landmarks of each model, by the position of their label, `tags` the effective tags of the photo with theirs.

    `written` says what the job did with metadata that changed.
    """
    if isinstance(result, str):
        done = written if outcome.outcome is Outcome.WRITTEN else outcome.outcome
        return printable(f"{path}: {done}: {result}")
    return printable(f"{path}: {_outcome_text(result, outcome, names, tags)}")


def _outcome_text(
    result: Result,
    outcome: ItemOutcome,
    names: Mapping[int, Sequence[str]],
    tags: Sequence[tuple[EffectiveTag, str]],
) -> str:
    match outcome.outcome:
        case Outcome.FAILED:
            return f"failed ({outcome.reason}): {outcome.text}"
        case Outcome.SKIPPED:
            return f"skipped: {outcome.reason}"
        case _ if not isinstance(result, Classified):
            return f"{outcome.outcome}: a copy of a photo that is classified already"
        case Outcome.TAGGED:
            ordered = sorted(tags, key=lambda each: (each[0].rank is None, -each[0].score))
            return ", ".join(_tag_text(tag, name) for tag, name in ordered if tag.is_accepted)
        case _:
            model_id, best = max(
                ((model_id, each.predictions[0]) for model_id, each in result.results.items()),
                key=lambda each: each[1].score,
            )
            text = f"{names[model_id][best.position]} {best.score:.0%}"
            facts = ["a part of the image is missing"] if result.is_damaged else []
            shown = {(tag.candidate.model_id, tag.candidate.rank): tag for tag, _ in tags if tag.candidate}
            refused = shown.get((model_id, best.rank))
            if refused is not None and refused.reason in (TagReason.POSITION, TagReason.SPEED):
                facts.append(f"doubtful: {text}, too far from where the photo was taken")
            elif refused is not None and refused.state is TagState.REJECTED:
                facts.append(f"rejected: {text}")
            elif best.score >= LEAST_TELLING_SCORE:
                facts.append(f"best prediction: {text}")
            return f"unknown ({'; '.join(facts)})" if facts else "unknown"


def _tag_text(tag: EffectiveTag, name: str) -> str:
    """`Eiffel Tower 93% (taught)`."""
    words = "with its GPS" if tag.reason else {"taught": "taught", "verdict": "confirmed"}.get(tag.source)
    score = f" {tag.score:.0%}" if tag.candidate else ""
    return f"{name}{score}{f' ({words})' if words else ''}"


def print_predictions(files: Sequence[str], settings: Settings, *, json: bool) -> int:
    """Print the predictions for each file; returns the number of files that failed."""
    from tagger.library.query.photo_json import FailedPredictionDocument, prediction_document

    database = open_session(settings).database
    registered = model_to_try(database, settings.model)
    with database.read() as connection:
        landmarks = landmarks_of_labels(connection, registered.manifest.labels)
    threshold = registered.manifest.threshold if settings.threshold is None else settings.threshold
    documents: list[object] = []
    failed = 0
    with open_local_model(registered, settings) as model:
        for file in files:
            try:
                image = model.open(file).decode(model.resize)
            except PhotoFailed as error:
                failed += 1
                failure = error.failure
                documents.append(
                    FailedPredictionDocument(_absolute(file), "failed", failure.kind, failure.text)
                )
                typer.echo(f"{printable(file)}: failed ({failure.kind}): {failure.text}", err=True)
                continue
            (predictions,) = model.predictions([image], settings.top_k, threshold)
            document = prediction_document(
                _absolute(file), predictions, registered, landmarks, is_damaged=image.is_damaged
            )
            documents.append(document)
            if not json:
                too_low = f"no prediction reaches {threshold:.0%}: the photo probably shows no landmark of this model"
                damaged = "a part of the image is missing, so no prediction is accepted"
                unaccepted_text = damaged if image.is_damaged else too_low
                _print(file, predictions, landmarks, unaccepted_text, with_heading=len(files) > 1)
    if json:
        typer.echo(json_module.dumps(documents, default=json_default))
    return failed


def _absolute(file: str) -> str:
    return file if file == "-" else str(absolute_path(Path(file)))


def _print(
    file: str,
    predictions: Sequence[LabelPrediction],
    landmarks: Sequence[Landmark],
    unaccepted_text: str,
    *,
    with_heading: bool,
) -> None:
    if with_heading:
        typer.echo(f"{printable(file)}:")
    for prediction in predictions:
        landmark = landmarks[prediction.position]
        mark = "*" if prediction.accepted else " "
        location = ", ".join(part for part in (landmark.city, landmark.country) if part)
        name = printable(landmark.display_name + (f" ({location})" if location else ""))
        typer.echo(f"{mark} {prediction.score:6.1%}  {name}")
    if not any(prediction.accepted for prediction in predictions):
        typer.echo(f"  {unaccepted_text}")
