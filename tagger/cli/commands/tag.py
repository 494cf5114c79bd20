"""`tagger tag`, `watch`, `predict`, `enqueue` and `forget`.

Watched folders are scanned repeatedly: change notifications of systems miss changes on network shares.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.console import count_of, printable
from tagger.cli.help import argument, flag, option, with_option_groups
from tagger.cli.job_submission import (
    finish_in_process,
    finish_job,
    print_plan,
    print_problems,
    send_job,
    submit_tagging,
)
from tagger.cli.job_text import gone_text, print_next_steps
from tagger.cli.options import (
    Again,
    BatchSize,
    DeviceName,
    DryRun,
    Json,
    ModelName,
    NoWait,
    Paths,
    PriorityName,
    TagCommandOptions,
    Threshold,
    TopK,
    Wait,
    WriteOptions,
)
from tagger.cli.program import Session, load_settings, open_for_reading, open_session
from tagger.database import Priority
from tagger.database.engine import DatabaseError, is_transient, outage_text
from tagger.errors import (
    BucketExtraMissing,
    BucketUnavailable,
    DatabaseRemoved,
    ObjectUnsupported,
    PathNotFound,
    PhotoFailed,
    TaggerError,
)
from tagger.jobs.enqueue.selection import (
    Selection,
    require_available_roots,
    scan_watched,
    select_paths,
)
from tagger.jobs.enqueue.submission import Tagging, inference_options
from tagger.ledger import PUT_BACK
from tagger.model.devices import import_ahead
from tagger.photos.paths import absolute_path, parse_path
from tagger.photos.source import check_exists, open_source
from tagger.processes import set_message
from tagger.query.photo_json import (
    FailedPredictionDocument,
    ModelPredictions,
    named_predictions,
    prediction_document,
)
from tagger.registry import RegisteredModel, models_to_try
from tagger.roots import forget_path
from tagger.texts import json_bytes
from tagger.texts.text_format import percent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tagger.jobs.processing.model_cache import LocalModel
    from tagger.photos.folders import FolderProblem
    from tagger.settings import Settings


@with_option_groups
def tag(
    paths: Paths,
    options: TagCommandOptions,
    write_options: WriteOptions,
    again: Again = False,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Tag photos without workers or Redis.

    The command skips photos that are tagged already, so you can interrupt it and run it again. It changes no
    photo unless you use --write; `tagger metadata undo` reverts what was written.

    Example: tagger tag ~/Pictures, then: tagger landmark list
    """
    metadata = write_options.metadata()
    settings = options.settings(device=device, batch_size=batch_size)
    request = Tagging(options.selection(paths, settings), again, metadata)
    if dry_run:
        print_plan(settings, request)
        return
    import_ahead(settings.device, settings.backend)
    session = open_session(settings, settle_jobs=True)
    set_message(f"interrupted; no work is lost; {PUT_BACK}")
    job, code = tag_here(session, request, json=json)
    if not json:
        print_next_steps(session.database, job)
    raise typer.Exit(code)


def tag_here(
    session: Session, request: Tagging, *, json: bool = False
) -> tuple[int, int]:
    """Tag photos without workers; returns the number of the job, and the exit code."""
    job, _ = submit_tagging(session, request, Priority.INTERACTIVE, local=True)
    return job, finish_in_process(session, job, json=json)


def predict(
    files: Annotated[list[str], argument("FILE", "Photos, or - for standard input.")],
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    device: DeviceName = None,
    json: Json = False,
) -> None:
    """Predict the landmarks in photos, and store nothing.

    Example: tagger predict holiday.jpg, or: curl … | tagger predict -
    """
    settings = load_settings(
        top_k=top_k, threshold=threshold, model=model, device=device
    )
    session = open_for_reading(settings, is_needed=False)
    # Before the model is loaded, which takes seconds.
    for file in files:
        if file != "-":
            check_exists(parse_path(file))
    failed = print_predictions(files, session, json=json)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if failed else console.DONE)


def print_predictions(files: Sequence[str], session: Session, *, json: bool) -> int:
    """Print the predictions for each file; returns the number of files that failed."""
    from tagger.jobs.processing.model_cache import open_local_models

    settings, database = session
    models = models_to_try(database, settings.model)
    documents: list[object] = []
    failed = 0
    with open_local_models(models, settings, database) as opened:
        for file in files:
            path = file if file == "-" else str(absolute_path(Path(file)))
            try:
                found, is_damaged = _predict(opened, file, settings)
            except PhotoFailed as error:
                failed += 1
                kind, text = error.failure.kind, error.failure.text
                documents.append(FailedPredictionDocument(path, "failed", kind, text))
                typer.echo(f"{printable(file)}: failed ({kind}): {text}", err=True)
                continue
            predictions = named_predictions(database, found, settings.top_k)
            documents.append(
                prediction_document(path, predictions, is_damaged=is_damaged)
            )
            if json:
                continue
            if len(files) > 1:
                typer.echo(f"{printable(file)}:")
            for prediction in predictions:
                landmark = prediction.landmark
                location = ", ".join(filter(None, (landmark.city, landmark.country)))
                name = landmark.display_name + (f" ({location})" if location else "")
                if len(found) > 1:
                    name += f", {prediction.of.model.name}"
                mark = "*" if prediction.accepted else " "
                typer.echo(f"{mark} {prediction.score:6.1%}  {printable(name)}")
            if is_damaged:
                typer.echo(
                    "  a part of the image is missing, so no prediction is accepted"
                )
            elif not any(prediction.accepted for prediction in predictions):
                thresholds = " or ".join(percent(each.threshold) for each in found)
                of = "of this model" if len(found) == 1 else "of these models"
                typer.echo(
                    f"  no prediction reaches {thresholds}: the photo probably shows no landmark {of}"
                )
    if json:
        console.write_parts([json_bytes(documents) + b"\n"])
    return failed


