"""`tagger metadata …`: what photos' files say, writing tags into them, and taking that back."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.asking import Country, LandmarkName, LookedBy, MinScore, NearPlace, RadiusKm, chosen_near
from tagger.cli.differing import print_differences
from tagger.cli.local_jobs import end_here, run_here
from tagger.cli.options import (
    Description,
    DryRun,
    Gps,
    Json,
    PriorityName,
    TakenAfter,
    TakenBefore,
    Under,
    Wait,
    chosen_date,
    chosen_priority,
    chosen_write,
)
from tagger.cli.output import printable, write_json
from tagger.cli.progress import ProgressLine
from tagger.cli.recording import end_of_recording, load, opened, send_messages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tagger.database import Database
    from tagger.ledger.jobs import NewJob
    from tagger.query import PhotoQuery
    from tagger.settings import Settings
    from tagger.tables import JobKind, Priority, Runner
    from tagger.writing.asked import WriteAsked
    from tagger.writing.preview import Previewed

metadata_app = typer.Typer(
    help="Tags in the photos' own metadata, for every program that reads it. Nothing is written unless asked for here or with --write.",
    no_args_is_help=True,
)

_NOTHING_THERE = "nothing that was written is known there; files whose photos were forgotten are taken back by their own names"
_NOTHING_OF_JOB = (
    "nothing that job {job} wrote is there any more: it was taken back, or written again by a later job"
)

Enqueue = Annotated[
    bool, typer.Option("--enqueue", help="Not here: in a job for the workers, whose number is printed.")
]


@metadata_app.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="A photo, or a sidecar.", metavar="FILE")], json: Json = False
) -> None:
    """Show what a photo and its sidecar say now, field by field, side by side.

    Example: tagger metadata show holiday/IMG_0042.jpg
    """
    from tagger.cli.differing import print_state, state_of

    state = state_of(file, load().max_bytes)
    if json:
        write_json(state.document())
    else:
        print_state(state)


@metadata_app.command("write")
def write(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Photos and folders, as with --under; without any, all that were tagged.", metavar="PATH"
        ),
    ] = None,
    *,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="sidecar|embed",
            help="sidecar: a .xmp file beside the photo, which stays as it is; embed: the photo itself.",
        ),
    ],
    gps: Gps = False,
    description: Description = False,
    landmark: LandmarkName = None,
    country: Country = None,
    near: NearPlace = None,
    radius_km: RadiusKm = None,
    min_score: MinScore = None,
    under: Under = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    model: LookedBy = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most so many photos.")] = None,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = "bulk",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Write the accepted tags of photos into metadata: all their tags, of all photos that the options find.

    Files that are right already are left alone, so the same command again goes on where it stopped. What a person
    rejected since is taken out again. Begin with sidecars and --dry-run.

    For example:

    tagger metadata write ~/Pictures --to sidecar --dry-run

    tagger metadata write ~/Pictures/Paris --to embed
    """
    from tagger.query import PhotoQuery
    from tagger.tables import JobKind

    if to not in {"sidecar", "embed"}:
        raise typer.BadParameter("it is sidecar or embed", param_hint="--to")
    asked = chosen_write(to, gps=gps, description=description, option="--to")
    _check_work(enqueue=enqueue, wait=wait, dry_run=dry_run)
    query = PhotoQuery(
        landmark=landmark,
        country=country,
        near=chosen_near(near, radius_km),
        min_score=min_score,
        under=(*(paths or ()), *(under or ())),
        taken_after=chosen_date(taken_after, "--taken-after"),
        taken_before=chosen_date(taken_before, "--taken-before"),
        model=model,
        limit=limit,
    )
    work = _Work(JobKind.WRITE, asked, enqueue=enqueue, wait=wait, priority=priority, json=json)
    if dry_run:
        work.preview_write(query)
        return
    work.write(query)


