"""`tagger tag`, `predict`, `enqueue` and `forget`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.catalog.roots import forget_path
from tagger.cli.help import argument, with_option_groups
from tagger.cli.job_submission import finish_in_process, finish_job, print_plan, submit_tagging
from tagger.cli.option_groups import TagCommandOptions, WriteOptions
from tagger.cli.options import (
    Again,
    BatchSize,
    DeviceName,
    DryRun,
    Json,
    ModelName,
    Paths,
    PriorityName,
    Threshold,
    TopK,
    Wait,
)
from tagger.cli.output import console
from tagger.cli.output.formats import printable
from tagger.cli.output.job_text import count_of, print_next_steps
from tagger.cli.session import load_settings, open_session, prepare_paths
from tagger.database.enums import Priority, Runner
from tagger.errors import PathNotFound
from tagger.photos.paths import parse_path
from tagger.photos.source import check_exists

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tagger.cli.session import Session
    from tagger.jobs.enqueue.submission import Tagging


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
    """Tag photos in this process, without workers or Redis.

    The command skips photos that are tagged already, so you can interrupt it and run it again. It changes no
    photo unless you use --write; `tagger metadata undo` reverts what was written.

    Example: tagger tag ~/Pictures, then: tagger landmark list
    """
    from tagger.jobs.enqueue.submission import Tagging

    metadata = write_options.metadata()
    settings = options.settings(device=device, batch_size=batch_size)
    request = Tagging(options.selection(paths, settings), again, metadata)
    if dry_run:
        print_plan(settings, request)
        return
    session = open_session(settings, settle_jobs=True)
    job, code = tag_here(session, request, json=json)
    if not json:
        print_next_steps(session.database, job)
    raise typer.Exit(code)


def tag_here(session: Session, request: Tagging, *, json: bool = False) -> tuple[int, int]:
    """Tag photos in this process; returns the number of the job, and the exit code."""
    job = submit_tagging(session, request, Runner.LOCAL, Priority.INTERACTIVE)
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
    settings = load_settings(top_k=top_k, threshold=threshold, model=model, device=device, batch_size=1)
    prepare_paths(files, settings)
    _check_files(file for file in files if file != "-")
    from tagger.cli.output.photo_lines import print_predictions

    failed = print_predictions(files, settings, json=json)
    raise typer.Exit(console.SOME_PHOTOS_FAILED if failed else console.DONE)


def _check_files(files: Iterable[str]) -> None:
    """Check that all files exist, before the model is loaded, which takes seconds.

    Raises:
        typer.BadParameter: one does not exist.
    """
    try:
        for file in files:
            check_exists(parse_path(file))
    except PathNotFound as error:
        raise typer.BadParameter(str(error), param_hint="FILE") from error


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
    from tagger.jobs.enqueue.submission import Tagging

    metadata = write_options.metadata()
    settings = options.settings()
    request = Tagging(options.selection(paths, settings), again, metadata)
    if dry_run:
        print_plan(settings, request)
        return
    session = open_session(settings, settle_jobs=True)
    job = submit_tagging(session, request, Runner.WORKERS, priority)
    finish_job(session, job, Runner.WORKERS, wait=wait, json=json)


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
    counts = {str(path): forget_path(database, path, settings.roots, dry_run=dry_run) for path in paths}
    verb = "would be forgotten" if dry_run else "forgotten"
    lines = (f"{printable(path)}: {count_of(count, 'photo')} {verb}" for path, count in counts.items())
    document = {"forgotten": sum(counts.values()), "paths": counts, "dry_run": dry_run}
    console.write_result(document, "\n".join(lines), json=json)
