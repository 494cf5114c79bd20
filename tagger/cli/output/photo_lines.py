"""A line for each photo that is stored, and the predictions of `tagger predict`, which are not stored.

Control characters in file names are escaped.
"""

import os
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, Self

import typer

from tagger.cli.output import console
from tagger.cli.output.console import printable, write_parts
from tagger.cli.output.job_text import JobLine
from tagger.cli.session import Session
from tagger.database.connection import Database
from tagger.database.engine import with_retry
from tagger.database.enums import METADATA_KINDS, JobKind, Outcome, TagReason, VerdictKind
from tagger.errors import PhotoFailed
from tagger.jobs.processing.model_cache import LocalModel, open_local_models
from tagger.ledger.job_control import find_job
from tagger.photos.paths import absolute_path
from tagger.query.job_photos import JobPhoto, JobPhotos
from tagger.query.predictions import (
    FailedPredictionDocument,
    ModelPredictions,
    NamedPrediction,
    named_predictions,
    prediction_document,
)
from tagger.registry.registered_models import RegisteredModel, models_to_try
from tagger.settings import Settings
from tagger.texts.documents import json_bytes
from tagger.texts.text_format import list_text, percent

# Outcomes that most photos of a large job have, and that its summary counts.
TELL_NOTHING = frozenset({Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.UNCHANGED})


class StoredPrinter:
    """Prints a line for each photo of a job that is stored, if `lines` is set, and shows the job's progress.

    On a terminal, photos in which nothing was found have no line unless -v is set, and none has one with -q.
    Elsewhere all have one, with -q only those in which something was found.
    """

    def __init__(self, database: Database, settings: Settings, job: int, *, lines: bool) -> None:
        self._database, self._job = database, job
        self._progress = with_retry(partial(find_job, database, job))
        # Whether lines are printed: not any more once nobody reads them.
        self._has_lines = lines and not (sys.stdout.isatty() and console.verbosity < 0)
        least = 1 if sys.stdout.isatty() else 0
        hidden = TELL_NOTHING if console.verbosity < least else frozenset()
        self._photos = with_retry(partial(JobPhotos, database, settings.roots, job, hidden))
        self._lock = threading.Lock()
        self._line = JobLine("writing" if self._progress.kind in METADATA_KINDS else "tagging")

    def __enter__(self) -> Self:
        self._line.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._line.__exit__()

    def update(self) -> None:
        """Print the photos that were stored since the last call, and show the progress."""
        stored = with_retry(self._photos.next) if self._has_lines else ()
        with self._lock:
            if stored:
                lines = (photo_line(each, self._progress.kind) for each in stored)
                with self._line.cleared():
                    self._print("\n".join(lines))
            if self._line.is_shown:
                self._progress = with_retry(partial(find_job, self._database, self._job))
                self._line.show_job(self._database, self._progress)

    def show_message(self, line: str) -> None:
        """Print a line on stderr. Several threads call this."""
        with self._lock, self._line.cleared(), suppress(BrokenPipeError):
            typer.echo(line, err=True)

    def _print(self, lines: str) -> None:
        try:
            typer.echo(lines)
        except BrokenPipeError:  # the reader of the pipe has exited; the job continues without lines
            self._has_lines = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def photo_line(photo: JobPhoto, kind: str) -> str:
    """The line of a photo of a job of this kind: its path, and what the job did with it."""
    outcome, text = photo.outcome, photo.text or photo.reason
    if kind in METADATA_KINDS:
        is_undone = kind == JobKind.UNDO and outcome is Outcome.WRITTEN
        return printable(f"{photo.path}: {'undone' if is_undone else outcome}: {text}")
    match outcome:
        case Outcome.FAILED:
            what = f"failed ({photo.reason}): {text}"
        case Outcome.SKIPPED:
            what = f"skipped: {text}"
        case Outcome.TAGGED:
            what = ", ".join(_tag_text(tag, name) for tag, name in photo.tags if tag.accepted)
        case _:
            facts = [*(["a part of the image is missing"] if photo.is_damaged else []), *_guesses(photo)]
            what = f"unknown ({'; '.join(facts)})" if facts else "unknown"
    things = f"; shows {list_text([thing.name for thing in photo.things])}" if photo.things else ""
    return printable(f"{photo.path}: {what}{things}")


