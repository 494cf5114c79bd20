"""A line for each photo that is stored, and the predictions of `tagger predict`, which are not stored.

Control characters in file names are escaped.
"""

import os
import sys
import threading
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Self

import typer

from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine, printable, write_parts
from tagger.cli.session import Session
from tagger.database.connection import Database
from tagger.database.engine import with_retry
from tagger.database.enums import METADATA_KINDS, JobKind, Outcome, TagReason, TagState
from tagger.errors import PhotoFailed
from tagger.jobs.processing.chunk_items import Item
from tagger.jobs.processing.chunk_runner import StoredBatch
from tagger.jobs.processing.model_cache import LocalModel, open_local_models
from tagger.landmarks.landmarks import landmarks_by_id
from tagger.ledger.chunks import ItemOutcome
from tagger.ledger.job_control import find_job, model_ids_of_job
from tagger.photos.paths import absolute_path
from tagger.pipeline.requests import Classified, Result
from tagger.query.predictions import (
    FailedPredictionDocument,
    ModelPredictions,
    NamedPrediction,
    named_predictions,
    prediction_document,
)
from tagger.query.tagged_photos import is_guess
from tagger.registry.registered_models import RegisteredModel, models_to_try
from tagger.registry.registration import landmark_ids_of_labels
from tagger.roots.roots import Root, list_roots
from tagger.settings import Settings
from tagger.tags.rule import EffectiveTag
from tagger.texts.documents import json_bytes
from tagger.texts.text_format import list_text, percent
from tagger.things import ShownThing, things_of_images, things_of_labels

# Outcomes that most photos of a large job have, and that its summary counts.
TELL_NOTHING = frozenset({Outcome.UNKNOWN, Outcome.SKIPPED, Outcome.UNCHANGED})


class StoredLines:
    """Makes a line for each stored photo, except those with a hidden outcome, in one thread at a time."""

    def __init__(self, database: Database, settings: Settings, job: int, hidden: Collection[Outcome]) -> None:
        self._database, self._root_paths = database, settings.roots
        self._hidden = hidden
        self._landmark_names: dict[int, str] = {}
        self._roots: dict[int, Root] = {}
        with_retry(partial(self._read_labels, job))

    def _read_labels(self, job: int) -> None:
        """Read what the photos of the job can show."""
        database = self._database
        with database.read() as connection:
            model_ids = model_ids_of_job(connection, job)
            self._models_of_things = things_of_labels(connection, model_ids).keys()
        of_landmarks = [each for each in model_ids if each not in self._models_of_things]
        self._names = {each: _LabelNames(database, each) for each in of_landmarks}
        is_undo = find_job(database, job).kind == JobKind.UNDO
        self._written = "undone" if is_undo else str(Outcome.WRITTEN)

    def of(self, stored: StoredBatch) -> list[str]:
        """The lines of a stored batch, in the order of the job."""
        return with_retry(partial(self._lines, stored))

    def _lines(self, stored: StoredBatch) -> list[str]:
        shown = [photo for photo in stored if photo.outcome.outcome not in self._hidden]
        self._read_landmark_names({tag.landmark_id for item in shown for tag in item.tags})
        things = self._read_things(shown)
        in_order = sorted(shown, key=lambda photo: photo.outcome.position)
        return [self._line(item, things.get(item.image_id, ())) for item in in_order]

    def _line(self, item: Item, things: Sequence[ShownThing]) -> str:
        root = self._root(item.root_id)
        # A Path for each line costs more than the line.
        path = os.path.join(str(root.folder), item.file) if root else item.file  # noqa: PTH118
        names = self._landmark_names
        tags = [(tag, names[tag.landmark_id]) for tag in item.tags if tag.landmark_id in names]
        shows = [thing.name for thing in things]
        return photo_line(
            path, item.result, item.outcome, self._names, tags, shows=shows, written=self._written
        )

    def _read_things(self, items: Sequence[Item]) -> Mapping[int, Sequence[ShownThing]]:
        """What the job's models find on the images that they have classified, after verdicts."""
        classified = {item.image_id for item in items if isinstance(item.result, Classified)}
        if not (classified and self._models_of_things):
            return {}
        with self._database.read() as connection:
            return things_of_images(connection, classified, model_ids=self._models_of_things)

    def _read_landmark_names(self, landmark_ids: set[int]) -> None:
        """Read the names that are not known yet. A landmark that was removed meanwhile has none."""
        if new := landmark_ids - self._landmark_names.keys():
            with self._database.read() as connection:
                found = landmarks_by_id(connection, new)
            self._landmark_names |= {key: each.display_name for key, each in found.items()}

    def _root(self, root_id: int) -> Root | None:
        """None if the root was merged into a root above it, which changes the paths of its photos."""
        if root_id not in self._roots:
            with self._database.read() as connection:
                self._roots = {root.id: root for root in list_roots(connection, self._root_paths)}
        return self._roots.get(root_id)


