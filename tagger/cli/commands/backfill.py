"""`tagger backfill`: a job over photos that are in the database already."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.derived_facts import update_derived_facts
from tagger.cli.help import argument, option, with_option_groups
from tagger.cli.job_submission import finish_job, print_left_out, select_runner, submit_job
from tagger.cli.option_groups import BackfillOptions, WriteOptions
from tagger.cli.options import (
    DryRun,
    Json,
    Local,
    ModelName,
    PriorityName,
    Threshold,
    TopK,
    Wait,
)
from tagger.cli.output import console
from tagger.cli.output.formats import printable, write_json
from tagger.cli.output.job_text import count_of
from tagger.cli.session import load_settings, open_session
from tagger.database.enums import NoteCode, Priority, Runner
from tagger.photos.paths import absolute_path
from tagger.query.filter_words import conditions_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tagger.jobs.enqueue.backfill import Backfill
    from tagger.jobs.enqueue.job_options import MetadataOptions

BackfillScopeName = Annotated[
    str,
    argument(
        "WHAT",
        "untagged: never classified. outdated: classified, but not by each model in use. failed: failing now. all: all photos. taught: not yet compared with what was taught.",
    ),
]
ScanFolders = Annotated[
    list[Path] | None,
    option(
        "--scan", "FOLDER", "First scan this folder for new, changed, moved and deleted photos. Repeatable."
    ),
]


def parse_backfill(
    what: str,
    backfill_options: BackfillOptions,
    scan: Sequence[Path] | None,
    write: MetadataOptions | None,
) -> Backfill:
    """Return the backfill that the options describe, with absolute folders.

    Raises:
        typer.BadParameter: an option is invalid, or contradicts another one.
    """
    from tagger.jobs.enqueue.backfill import Backfill, BackfillScope

    if what not in set(BackfillScope):
        raise typer.BadParameter(f"use one of {', '.join(BackfillScope)}", param_hint="WHAT")
    if what == BackfillScope.TAUGHT and scan:
        raise typer.BadParameter("photos that it finds have no tags; use untagged", param_hint="--scan")
    folders = tuple(map(absolute_path, backfill_options.under or ()))
    return Backfill(
        BackfillScope(what),
        backfill_options.parse(under=folders),
        scan=tuple(map(absolute_path, scan or ())),
        write=write,
    )


@with_option_groups
def backfill(
    what: BackfillScopeName,
    backfill_options: BackfillOptions,
    scan: ScanFolders = None,
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    *,
    write_options: WriteOptions,
    priority: PriorityName = Priority.BULK,
    local: Local = None,
    wait: Wait = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Classify photos in the database again, in one job.

    A photo must match all options. It keeps its old tags until the new ones are stored, and its verdicts stay. The
    backfill `taught` reads no photo: it compares stored embeddings.

    Without a worker, the job runs in this process; otherwise, its number is printed.

    For example:

    tagger backfill untagged --scan ~/Pictures

    tagger backfill outdated --country france --year 2019 --dry-run
    """
    from tagger.jobs.enqueue.backfill import count_photos, discard_empty_job

    selection = parse_backfill(what, backfill_options, scan, write_options.metadata())
    session = open_session(load_settings(top_k=top_k, threshold=threshold, model=model), settle_jobs=True)
    settings, database = session
    if dry_run:
        new = selection.new_job(database, settings)
        _print_plan(count_photos(database, selection, new, settings.roots), selection, json=json)
        return
    runner = select_runner(session, local=local)
    job, report = submit_job(session, selection, runner, priority, "selecting photos")
    if selection.scan:
        console.info(
            f"scanned {count_of(report.found, 'photo')}: {report.new} new, {report.changed} changed, {report.gone} gone"
        )
    print_left_out(report)
    if discard_empty_job(database, job):
        if runner is Runner.LOCAL:  # the command may have been interrupted after its last photo
            update_derived_facts(session)
        _print_nothing(report.skipped_folders, json=json)
        raise typer.Exit(console.SOME_PHOTOS_FAILED if report.skipped_folders else console.DONE)
    finish_job(session, job, runner, wait=wait, json=json)


def _print_nothing(skipped_folders: int, *, json: bool) -> None:
    note = NoteCode.NOTHING_TO_DO.text
    if json:
        write_json({"job": None, "total": 0, "skipped_folders": skipped_folders, "note": note})
    console.result(note)


def describe_backfill(selection: Backfill) -> str:
    """`untagged, in /photos, after a scan of /photos`."""
    parts = [str(selection.scope)]
    parts += filter(None, [printable(conditions_text(selection.query))])
    parts += [f"after a scan of {printable(str(folder))}" for folder in selection.scan]
    if selection.write:
        parts += [f"tags written to {selection.write.to}"]
    return ", ".join(parts)


def _print_plan(count: int, selection: Backfill, *, json: bool) -> None:
    if json:
        write_json({"job": None, "total": count, "what": selection.scope, "dry_run": True})
    else:
        typer.echo(count)
    scan = "; the scan may find more" if selection.scan else ""
    verb = "compared" if selection.scope == "taught" else "classified"
    console.info(f"{count_of(count, 'photo')} would be {verb}{scan}; nothing was recorded")