def _guesses(photo: JobPhoto) -> list[str]:
    """What a photo without a tag seems to show, and why it has no tag of it."""
    by_score = sorted(photo.tags, key=lambda pair: -(pair[0].score or 0.0))
    for tag, name in by_score:
        if tag.doubtful in (TagReason.POSITION, TagReason.SPEED):
            return [f"doubtful: {_scored(tag, name)}, too far from where the photo was taken"]
    if photo.guess is not None:
        return [f"best prediction: {_scored(*photo.guess)}"]
    if by_score and by_score[0][0].verdict == VerdictKind.REJECTED:
        return [f"rejected: {_scored(*by_score[0])}"]
    return []


def _tag_text(tag: Any, name: str) -> str:
    """`Eiffel Tower 93% (taught)`."""
    words = "with its GPS" if tag.reason else {"taught": "taught", "verdict": "confirmed"}.get(tag.source)
    return f"{_scored(tag, name)}{f' ({words})' if words else ''}"


def _scored(tag: Any, name: str) -> str:
    return name if tag.score is None else f"{name} {percent(tag.score)}"


def print_predictions(files: Sequence[str], session: Session, *, json: bool) -> int:
    """Print the predictions for each file; returns the number of files that failed."""
    settings, database = session
    models = models_to_try(database, settings.model)
    documents: list[object] = []
    failed = 0
    with open_local_models(models, settings, database) as opened:
        for file in files:
            try:
                found, is_damaged = _predict(opened, file, settings)
            except PhotoFailed as error:
                failed += 1
                failure = error.failure
                documents.append(
                    FailedPredictionDocument(_absolute(file), "failed", failure.kind, failure.text)
                )
                typer.echo(f"{printable(file)}: failed ({failure.kind}): {failure.text}", err=True)
                continue
            predictions = named_predictions(database, found, settings.top_k)
            documents.append(prediction_document(_absolute(file), predictions, is_damaged=is_damaged))
            if not json:
                thresholds = " or ".join(percent(each.threshold) for each in found)
                of = "of this model" if len(found) == 1 else "of these models"
                too_low = f"no prediction reaches {thresholds}: the photo probably shows no landmark {of}"
                damaged = "a part of the image is missing, so no prediction is accepted"
                _print(
                    file,
                    predictions,
                    damaged if is_damaged else too_low,
                    with_heading=len(files) > 1,
                    with_model=len(found) > 1,
                )
    if json:
        write_parts([json_bytes(documents) + b"\n"])
    return failed


def _predict(
    opened: Sequence[tuple[RegisteredModel, LocalModel]], file: str, settings: Settings
) -> tuple[list[ModelPredictions], bool]:
    """The predictions of each model for a photo, decoded once for each size, and whether it is damaged.

    Raises:
        PhotoFailed: it cannot be read.
    """
    photo = opened[0][1].open(file)
    images = {resize: photo.decode(resize) for resize in dict.fromkeys(local.resize for _, local in opened)}
    found = []
    for model, local in opened:
        threshold = model.manifest.threshold if settings.threshold is None else settings.threshold
        (predictions,) = local.predictions([images[local.resize]], settings.top_k, threshold)
        found.append(ModelPredictions(model, threshold, predictions))
    return found, any(image.is_damaged for image in images.values())


def _absolute(file: str) -> str:
    return file if file == "-" else str(absolute_path(Path(file)))


def _print(
    file: str,
    predictions: Sequence[NamedPrediction],
    unaccepted_text: str,
    *,
    with_heading: bool,
    with_model: bool,
) -> None:
    if with_heading:
        typer.echo(f"{printable(file)}:")
    for prediction in predictions:
        landmark = prediction.landmark
        mark = "*" if prediction.accepted else " "
        location = ", ".join(part for part in (landmark.city, landmark.country) if part)
        model = f", {prediction.of.model.name}" if with_model else ""
        name = printable(landmark.display_name + (f" ({location})" if location else "") + model)
        typer.echo(f"{mark} {prediction.score:6.1%}  {name}")
    if not any(prediction.accepted for prediction in predictions):
        typer.echo(f"  {unaccepted_text}")
