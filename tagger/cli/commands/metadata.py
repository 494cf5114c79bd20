"""`tagger metadata …`: show the metadata of photos, write tags to it, and undo what was written."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tagger.cli.job_submission import finish_in_process, finish_submission, wake_workers
from tagger.cli.option_groups import QueryOptions, with_option_groups
from tagger.cli.options import (
    Description,
    DryRun,
    EmbedObjects,
    Gps,
    GpsEstimated,
    Json,
    Limit,
    MaxErrorKm,
    PriorityName,
    Wait,
    check_embed_objects,
    parse_max_error,
    parse_priority,
)
from tagger.cli.output import console
from tagger.cli.output.console import ProgressLine
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.metadata import print_differences
from tagger.cli.session import Session, load_settings, open_session, prepare_paths

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.jobs.enqueue.job_options import MetadataOptions
    from tagger.jobs.processing.metadata_preview import MetadataPreview
    from tagger.library.query.options import PhotoQuery

metadata_app = typer.Typer(
    help="Write tags to the metadata of photos, so that other programs see them. Only these commands and --write change metadata.",
    no_args_is_help=True,
)

NOTHING_TO_UNDO = (
    "the database has no written metadata there; to undo files whose photos were forgotten, name the files"
)
NOTHING_TO_UNDO_OF_JOB = "nothing of job {job} is left to undo: it wrote no metadata, or this was undone, or written again by a later job"

To = Annotated[
    Literal["sidecar", "embed"],
    typer.Option(
        "--to",
        metavar="sidecar|embed",
        help="sidecar: an .xmp file next to the photo, which does not change. embed: the photo itself.",
    ),
]
Enqueue = Annotated[
    bool,
    typer.Option("--enqueue", help="Create a job for the workers instead, and print its number."),
]


@metadata_app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A photo or a sidecar file.", metavar="FILE")],
    json: Json = False,
) -> None:
    """Show the metadata fields of a photo and its sidecar file, side by side.

    Example: tagger metadata show holiday/IMG_0042.jpg
    """
    from tagger.cli.output.metadata import metadata_state, print_state

    settings = load_settings()
    prepare_paths([file], settings)
    state = metadata_state(file, settings.max_bytes)
    if json:
        write_json(state.document())
    else:
        print_state(state)


@metadata_app.command("write")
@with_option_groups
def write(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos and folders, like --under. (default: all tagged photos)", metavar="PATH"),
    ] = None,
    *,
    to: To,
    gps: Gps = False,
    gps_estimated: GpsEstimated = False,
    max_error_km: MaxErrorKm = None,
    description: Description = False,
    embed_objects: EmbedObjects = False,
    query_options: QueryOptions,
    limit: Limit = None,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = "bulk",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write all accepted tags of the photos that match the options to their metadata.

    Files that are up to date are not changed, so you can interrupt the command and run it again. Tags rejected since, and positions no longer estimated, are removed.

    For example:

    tagger metadata write ~/Pictures --to sidecar --dry-run

    tagger metadata write ~/Pictures/Paris --to embed --gps-estimated
    """
    from tagger.database.enums import Target
    from tagger.jobs.enqueue.job_options import MetadataOptions

    max_error_m = parse_max_error(max_error_km, gps_estimated=gps_estimated)
    check_embed_objects(embed_objects, to, "--to")
    language = load_settings().language
    metadata = MetadataOptions(Target(to), gps, description, language, max_error_m, embed_objects)
    _check_options(enqueue=enqueue, wait=wait, dry_run=dry_run)
    query = query_options.parse(under=(*(paths or ()), *(query_options.under or ())), limit=limit)
    action = _MetadataAction(enqueue=enqueue, wait=wait, priority=priority, json=json)
    if dry_run:
        action.preview_write(query, metadata)
        return
    action.write(query, metadata)


