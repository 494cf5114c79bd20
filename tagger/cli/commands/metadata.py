"""`tagger metadata …`: show the metadata of photos, write tags to it, and undo what was written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagger.cli.help import argument, flag, option, with_option_groups
from tagger.cli.job_submission import finish_in_process, finish_job, submit_job
from tagger.cli.option_groups import QueryOptions, WriteOptions
from tagger.cli.options import (
    Description,
    DryRun,
    Gps,
    GpsEstimated,
    Json,
    Limit,
    MaxErrorKm,
    PriorityName,
    Wait,
    WithThings,
)
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of, first_names
from tagger.cli.output.metadata import metadata_state, print_differences, print_state
from tagger.cli.session import Session, open_for_reading, open_session
from tagger.database.enums import Priority, Runner
from tagger.errors import ObjectUnsupported
from tagger.jobs.enqueue.metadata_jobs import Undo, Write
from tagger.jobs.processing.metadata_preview import preview_photos, recorded_sidecars
from tagger.jobs.processing.undo_log import count_forgotten
from tagger.ledger.job_control import find_job
from tagger.metadata.photo_files import files_with_our_values
from tagger.photos.paths import ObjectPath, parse_path
from tagger.photos.source import check_exists
from tagger.positions.update import is_up_to_date
from tagger.query.photo_conditions import require_folders
from tagger.roots.roots import is_stored, list_roots

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.jobs.enqueue.job_options import MetadataOptions
    from tagger.jobs.processing.metadata_preview import MetadataPreview

metadata_app = typer.Typer(
    help="Write tags to the metadata of photos, for other programs. Only these and --write change metadata.",
    no_args_is_help=True,
)

NOTHING_TO_UNDO = "nothing is left to undo: neither the database nor a file there has written metadata"
NOTHING_TO_UNDO_OF_JOB = (
    "nothing of job {job} is left to undo: it wrote nothing, or this was undone or written again later"
)
TAKE_OVER = "run: tagger tag FOLDER --write sidecar, then: tagger metadata undo FOLDER"
SHOWN_FILES = 3

To = Annotated[
    Literal["sidecar", "embed"],
    option(
        "--to",
        "sidecar|embed",
        "sidecar: an .xmp file next to the photo, which does not change. embed: the photo itself.",
    ),
]
Enqueue = Annotated[bool, flag("--enqueue", "Create a job for the workers instead, and print its number.")]


@metadata_app.command("show")
def show(
    file: Annotated[Path, argument("FILE", "A photo or a sidecar file.")],
    json: Json = False,
) -> None:
    """Show the metadata fields of a photo and its sidecar file, side by side.

    Example: tagger metadata show holiday/IMG_0042.jpg
    """
    settings, database = open_for_reading(is_needed=False)
    sidecars = recorded_sidecars(database, parse_path(file), settings.roots)
    state = metadata_state(file, settings.max_bytes, sidecars)
    if json:
        write_json(state)
    else:
        print_state(state)
    if state.lost:
        raise typer.Exit(console.SOME_PHOTOS_FAILED)


@metadata_app.command("write")
@with_option_groups
def write(
    paths: Annotated[
        list[Path] | None, argument("PATH", "Photos and folders, like --under. (default: all tagged photos)")
    ] = None,
    *,
    to: To,
    gps: Gps = False,
    gps_estimated: GpsEstimated = False,
    max_error_km: MaxErrorKm = None,
    description: Description = False,
    things: WithThings = False,
    query_options: QueryOptions,
    limit: Limit = None,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = Priority.BULK,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write the accepted tags of the photos that match to their metadata.

    Files that are up to date are not changed, so you can interrupt the command and run it again. Tags
    rejected since, and positions no longer estimated, are removed.

    For example:

    tagger metadata write ~/Pictures --to sidecar --dry-run

    tagger metadata write ~/Pictures/Paris --to embed --gps-estimated
    """
    options = WriteOptions(to, gps, gps_estimated, max_error_km, description, things)
    metadata = options.written()
    runner, job_priority = _parse_runner(priority, enqueue=enqueue, wait=wait, dry_run=dry_run)
    query = query_options.parse(under=(*(paths or ()), *(query_options.under or ())), limit=limit)
    settings, database = session = open_session(settle_jobs=True)
    require_folders(database, query.under, settings.roots)
    request = Write(metadata, query)
    if dry_run:
        _preview_write(session, request, json=json)
        return
    job, _ = submit_job(session, request, runner, job_priority, "photos")
    finish_job(session, job, runner, wait=wait, json=json)


