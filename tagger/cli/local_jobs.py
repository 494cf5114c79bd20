"""What commands do with photos in their own process: jobs, with a line for each photo, and predictions.

A large local job runs in several processes, which claim its chunks from SQL, as workers do. The process of
the command coordinates: it keeps the job's lease, prints what is stored, replaces processes that died, and
loads no model. The others run `tagger worker --job`.

Control characters in file names are escaped.
"""

from __future__ import annotations

import math
import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import typer

from tagger.cli import console
from tagger.cli.console import printable, write_parts
from tagger.cli.job_text import JobLine
from tagger.cli.pools import child_environment
from tagger.cli.session import Session, open_session
from tagger.database.connection import Database
from tagger.database.engine import with_retry
from tagger.database.enums import (
    CLASSIFICATION_KINDS,
    METADATA_KINDS,
    JobKind,
    JobState,
    Outcome,
    TagReason,
    VerdictKind,
)
from tagger.errors import JobProcessesFailed, PhotoFailed, ProcessFailed, Unavailable
from tagger.jobs.processing.executor import STOP_S, JobThreads, own_job
from tagger.jobs.processing.model_cache import LocalModel, open_local_models, share_memory
from tagger.ledger.job_control import count_open_chunks, find_job
from tagger.ledger.jobs import finish_job, process_space
from tagger.ledger.workers import release_chunks_of
from tagger.model.devices import process_count
from tagger.photos.paths import absolute_path
from tagger.processes.pool import ERROR, Child, Pool
from tagger.processes.process import resume_collection
from tagger.processes.stall import watch
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

if TYPE_CHECKING:
    from tagger.ledger.job_control import JobProgress

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

    def __exit__(self, kind: object, *_exc: object) -> None:
        if kind in (None, KeyboardInterrupt):
            self.update()
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
        except (
            BrokenPipeError
        ):  # the reader of the pipe has exited; the job continues without lines
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
            facts = [
                *(["a part of the image is missing"] if photo.is_damaged else []),
                *_guesses(photo),
            ]
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
    words = (
        "with its GPS"
        if tag.reason
        else {"taught": "taught", "verdict": "confirmed"}.get(tag.source)
    )
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
            documents.append(
                prediction_document(_absolute(file), predictions, is_damaged=is_damaged)
            )
            if not json:
                thresholds = " or ".join(percent(each.threshold) for each in found)
                of = "of this model" if len(found) == 1 else "of these models"
                too_low = (
                    f"no prediction reaches {thresholds}: the photo probably shows no landmark {of}"
                )
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
    images = {
        resize: photo.decode(resize)
        for resize in dict.fromkeys(local.resize for _, local in opened)
    }
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


# With fewer photos for each, starting a process takes longer than it saves.
PHOTOS_PER_PROCESS = 500
# How long processes have to stop. The whole command has two seconds (see processes.process).
JOB_STOP_S = STOP_S + 0.3
# How long processes have to end after their job. One that is stopped, as by a debugger, is killed then: it
# has renewed no lease, so that others have taken its photos.
JOB_END_S = 10.0
JOB_POLL_S = 0.2
# What the names of their stall reports begin with.
JOB_STALL_NAME = "job"


def job_process_count(database: Database, settings: Settings, progress: JobProgress) -> int:
    """Return how many processes run a local job. A number in the settings is limited by its chunks alone."""
    if progress.kind not in CLASSIFICATION_KINDS or database.is_in_memory:
        return 1
    most = settings.processes or (progress.queued // PHOTOS_PER_PROCESS)
    if most < 2:
        return 1
    count = settings.processes or min(most, process_count(settings.threads))
    return max(1, min(count, count_open_chunks(database, progress.job)))


def run_in_processes(
    database: Database, settings: Settings, job: int, count: int, printer: StoredPrinter
) -> None:
    """Run a local job in `count` processes, as `run_job` does in this one, which loads no model.

    Raises:
        JobProcessesFailed: they keep dying. And what a process says of the error that has ended it.
    """
    processes = _JobProcesses(database, settings, job, count, printer)
    with own_job(database, job), processes:
        try:
            processes.run()
        except ProcessFailed as error:
            end = str(error.values["reason"]).removeprefix("it ").removesuffix(".")
            raise JobProcessesFailed(end=end) from error


class _JobProcesses(Pool):
    """The processes of one job: `tagger worker --job`."""

    def __init__(
        self, database: Database, settings: Settings, job: int, count: int, printer: StoredPrinter
    ) -> None:
        super().__init__(settings.data_folder, self._warn, JOB_STOP_S)
        self._database = database
        self._job = job
        self._printer = printer
        # Several processes have the same reason for a warning.
        self._messages: set[str] = set()
        for number in range(1, count + 1):
            child = Child(
                f"{console.command}.{number}",
                ["worker", "--job", str(job), "--process", str(number)],
                stall_name=f"{JOB_STALL_NAME}.{number}",
                on_line=self._show,
                environment=child_environment(settings, count, number),
            )
            self.children.append(child)

    def run(self) -> None:
        """Run until the job ends or waits for an unavailable root, and print what is stored.

        Raises:
            ProcessFailed: processes keep dying. Unavailable: an error has ended one.
        """
        done, over_at = 0, math.inf
        while self.children and time.monotonic() < over_at + JOB_END_S:
            time.sleep(JOB_POLL_S)
            self._printer.update()
            self.check()
            progress = with_retry(partial(find_job, self._database, self._job))
            if progress.done > done:
                done = progress.done
                for child in self.children:
                    child.early_exits = 0
            if not _is_running(progress):
                over_at = min(over_at, time.monotonic())

    def is_needed(self, child: Child) -> bool:
        """Release what an ended process held. It is started again if its job needs it.

        Raises:
            Unavailable: an error has ended it.
        """
        last_line = child.last_line()
        if last_line.startswith(ERROR):
            raise Unavailable(reason=last_line.removeprefix(ERROR))
        # The worker of its chunks (see ledger.jobs.process_name).
        worker = f"{process_space()}/{child.pid}"
        with_retry(partial(release_chunks_of, self._database, self._job, worker))
        # It may have died between its last chunk and this.
        with_retry(partial(finish_job, self._database, self._job))
        is_running = _is_running(with_retry(partial(find_job, self._database, self._job)))
        return is_running and (child.exit_code != 0 or len(self.children) == 1)

    def _show(self, line: str) -> None:
        if line not in self._messages:
            self._messages.add(line)
            self._printer.show_message(line)

    def _warn(self, text: str) -> None:
        self._printer.show_message(f"warning: {text}")


def _is_running(progress: JobProgress) -> bool:
    return not progress.is_over and progress.state != JobState.WAITING


def process_job(settings: Settings, job: int, number: int) -> None:
    """Process chunks of a local job, of which this is a process, until none is left."""
    watch(f"{JOB_STALL_NAME}.{number}", settings.data_folder, settings.stall_timeout_s)
    database = open_session(settings, waits=True).database
    share_memory(settings, settings.processes or 1)
    resume_collection()
    with JobThreads(database, settings, job, is_shared=True) as threads:
        threads.run()