@metadata_app.command("undo")
def undo(
    paths: Annotated[list[Path] | None, typer.Argument(help="Photos and folders.", metavar="PATH")] = None,
    job: Annotated[
        int | None, typer.Option("--job", help="Undo what this job wrote.", metavar="JOB", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Undo everything that was ever written.")] = False,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = "bulk",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Undo what tagger wrote to photos and sidecar files, and nothing else.

    A file that no other program has changed since becomes identical to the original. From other files, only the values that tagger wrote are removed. The tags in the database stay.

    For example:

    tagger metadata undo ~/Pictures/Paris --dry-run

    tagger metadata undo --job 7
    """
    from tagger.photos.paths import parse_path

    if not paths and job is None and not everything:
        raise typer.BadParameter("name photos or folders, or use --job JOB or --all", param_hint="PATH")
    if everything and (paths or job is not None):
        raise typer.BadParameter("it cannot be combined with PATH or --job", param_hint="--all")
    _check_options(enqueue=enqueue, wait=wait, dry_run=dry_run)
    action = _MetadataAction(enqueue=enqueue, wait=wait, priority=priority, json=json, job=job)
    action.undo(tuple(map(parse_path, paths or ())), dry_run=dry_run)


def _check_options(*, enqueue: bool, wait: bool, dry_run: bool) -> None:
    if wait and not enqueue:
        raise typer.BadParameter("it needs --enqueue", param_hint="--wait")
    if enqueue and dry_run:
        raise typer.BadParameter("it cannot be combined with --enqueue", param_hint="--dry-run")


class _MetadataAction:
    """One `write` or `undo` (of `job`, or of any job): as a preview, in this process, or by the workers."""

    def __init__(
        self,
        *,
        enqueue: bool,
        wait: bool,
        priority: str,
        json: bool,
        job: int | None = None,
    ) -> None:
        from tagger.database.enums import Priority, Runner

        self._job = job
        self._enqueue, self._wait, self._json = enqueue, wait, json
        workers_priority = parse_priority(priority)
        self._runner, self._priority = (
            (Runner.WORKERS, workers_priority) if enqueue else (Runner.LOCAL, Priority.INTERACTIVE)
        )
        self._settings, self._database = open_session(settle_jobs=True)

    def preview_write(self, query: PhotoQuery, metadata: MetadataOptions) -> None:
        from tagger.jobs.enqueue.metadata_jobs import selected_photo_pages
        from tagger.library.positions.update import is_up_to_date

        pages = selected_photo_pages(self._database, query, self._settings.roots, metadata.max_error_m)
        print_differences(self._previews(pages, metadata), json=self._json)
        if metadata.max_error_m is not None and not is_up_to_date(self._database):
            console.warning("positions are not up to date; run: tagger locate")

    def write(self, query: PhotoQuery, metadata: MetadataOptions) -> None:
        from tagger.jobs.enqueue.metadata_jobs import record_write_job, write_job
        from tagger.jobs.processing.metadata_chunk import remove_interrupted_files

        remove_interrupted_files(self._database, self._settings.roots)
        new = write_job(self._database, self._settings, metadata, self._runner, self._priority)
        with ProgressLine("photos") as line:
            job = record_write_job(
                self._database,
                new,
                query,
                self._settings.roots,
                lambda count: line.show("photos", count, None),
            )
        self._process(job)

    def undo(self, paths: tuple[Path, ...], *, dry_run: bool) -> None:
        from tagger.jobs.enqueue.metadata_jobs import (
            photo_id_pages,
            record_undo_job,
            undo_job,
            written_photo_conditions,
        )
        from tagger.jobs.processing.metadata_chunk import remove_interrupted_files
        from tagger.jobs.processing.metadata_preview import preview_unlogged_undo

        self._check_targets(paths)
        logged = written_photo_conditions(self._database, self._job, paths, self._settings.roots)
        # Files without a record in this database, such as copies, are undone by the record inside the file.
        unlogged = preview_unlogged_undo(self._database, self._settings, paths if self._job is None else ())
        if dry_run:
            previews = chain(unlogged, self._previews(photo_id_pages(self._database, logged)))
            print_differences(previews, json=self._json)
            return
        remove_interrupted_files(self._database, self._settings.roots)
        count = self._undo_unlogged(unlogged)
        if next(photo_id_pages(self._database, logged), None) is not None:
            new = undo_job(self._database, self._settings, self._job, self._runner, self._priority)
            self._process(record_undo_job(self._database, new, logged))
            return
        if self._json:
            write_json({"job": None, "total": count})
        if not count:
            console.info(
                NOTHING_TO_UNDO_OF_JOB.format(job=self._job) if self._job is not None else NOTHING_TO_UNDO
            )
        raise typer.Exit(console.DONE)

    def _check_targets(self, paths: tuple[Path, ...]) -> None:
        from tagger.ledger.progress import check_job
        from tagger.library.catalog.roots import is_stored
        from tagger.photos.source import check_exists

        if self._job is not None:
            check_job(self._database, self._job)
        for path in paths:
            if not is_stored(self._database, path, self._settings.roots):
                check_exists(path)

    def _undo_unlogged(self, previews: Iterable[MetadataPreview]) -> int:
        from tagger.jobs.processing.metadata_preview import undo_unlogged

        count = 0
        for preview in previews:
            typer.echo(
                f"{printable(str(preview.path))}: {undo_unlogged(self._database, preview)}", err=self._json
            )
            count += 1
        return count

    def _previews(
        self, pages: Iterable[Sequence[int]], metadata: MetadataOptions | None = None
    ) -> Iterator[MetadataPreview]:
        """Preview a write, or without `metadata` an undo."""
        from tagger.jobs.processing.metadata_preview import preview_photos

        for page in pages:
            yield from preview_photos(self._database, self._settings, page, metadata, self._job)

    def _process(self, job: int) -> None:
        """Run the job in this process, or send it to the workers; exits the command."""
        from worker.broker import find_broker

        session = Session(self._settings, self._database)
        if self._enqueue:
            broker = find_broker(self._settings, self._database.ledger_id, start=self._wait)
            wake_workers(self._database, broker, job)
            finish_submission(session, job, wait=self._wait, json=self._json)
            return
        raise typer.Exit(finish_in_process(session, job, json=self._json))