def _preview_write(session: Session, request: Write, *, json: bool) -> None:
    settings, database = session
    pages = request.photo_id_pages(database, settings.roots)
    print_differences(_previews(session, pages, request.options), json=json)
    if request.options.max_error_m is not None and not is_up_to_date(database):
        console.warning("positions are not up to date; run: tagger locate")


@metadata_app.command("undo")
def undo(
    paths: Annotated[list[Path] | None, argument("PATH", "Photos and folders.")] = None,
    job: Annotated[
        int | None,
        option("--job", "JOB", "Undo what this job wrote.", min=1, max=2**63 - 1, show_default=False),
    ] = None,
    everything: Annotated[bool, flag("--all", "Undo everything that was ever written.")] = False,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = Priority.BULK,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Undo what tagger wrote to photos and sidecar files, and nothing else.

    A file that no other program has changed since becomes identical to the original. From other files, only
    the values that tagger wrote are removed. The tags in the database stay. Afterwards, files that still hold
    tags of tagger are named: no job of this database wrote them, or it could not undo them.

    For example:

    tagger metadata undo ~/Pictures/Paris --dry-run

    tagger metadata undo --job 7
    """
    if not paths and job is None and not everything:
        raise typer.BadParameter("name photos or folders, or use --job JOB or --all", param_hint="PATH")
    if everything and (paths or job is not None):
        raise typer.BadParameter("it cannot be combined with PATH or --job", param_hint="--all")
    runner, job_priority = _parse_runner(priority, enqueue=enqueue, wait=wait, dry_run=dry_run)
    settings, database = session = open_session(settle_jobs=True)
    files = tuple(map(parse_path, paths or ()))
    _check_targets(session, files, job)
    request = Undo(job, files)
    logged = request.photo_id_pages(database, settings.roots)
    if dry_run:
        print_differences(_previews(session, logged, undo_job=job), json=json)
        return
    code = console.DONE
    has_job = next(logged, None) is not None
    if has_job:
        number, _ = submit_job(session, request, runner, job_priority, "photos")
        if runner is Runner.WORKERS:
            finish_job(session, number, runner, wait=wait, json=json)
            return
        code = finish_in_process(session, number, json=json)
    elif json:
        write_json({"job": None, "total": 0})
    is_complete = _name_what_is_left(session, files, job)
    if is_complete and not has_job:
        console.info(NOTHING_TO_UNDO if job is None else NOTHING_TO_UNDO_OF_JOB.format(job=job))
    raise typer.Exit(code or (console.DONE if is_complete else console.SOME_PHOTOS_FAILED))


def _name_what_is_left(session: Session, files: Sequence[Path], job: int | None) -> bool:
    """Name the files that no job can undo. Returns whether there are none."""
    settings, database = session
    searched = files
    if not files and job is None:
        with database.read() as connection:
            searched = [root.folder for root in list_roots(connection, settings.roots)]
    left = files_with_our_values(searched if job is None else (), settings.max_bytes)
    paths = [printable(str(path)) for path in dict.fromkeys(left)]
    if paths:
        console.warning(
            f"tags of tagger are still in {count_of(len(paths), 'file')}, which no job of this database "
            f"wrote or could undo: {first_names(paths, SHOWN_FILES)}; "
            f"to undo what another database wrote, {TAKE_OVER}; else restore them from a backup"
        )
    forgotten = 0 if files else count_forgotten(database, job)
    if forgotten:
        console.warning(
            f"{count_of(forgotten, 'written file')} belong to photos that were removed from the database; "
            f"to undo them, {TAKE_OVER}"
        )
    return not (paths or forgotten)


def _parse_runner(priority: Priority, *, enqueue: bool, wait: bool, dry_run: bool) -> tuple[Runner, Priority]:
    """Who runs the job, and its priority: the workers with --enqueue, this process otherwise."""
    if wait and not enqueue:
        raise typer.BadParameter("it needs --enqueue", param_hint="--wait")
    if enqueue and dry_run:
        raise typer.BadParameter("it cannot be combined with --enqueue", param_hint="--dry-run")
    return (Runner.WORKERS, priority) if enqueue else (Runner.LOCAL, Priority.INTERACTIVE)


def _check_targets(session: Session, paths: Iterable[Path], job: int | None) -> None:
    if job is not None:
        find_job(session.database, job)
    for path in paths:
        if isinstance(path, ObjectPath):
            raise ObjectUnsupported(path=str(path))
        if not is_stored(session.database, path, session.settings.roots):
            check_exists(path)


def _previews(
    session: Session,
    pages: Iterable[Sequence[int]],
    metadata: MetadataOptions | None = None,
    undo_job: int | None = None,
) -> Iterator[MetadataPreview]:
    """Preview a write, or without `metadata` an undo."""
    for page in pages:
        yield from preview_photos(session.database, session.settings, page, metadata, undo_job)