def _predict(
    opened: Sequence[tuple[RegisteredModel, LocalModel]], file: str, settings: Settings
) -> tuple[list[ModelPredictions], bool]:
    # The predictions of each model for a photo, decoded once for each size, and whether it is damaged.
    #
    # Raises:
    #     PhotoFailed: it cannot be read.
    photo = opened[0][1].open(file)
    sizes = dict.fromkeys(local.resize for _, local in opened)
    images = {resize: photo.decode(resize) for resize in sizes}
    found = []
    for model, local in opened:
        threshold = (
            model.manifest.threshold
            if settings.threshold is None
            else settings.threshold
        )
        (predictions,) = local.predictions(
            [images[local.resize]], settings.top_k, threshold
        )
        found.append(ModelPredictions(model, threshold, predictions))
    return found, any(image.is_damaged for image in images.values())


@with_option_groups
def enqueue(
    paths: Paths,
    options: TagCommandOptions,
    write_options: WriteOptions,
    again: Again = False,
    priority: PriorityName = Priority.BULK,
    wait: Wait = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Record photos as a job for the workers, and print the number of the job.

    If Redis or the workers are unavailable, the job starts when they are back.

    Example: tagger enqueue ~/Pictures --wait (while tagger worker runs in another terminal)
    """
    metadata = write_options.metadata()
    settings = options.settings()
    request = Tagging(options.selection(paths, settings), again, metadata)
    if dry_run:
        print_plan(settings, request)
        return
    session = open_session(settings, settle_jobs=True)
    job, report = submit_tagging(session, request, priority)
    finish_job(session, job, report.in_other_jobs, wait=wait, json=json)


def forget(
    paths: Annotated[
        list[Path],
        argument("PATH", "Photos or folders. The files may be deleted already."),
    ],
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Remove photos from the database. The files stay.

    Example: tagger forget ~/Pictures/Screenshots
    """
    settings, database = open_session(settle_jobs=True)
    paths = list(map(parse_path, paths))
    counts = {
        str(path): forget_path(database, path, settings.roots, dry_run=dry_run)
        for path in paths
    }
    verb = "would be forgotten" if dry_run else "forgotten"
    lines = (
        f"{printable(path)}: {count_of(count, 'photo')} {verb}"
        for path, count in counts.items()
    )
    document = {"forgotten": sum(counts.values()), "paths": counts, "dry_run": dry_run}
    console.write_result(document, "\n".join(lines), json=json)


# The shortest time from one scan of a folder to the next one.
SCAN_EVERY_S = 2.0
# A pause is so many times as long as the scan's processor time: watching takes 2 % of a core at
# most.
SCAN_PAUSES = 50


@dataclass
class WatchedSource:
    """A folder, or a prefix of a bucket."""

    folder: Path
    scan_at: float = 0.0
    is_first: bool = True
    problem: str = ""
    unread: frozenset[FolderProblem] = frozenset()


# After an error, the folder or the bucket is scanned again so much later.
RETRY_S = 60.0
POLL_S = 0.5
START_RETRY_S = 5.0


def wait_for_sources(select: Callable[[], Selection]) -> Selection:
    """Call `select` until all folders and buckets are available. Prints once which one is not."""
    problem = ""
    while True:
        try:
            return select()
        except BucketExtraMissing:  # waiting does not help
            raise
        except (PathNotFound, BucketUnavailable) as error:
            if str(error) != problem:
                problem = str(error)
                console.warning(f"{problem} Waiting for it.")
        time.sleep(START_RETRY_S)


class Watcher:
    """Watches the folders and buckets of a selection. `tag` makes a job for photos.

    Errors are printed, and followed by a scan RETRY_S later: a disk may be back, or the database. An error in
    one folder or bucket does not affect the others.
    """

    def __init__(
        self,
        session: Session,
        selection: Selection,
        tag: Callable[[Selection], object],
        *,
        scan_every_s: float,
    ) -> None:
        self._session = session
        self._selection = selection
        self._scan_every_s = scan_every_s
        self._tag = tag
        self._sources = [WatchedSource(folder) for folder in selection.folders]

    def step(self) -> None:
        """Scan the sources that are due.

        Raises:
            DatabaseRemoved: the database file was deleted.
            ObjectUnsupported: tags would be written to metadata in a bucket.
        """
        self._session.database.require_file()
        for source in self._sources:
            if time.monotonic() >= source.scan_at:
                self._try_scan(source)

    def _try_scan(self, source: WatchedSource) -> None:
        try:
            self._scan(source)
        except (ObjectUnsupported, DatabaseRemoved):  # waiting does not help
            raise
        except TaggerError as error:
            self._scan_later(source, str(error))
        except DatabaseError as error:
            self._session.database.require_file()
            if not is_transient(error):
                raise
            self._scan_later(
                source, f"{outage_text(error)}; trying again until it works"
            )

    def _scan(self, source: WatchedSource) -> None:
        # Mark what is gone, and tag what is new or changed.
        began = time.process_time()
        settings, database = self._session
        selection = replace(self._selection, folders=(source.folder,))
        require_available_roots(database, selection, settings.roots)
        inference = inference_options(database, settings, reprocess=False)
        unseen, report = scan_watched(
            database, selection, inference, settings.roots, settle_s=settings.settle_s
        )
        _report_problems(source, report.problems)
        if report.gone:
            console.info(gone_text(report.gone))
        worked = (
            0.0 if source.is_first else time.process_time() - began
        )  # the first one also loads modules
        source.is_first = False
        pause_s = self._scan_every_s
        if open_source(str(source.folder)).is_free_to_list:
            pause_s = max(SCAN_EVERY_S, SCAN_PAUSES * worked)
        source.scan_at = time.monotonic() + pause_s
        source.problem = ""
        if unseen.files or unseen.folders:
            self._tag(unseen)

    def _scan_later(self, source: WatchedSource, problem: str) -> None:
        # Print a problem once, however often it comes back, and plan a scan that finds what was left.
        if problem not in {each.problem for each in self._sources}:
            console.warning(problem)
        source.problem = problem
        source.scan_at = time.monotonic() + RETRY_S


def _report_problems(source: WatchedSource, problems: Sequence[FolderProblem]) -> None:
    # Print what could not be listed, and how many folders that are, once for as long as it stays so.
    if new := [problem for problem in problems if problem not in source.unread]:
        print_problems(new)
        skipped = sum(problem.is_folder for problem in problems)
        if skipped:
            console.warning(
                f"{count_of(skipped, 'folder')} in {printable(str(source.folder))} could not be read"
            )
    source.unread = frozenset(problems)


@with_option_groups
def watch(
    paths: Annotated[
        list[Path],
        argument(
            "FOLDER",
            "Folders, with the folders in them, or prefixes of buckets: s3://BUCKET/PREFIX.",
        ),
    ],
    options: TagCommandOptions,
    write_options: WriteOptions,
    enqueue: Annotated[
        bool,
        flag(
            "--enqueue", "Leave the photos to workers, in jobs, as tagger enqueue does."
        ),
    ] = False,
    scan_every: Annotated[
        int,
        option(
            "--scan-every",
            "MINUTES",
            "Minutes between scans of buckets.",
            min=1,
            max=10_000,
        ),
    ] = 10,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    no_wait: NoWait = False,
) -> None:
    """Tag the new and changed photos in folders and buckets, at once and then as they come, until Ctrl-C.

    Deleted photos are marked as gone. Folders are scanned every few seconds, large ones less often, and
    buckets every --scan-every minutes.

    Example: tagger watch ~/Pictures s3://holidays/incoming
    """
    metadata = write_options.metadata()
    settings = options.settings(device=device, batch_size=batch_size)
    session = open_session(settings, settle_jobs=True)
    select = partial(select_paths, paths, options.include or (), options.exclude or ())
    selection = select() if no_wait else wait_for_sources(select)
    if selection.files:
        text = f"{selection.files[0]} is a single photo; name the folder or prefix that it is in"
        raise typer.BadParameter(text, param_hint="FOLDER")

    def tag_photos(photos: Selection) -> None:
        request = Tagging(photos, write=metadata)
        if enqueue:
            job, _ = submit_tagging(session, request, Priority.BULK)
            send_job(session, job, start_redis=True)
        else:
            tag_here(session, request)

    set_message(
        "stopped; start the same command again: it finds what is not tagged yet"
    )
    watcher = Watcher(session, selection, tag_photos, scan_every_s=60.0 * scan_every)
    counts = Counter(open_source(str(folder)).noun for folder in selection.folders)
    nouns = sorted(counts.items(), reverse=True)
    sources = " and ".join(count_of(count, noun) for noun, count in nouns)
    console.info(f"watching {sources}; press Ctrl-C to stop")
    while True:
        watcher.step()
        time.sleep(POLL_S)