class StoredPrinter:
    """Prints a line for each stored photo, if `lines` is set, and shows the progress of the job.

    On a terminal, photos in which nothing was found have no line unless -v is set, and none has one with -q.
    Elsewhere all have one, with -q only those in which something was found.
    """

    def __init__(self, database: Database, settings: Settings, job: int, *, lines: bool) -> None:
        progress = with_retry(partial(find_job, database, job))
        # Whether lines are printed: not any more once nobody reads them.
        self.has_lines = lines and not (sys.stdout.isatty() and console.verbosity < 0)
        least = 1 if sys.stdout.isatty() else 0
        # The outcomes of photos that have no line.
        self.hidden = TELL_NOTHING if console.verbosity < least else frozenset()
        self._lines = StoredLines(database, settings, job, self.hidden)
        self._lock = threading.Lock()
        self._done, self._total = progress.done, progress.total
        self._stored_count, self._started_at = 0, time.monotonic()
        self._progress = ProgressLine("writing" if progress.kind in METADATA_KINDS else "tagging")

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._progress.__exit__()

    def show(self, stored: StoredBatch) -> None:
        """Print a stored batch. Several threads call this."""
        with self._lock:
            self.show_lines(len(stored), self._lines.of(stored) if self.has_lines else ())

    def show_lines(self, count: int, lines: Sequence[str]) -> None:
        """Print the lines of so many stored photos."""
        if lines:
            with self._progress.cleared():
                self._print(lines)
        self._done += count
        self._stored_count += count
        rate = self._stored_count / max(time.monotonic() - self._started_at, 0.001)
        self._progress.show(self._done, self._total, rate)

    def show_step(self, text: str, done: int, total: int | None) -> None:
        """Show the last step of the job. Several threads call this."""
        with self._lock:
            self._progress.show_step(text, done, total)

    def show_message(self, line: str) -> None:
        """Print a line on stderr."""
        with self._progress.cleared(), suppress(BrokenPipeError):
            typer.echo(line, err=True)

    def _print(self, lines: Sequence[str]) -> None:
        try:
            typer.echo("\n".join(lines))
        except BrokenPipeError:  # the reader of the pipe has exited; the job continues without lines
            self.has_lines = False
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _LabelNames(dict[int, str]):
    """The names of a model's landmarks, by the positions of their labels, read when they are needed."""

    def __init__(self, database: Database, model_id: int) -> None:
        self._database, self._model_id = database, model_id

    def __missing__(self, position: int) -> str:
        with self._database.read() as connection:
            ids = landmark_ids_of_labels(connection, self._model_id, [position])
            (landmark,) = landmarks_by_id(connection, set(ids.values())).values()
        self[position] = landmark.display_name
        return self[position]


def photo_line(
    path: str,
    result: Result | str,
    outcome: ItemOutcome,
    names: Mapping[int, Mapping[int, str] | Sequence[str]],
    tags: Sequence[tuple[EffectiveTag, str]] = (),
    *,
    shows: Sequence[str] = (),
    written: str = "written",
) -> str:
    """`names` are those of each model's landmarks, by position, `tags` the photo's with theirs.

    `shows` names what else is on it. `written` says what the job did with metadata that changed.
    """
    if isinstance(result, str):
        done = written if outcome.outcome is Outcome.WRITTEN else outcome.outcome
        return printable(f"{path}: {done}: {result}")
    things = f"; shows {list_text(shows)}" if shows else ""
    return printable(f"{path}: {_outcome_text(result, outcome, names, tags)}{things}")


def _outcome_text(
    result: Result,
    outcome: ItemOutcome,
    names: Mapping[int, Mapping[int, str] | Sequence[str]],
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
            of_landmarks = [(key, each) for key, each in result.results.items() if key in names]
            if not of_landmarks:
                return "unknown"
            model_id, found = max(of_landmarks, key=lambda each: each[1].predictions[0].score)
            best, scores = found.predictions[0], [each.score for each in found.predictions]
            facts = ["a part of the image is missing"] if result.is_damaged else []
            by_score = sorted(tags, key=lambda pair: -pair[0].score)
            too_far = [pair for pair in by_score if pair[0].reason in (TagReason.POSITION, TagReason.SPEED)]
            rejected = [pair for pair in by_score if pair[0].state is TagState.REJECTED]
            if too_far:
                facts.append(f"doubtful: {_scored(*too_far[0])}, too far from where the photo was taken")
            elif rejected and rejected[0][0].score >= best.score:
                facts.append(f"rejected: {_scored(*rejected[0])}")
            elif is_guess(scores):
                facts.append(f"best prediction: {names[model_id][best.position]} {percent(best.score)}")
            return f"unknown ({'; '.join(facts)})" if facts else "unknown"


def _tag_text(tag: EffectiveTag, name: str) -> str:
    """`Eiffel Tower 93% (taught)`."""
    words = "with its GPS" if tag.reason else {"taught": "taught", "verdict": "confirmed"}.get(tag.source)
    return f"{_scored(tag, name)}{f' ({words})' if words else ''}"


def _scored(tag: EffectiveTag, name: str) -> str:
    return f"{name} {percent(tag.score)}" if tag.candidate else name


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