@metadata_app.command("undo")
def undo(
    paths: Annotated[list[Path] | None, typer.Argument(help="Photos and folders.", metavar="PATH")] = None,
    job: Annotated[
        int | None, typer.Option("--job", help="What this job wrote.", metavar="JOB", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Whatever was ever written.")] = False,
    enqueue: Enqueue = False,
    wait: Wait = False,
    priority: PriorityName = "bulk",
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Take back what this program wrote into photos and sidecars, and nothing else.

    A file that nobody else has changed since becomes the original again, byte for byte, however often it was written.
    Out of another one only what was written goes. The tags stay in the database.

    For example:

    tagger metadata undo ~/Pictures/Paris --dry-run

    tagger metadata undo --job 7
    """
    from tagger.tables import JobKind

    if not paths and job is None and not everything:
        raise typer.BadParameter("name photos or folders, --job JOB, or --all", param_hint="PATH")
    if everything and (paths or job is not None):
        raise typer.BadParameter("it does not go with PATH or --job", param_hint="--all")
    _check_work(enqueue=enqueue, wait=wait, dry_run=dry_run)
    work = _Work(JobKind.UNDO, None, enqueue=enqueue, wait=wait, priority=priority, json=json)
    work.undo(job, tuple(paths or ()), dry_run=dry_run)


def _check_work(*, enqueue: bool, wait: bool, dry_run: bool) -> None:
    if wait and not enqueue:
        raise typer.BadParameter("it goes with --enqueue", param_hint="--wait")
    if enqueue and dry_run:
        raise typer.BadParameter("it does not go with --enqueue", param_hint="--dry-run")


class _Work:
    """One `write` or `undo`: what is asked, and where it is done."""

    def __init__(
        self, kind: JobKind, asked: WriteAsked | None, *, enqueue: bool, wait: bool, priority: str, json: bool
    ) -> None:
        self._kind, self._asked = kind, asked
        self._priority: Priority = chosen_priority(priority)
        self._enqueue, self._wait, self._json = enqueue, wait, json
        self._of_job: int | None = None
        self.settings: Settings = load()
        self.database: Database = opened(self.settings)

    def preview_write(self, query: PhotoQuery) -> None:
        from tagger.writing.chosen import query_pages

        print_differences(
            self._previewed(query_pages(self.database, query, self.settings.roots)), json=self._json
        )

    def _previewed(self, pages: Iterable[Sequence[int]]) -> Iterator[Previewed]:
        from tagger.writing.preview import preview_write

        for page in pages:
            yield from preview_write(self.database, self.settings, page, self._asked, self._of_job)

    def write(self, query: PhotoQuery) -> None:
        from tagger.writing.chosen import record_write

        with ProgressLine("photos") as line:
            job = record_write(
                self.database,
                self._new_job(),
                query,
                self.settings.roots,
                lambda count: line.show("photos", count, None),
            )
        self._do(job)

    def undo(self, job: int | None, paths: tuple[Path, ...], *, dry_run: bool) -> None:
        from tagger.errors import FolderNotFound
        from tagger.forgetting import is_known
        from tagger.ledger.progress import check_job
        from tagger.writing.chosen import photo_ids, record_undo, written_photos
        from tagger.writing.single import plan_unknown, undo_unknown

        if job is not None:
            check_job(self.database, job)
        self._of_job = job
        for path in paths:
            if not path.exists() and not is_known(self.database, path, self.settings.roots):
                raise FolderNotFound(path=path)
        known = written_photos(self.database, job, paths, self.settings.roots)
        # Files that are in no database, or that another one has written, say themselves what is ours in them.
        unknown = plan_unknown(self.database, self.settings, paths if job is None else ())
        if dry_run:
            found = chain(unknown, self._previewed(photo_ids(self.database, known)))
            print_differences(found, json=self._json)
            return
        done = 0
        for done, each in enumerate(unknown, start=1):  # noqa: B007 - counted
            typer.echo(f"{printable(str(each.path))}: {undo_unknown(self.database, each)}", err=self._json)
        if next(photo_ids(self.database, known), None) is None:
            if self._json:
                write_json({"job": None, "total": done})
            if not done:
                console.say(_NOTHING_OF_JOB.format(job=job) if job is not None else _NOTHING_THERE)
            raise typer.Exit(console.DONE)
        self._do(record_undo(self.database, self._new_job(), known))

    def _do(self, job: int) -> None:
        """Here, or by the workers; ends the command."""
        from worker.broker import find_broker

        if self._enqueue:
            send_messages(self.database, find_broker(self.settings, start=self._wait), job)
            end_of_recording(self.database, job, wait=self._wait, json=self._json)
            return
        run_here(self.database, self.settings, job, lines=not self._json)
        raise typer.Exit(end_here(self.database, job, json=self._json))

    def _new_job(self) -> NewJob:
        from tagger.ledger.jobs import NewJob
        from tagger.looks import look_of
        from tagger.tables import Priority, Runner
        from tagger.writing.asked import OF_JOB

        look = look_of(self.database, self.settings)
        runner: Runner = Runner.WORKERS if self._enqueue else Runner.LOCAL
        return NewJob(
            model_id=look.model_id,
            top_k=look.top_k,
            threshold=look.threshold,
            runner=runner,
            priority=self._priority if self._enqueue else Priority.INTERACTIVE,
            kind=self._kind,
            options=self._asked.as_options()
            if self._asked
            else {OF_JOB: self._of_job}
            if self._of_job
            else {},
        )
