"""`tagger metadata …`: show the metadata of photos, write tags to it, and undo what was written."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tagger.cli.job_submission import finish_submission, send_messages
from tagger.cli.local_jobs import finish_local_job, run_local_job
from tagger.cli.options import (
    ClassifiedBy,
    Country,
    Description,
    DryRun,
    Gps,
    Json,
    LandmarkName,
    MinScore,
    NearPosition,
    PriorityName,
    RadiusKm,
    TakenAfter,
    TakenBefore,
    Under,
    Wait,
    parse_metadata_options,
    parse_priority,
    query_usage,
)
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.metadata_diff import print_differences
from tagger.cli.output.progress import ProgressLine
from tagger.cli.session import load_settings, open_session

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.database.tables import JobKind
    from tagger.enqueue.metadata_options import MetadataOptions
    from tagger.ledger.jobs import NewJob
    from tagger.processing.metadata_preview import MetadataPreview
    from tagger.query import PhotoQuery

metadata_app = typer.Typer(
    help="Write tags to the metadata of photos, so that other programs see them. Only these commands and --write change metadata.",
    no_args_is_help=True,
)

NOTHING_TO_UNDO = (
    "the database has no written metadata there; to undo files whose photos were forgotten, name the files"
)
NOTHING_TO_UNDO_OF_JOB = (
    "nothing of job {job} is left to undo: it was undone, or a later job wrote the files again"
)

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
    from tagger.cli.output.metadata_state import metadata_state, print_state

    state = metadata_state(file, load_settings().max_bytes)
    if json:
        write_json(state.document())
    else:
        print_state(state)


@metadata_app.command("write")
def write(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Photos and folders, like --under. (default: all tagged photos)", metavar="PATH"),
    ] = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="sidecar|embed",
            help="sidecar: an .xmp file next to the photo, which does not change. embed: the photo itself.",
        ),
    ],
    gps: Gps = False,
    description: Description = False,
    landmark: LandmarkName = None,
    country: Country = None,
    near: NearPosition = None,
    radius_km: RadiusKm = None,
    min_score: MinScore = None,
    under: Under = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    model: ClassifiedBy = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Maximum number of photos.")] = None,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = "bulk",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write all accepted tags of the photos that match the options to their metadata.

    Files that are up to date are not changed, so you can interrupt the command and run it again. Tags that were
    rejected since are removed. Try it with `--to sidecar --dry-run` first.

    For example:

    tagger metadata write ~/Pictures --to sidecar --dry-run

    tagger metadata write ~/Pictures/Paris --to embed
    """
    from tagger.database.tables import JobKind
    from tagger.query import parse_query

    if to not in {"sidecar", "embed"}:
        raise typer.BadParameter("use sidecar or embed", param_hint="--to")
    metadata = parse_metadata_options(to, gps=gps, description=description, option="--to")
    _check_options(enqueue=enqueue, wait=wait, dry_run=dry_run)
    with query_usage():
        query = parse_query(
            landmark=landmark,
            country=country,
            near=near,
            radius_km=radius_km,
            min_score=min_score,
            under=(*(paths or ()), *(under or ())),
            taken_after=taken_after,
            taken_before=taken_before,
            model=model,
            limit=limit,
        )
    action = _MetadataAction(
        JobKind.WRITE, metadata, enqueue=enqueue, wait=wait, priority=priority, json=json
    )
    if dry_run:
        action.preview_write(query)
        return
    action.write(query)


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

    A file that no other program has changed since becomes identical to the original, byte for byte. From other
    files, only the values that tagger wrote are removed. The tags in the database stay.

    For example:

    tagger metadata undo ~/Pictures/Paris --dry-run

    tagger metadata undo --job 7
    """
    from tagger.database.tables import JobKind

    if not paths and job is None and not everything:
        raise typer.BadParameter("name photos or folders, or use --job JOB or --all", param_hint="PATH")
    if everything and (paths or job is not None):
        raise typer.BadParameter("it cannot be combined with PATH or --job", param_hint="--all")
    _check_options(enqueue=enqueue, wait=wait, dry_run=dry_run)
    action = _MetadataAction(
        JobKind.UNDO, None, job=job, enqueue=enqueue, wait=wait, priority=priority, json=json
    )
    action.undo(tuple(paths or ()), dry_run=dry_run)


def _check_options(*, enqueue: bool, wait: bool, dry_run: bool) -> None:
    if wait and not enqueue:
        raise typer.BadParameter("it needs --enqueue", param_hint="--wait")
    if enqueue and dry_run:
        raise typer.BadParameter("it cannot be combined with --enqueue", param_hint="--dry-run")


class _MetadataAction:
    """One `write` or `undo` (of `job`, or of any job): as a preview, in this process, or by the workers."""

    def __init__(
        self,
        kind: JobKind,
        metadata: MetadataOptions | None,
        *,
        job: int | None = None,
        enqueue: bool,
        wait: bool,
        priority: str,
        json: bool,
    ) -> None:
        self._kind, self._metadata, self._job = kind, metadata, job
        self._priority = parse_priority(priority)
        self._enqueue, self._wait, self._json = enqueue, wait, json
        self._settings, self._database = open_session(settle_jobs=True)

    def preview_write(self, query: PhotoQuery) -> None:
        from tagger.enqueue.metadata_selection import selected_photo_pages

        pages = selected_photo_pages(self._database, query, self._settings.roots)
        print_differences(self._previews(pages), json=self._json)

    def write(self, query: PhotoQuery) -> None:
        from tagger.enqueue.metadata_selection import create_write_job

        with ProgressLine("photos") as line:
            job = create_write_job(
                self._database,
                self._new_job(),
                query,
                self._settings.roots,
                lambda count: line.show("photos", count, None),
            )
        self._process(job)

    def undo(self, paths: tuple[Path, ...], *, dry_run: bool) -> None:
        from tagger.enqueue.metadata_selection import (
            create_undo_job,
            photo_id_pages,
            written_photo_conditions,
        )
        from tagger.processing.unlogged_undo import preview_unlogged_undo

        self._check_targets(paths)
        logged = written_photo_conditions(self._database, self._job, paths, self._settings.roots)
        # Files without a record in this database, such as copies, are undone by the record inside the file.
        unlogged = preview_unlogged_undo(self._database, self._settings, paths if self._job is None else ())
        if dry_run:
            previews = chain(unlogged, self._previews(photo_id_pages(self._database, logged)))
            print_differences(previews, json=self._json)
            return
        count = self._undo_unlogged(unlogged)
        if next(photo_id_pages(self._database, logged), None) is not None:
            self._process(create_undo_job(self._database, self._new_job(), logged))
            return
        if self._json:
            write_json({"job": None, "total": count})
        if not count:
            console.info(
                NOTHING_TO_UNDO_OF_JOB.format(job=self._job) if self._job is not None else NOTHING_TO_UNDO
            )
        raise typer.Exit(console.DONE)

    def _check_targets(self, paths: tuple[Path, ...]) -> None:
        from tagger.catalog.removal import is_stored
        from tagger.errors import PathNotFound
        from tagger.ledger.progress import check_job

        if self._job is not None:
            check_job(self._database, self._job)
        for path in paths:
            if not path.exists() and not is_stored(self._database, path, self._settings.roots):
                raise PathNotFound(path=path)

    def _undo_unlogged(self, previews: Iterable[MetadataPreview]) -> int:
        from tagger.processing.unlogged_undo import undo_unlogged

        count = 0
        for preview in previews:
            typer.echo(
                f"{printable(str(preview.path))}: {undo_unlogged(self._database, preview)}", err=self._json
            )
            count += 1
        return count

    def _previews(self, pages: Iterable[Sequence[int]]) -> Iterator[MetadataPreview]:
        from tagger.processing.metadata_preview import preview_photos

        for page in pages:
            yield from preview_photos(self._database, self._settings, page, self._metadata, self._job)

    def _process(self, job: int) -> None:
        """Run the job in this process, or send it to the workers; exits the command."""
        from worker.broker import find_broker

        if self._enqueue:
            send_messages(self._database, find_broker(self._settings, start=self._wait), job)
            finish_submission(self._database, job, wait=self._wait, json=self._json)
            return
        run_local_job(self._database, self._settings, job, lines=not self._json)
        raise typer.Exit(finish_local_job(self._database, job, json=self._json))

    def _new_job(self) -> NewJob:
        from tagger.database.tables import Priority, Runner
        from tagger.enqueue.inference_options import inference_options
        from tagger.ledger.jobs import NewJob

        inference = inference_options(self._database, self._settings)
        return NewJob(
            model_id=inference.model_id,
            top_k=inference.top_k,
            threshold=inference.threshold,
            runner=Runner.WORKERS if self._enqueue else Runner.LOCAL,
            priority=self._priority if self._enqueue else Priority.INTERACTIVE,
            kind=self._kind,
            options=self._job_options(),
        )

    def _job_options(self) -> dict[str, Any]:
        from tagger.enqueue.metadata_options import UNDO_JOB

        if self._metadata:
            return self._metadata.to_job_options()
        return {UNDO_JOB: self._job} if self._job else {}
