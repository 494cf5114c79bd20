"""`tagger backfill`: a job over photos already in the database."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.options import (
    Description,
    DryRun,
    Gps,
    Json,
    ModelName,
    PriorityName,
    TakenAfter,
    TakenBefore,
    Threshold,
    TopK,
    Under,
    Wait,
    WriteTo,
    chosen_date,
    chosen_priority,
    chosen_write,
)
from tagger.cli.output import printable, write_json
from tagger.cli.progress import ProgressLine
from tagger.cli.recording import end_of_recording, load, opened, send_messages

if TYPE_CHECKING:
    from tagger.backfill import Backfill
    from tagger.scan import ScanReport
    from tagger.writing.asked import WriteAsked

WhatPhotos = Annotated[
    str,
    typer.Argument(
        metavar="WHAT",
        help="untagged: no model has looked yet; outdated: another model looked last; failed: fails now; all.",
    ),
]
OfLandmark = Annotated[
    str | None, typer.Option("--landmark", help="Photos that have this landmark's tag now, by slug or name.")
]
ScanFirst = Annotated[
    list[Path] | None,
    typer.Option(
        "--scan",
        metavar="FOLDER",
        help="First find what is new, changed, moved or gone in this folder; may be given again.",
    ),
]


def backfill(
    what: WhatPhotos,
    under: Under = None,
    landmark: OfLandmark = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    scan: ScanFirst = None,
    top_k: TopK = None,
    threshold: Threshold = None,
    model: ModelName = None,
    write: WriteTo = "none",
    gps: Gps = False,
    description: Description = False,
    priority: PriorityName = "bulk",
    wait: Wait = False,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Look at photos that are in the database already, in one job for the workers, and print its number.

    All conditions given hold together. A photo keeps its old tags until the new ones are stored; what people
    confirmed or rejected stays.

    For example:

    tagger backfill untagged --scan ~/Pictures

    tagger backfill outdated --landmark eiffel-tower --dry-run
    """
    from tagger.backfill import count_photos, new_job, record_backfill
    from worker.broker import find_broker

    asked = chosen_write(write, gps=gps, description=description)
    wanted = chosen_backfill(what, under, landmark, taken_after, taken_before, scan, asked)
    chosen = chosen_priority(priority)
    settings = load(top_k=top_k, threshold=threshold, model=model)
    database = opened(settings)
    new = new_job(database, settings, wanted, chosen)
    if dry_run:
        _print_count(count_photos(database, wanted, new.model_id, settings.roots), wanted, json=json)
        return
    broker = find_broker(settings, start=wait)
    with ProgressLine("choosing photos") as line:
        job, report = record_backfill(
            database, wanted, new, settings.roots, lambda count: line.show("photos", count, None)
        )
    _say_scanned(wanted, report)
    send_messages(database, broker, job)
    end_of_recording(database, job, wait=wait, json=json)


def chosen_backfill(
    what: str,
    under: list[Path] | None,
    landmark: str | None,
    taken_after: str | None,
    taken_before: str | None,
    scan: list[Path] | None,
    write: WriteAsked | None,
) -> Backfill:
    """The backfill that the options mean together; folders are made absolute, as they are kept."""
    from tagger.backfill import Backfill, What

    if what not in set(What):
        raise typer.BadParameter(f"it is {', '.join(What)}", param_hint="WHAT")
    return Backfill(
        What(what),
        under=tuple(folder.absolute() for folder in under or ()),
        landmark=landmark,
        taken_after=chosen_date(taken_after, "--taken-after"),
        taken_before=chosen_date(taken_before, "--taken-before"),
        scan=tuple(folder.absolute() for folder in scan or ()),
        write=write,
    )


def in_words(wanted: Backfill) -> str:
    """The backfill as a person would say it."""
    parts = [str(wanted.what)]
    parts += [f"of {wanted.landmark}"] if wanted.landmark else []
    parts += [f"under {printable(str(folder))}" for folder in wanted.under]
    parts += [f"taken after {wanted.taken_after:%Y-%m-%d}"] if wanted.taken_after else []
    parts += [f"taken before {wanted.taken_before:%Y-%m-%d}"] if wanted.taken_before else []
    parts += [f"after a scan of {printable(str(folder))}" for folder in wanted.scan]
    if wanted.write:
        beside = [name for name in ("gps", "description") if getattr(wanted.write, name)]
        parts += [f"tags written to {' with '.join((wanted.write.to, *beside))}"]
    return ", ".join(parts)


def _print_count(count: int, wanted: Backfill, *, json: bool) -> None:
    if json:
        write_json({"job": None, "total": count, "what": wanted.what, "dry_run": True})
    else:
        typer.echo(count)
    scanned = "; a scan may find more" if wanted.scan else ""
    console.say(f"{count} photo{'' if count == 1 else 's'} would be looked at{scanned}; nothing was recorded")


def _say_scanned(wanted: Backfill, report: ScanReport) -> None:
    if wanted.scan:
        console.say(
            f"scanned: {report.found} photos there, {report.new} new, {report.changed} changed, {report.gone} gone"
        )
    for problem in report.problems:
        console.warn(f"{printable(str(problem.path))}: {problem.text}")
