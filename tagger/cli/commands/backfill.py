"""`tagger backfill`: a job over photos in the database; and `tagger schedule …`: backfills at set times."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import console
from tagger.cli.console import (
    count_of,
    local_time,
    printable,
    write_json,
)
from tagger.cli.help import argument, option, with_option_groups
from tagger.cli.job_submission import (
    announce_local_job,
    finish_job,
    follow,
    print_left_out,
    runs_here,
    submit_job,
)
from tagger.cli.job_text import gone_text
from tagger.cli.options import (
    BackfillOptions,
    DryRun,
    Json,
    Local,
    ModelName,
    PriorityName,
    Threshold,
    TopK,
    Wait,
    WriteOptions,
)
from tagger.cli.program import (
    load_settings,
    open_for_reading,
    open_session,
    update_derived_facts,
)
from tagger.database import NoteCode, Priority, has_code
from tagger.jobs.enqueue import schedules
from tagger.jobs.enqueue.job_texts import START_BEAT, tick_text
from tagger.jobs.enqueue.submission import (
    Backfill,
    BackfillScope,
    MetadataOptions,
    count_photos,
    discard_empty_job,
)
from tagger.ledger.workers import find_last_tick
from tagger.photos.paths import absolute_path
from tagger.query.filter_words import conditions_text
from tagger.registry import resolve_models

BackfillScopeName = Annotated[
    str,
    argument(
        "WHAT",
        "untagged: never classified. outdated: not classified by each model in use. failed: failing now. "
        "all: all photos. taught: not yet compared with what was taught.",
    ),
]
ScanFolders = Annotated[
    list[Path] | None,
    option(
        "--scan",
        "FOLDER",
        "First scan this folder for new, changed, moved and deleted photos. Repeatable.",
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
    if what not in set(BackfillScope):
        raise typer.BadParameter(
            f"use one of {', '.join(BackfillScope)}", param_hint="WHAT"
        )
    if what == BackfillScope.TAUGHT and scan:
        raise typer.BadParameter(
            "photos that it finds have no tags; use untagged", param_hint="--scan"
        )
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

    A photo must match all options. It keeps its old tags until the new ones are stored, and its verdicts
    stay. The backfill `taught` reads no photo: it compares stored embeddings.

    For example:

    tagger backfill untagged --scan ~/Pictures

    tagger backfill outdated --country france --year 2019 --dry-run
    """
    selection = parse_backfill(what, backfill_options, scan, write_options.metadata())
    session = open_session(
        load_settings(top_k=top_k, threshold=threshold, model=model), settle_jobs=True
    )
    settings, database = session
    if dry_run:
        new = selection.new_job(database, settings)
        count = count_photos(database, selection, new, settings.roots)
        document = {
            "job": None,
            "total": count,
            "what": selection.scope,
            "dry_run": True,
        }
        scan_text = "; the scan may find more" if selection.scan else ""
        verb = "compared" if selection.scope == BackfillScope.TAUGHT else "classified"
        plan = f"{count_of(count, 'photo')} would be {verb}{scan_text}; nothing was recorded"
        console.write_result(document, plan, json=json)
        return
    is_local = runs_here(session, local=local)
    if is_local and selection.scope is BackfillScope.OUTDATED:
        from tagger.jobs.processing.model_cache import require_engine  # numpy

        for each in resolve_models(database, settings.model):
            require_engine(each)
    job, report = submit_job(
        session, selection, priority, "selecting photos", local=is_local
    )
    if selection.scan:
        console.info(
            f"scanned {count_of(report.found, 'photo')}: "
            f"{report.new} new, {report.changed} changed, {report.gone} gone"
        )
    print_left_out(report)
    if discard_empty_job(database, job):
        if is_local:  # the command may have been interrupted after its last photo
            update_derived_facts(session)
        note = (
            f"{gone_text(report.gone)}; nothing else to do"
            if report.gone
            else "nothing to do"
        )
        if json:
            numbers = {
                "total": 0,
                "gone": report.gone,
                "skipped_folders": report.skipped_folders,
            }
            write_json({"job": None, **numbers, "note": note})
        console.result(note)
        code = console.SOME_PHOTOS_FAILED if report.skipped_folders else console.DONE
        for other in report.in_other_jobs if wait and not is_local else ():
            code = follow(database, other) or code
        raise typer.Exit(code)
    if is_local and local is None:
        announce_local_job()
    finish_job(session, job, report.in_other_jobs, wait=wait, json=json)


def describe_backfill(selection: Backfill) -> str:
    """`untagged, in /photos, after a scan of /photos`."""
    parts = [str(selection.scope)]
    if conditions := conditions_text(selection.query):
        parts.append(printable(conditions))
    parts += [f"after a scan of {printable(str(folder))}" for folder in selection.scan]
    if selection.write:
        parts += [f"tags written to {selection.write.to}"]
    return ", ".join(parts)


schedule_app = typer.Typer(
    help="Run backfills at set times. They need `tagger beat` and a worker, or `tagger up` or `serve`.",
    no_args_is_help=True,
)

Name = Annotated[str, argument("NAME", "Name of the schedule.")]


@schedule_app.command("add")
@with_option_groups
def add(
    name: Name,
    what: BackfillScopeName,
    cron: Annotated[
        str,
        option(
            "--cron",
            "CRON",
            "Minute, hour, day, month and weekday. '0 3 * * *' is every day at 03:00.",
        ),
    ],
    zone: Annotated[
        str | None,
        option(
            "--zone",
            "ZONE",
            "Time zone of --cron, like Europe/Paris. (default: the zone of this machine)",
        ),
    ] = None,
    until: Annotated[
        str | None,
        option(
            "--until",
            "HH:MM",
            "Pause a run at this time of day, in the time zone of --cron. The next run continues it.",
            show_default=False,
        ),
    ] = None,
    *,
    backfill_options: BackfillOptions,
    scan: ScanFolders = None,
    write_options: WriteOptions,
    priority: PriorityName = Priority.BULK,
    json: Json = False,
) -> None:
    """Add a scheduled backfill. Each run uses the models that are in use at that time.

    For example:

    tagger schedule add nightly --cron "0 3 * * *" untagged --scan ~/Pictures

    tagger schedule add nightly --cron "0 22 * * *" --until 06:00 outdated
    """
    backfill = parse_backfill(what, backfill_options, scan, write_options.metadata())
    settings, database = open_session(settle_jobs=True)
    backfill.check(database, settings.roots)
    schedule = schedules.add_schedule(
        database, name, cron, backfill, priority, zone, until=until
    )
    if json:
        write_json(schedule)
    console.info(
        f"{name}: {describe_backfill(backfill)}. {schedules.explain_cron(cron, until)} ({schedule.zone}), "
        f"next {local_time(schedule.next_due, schedule.zone)}"
    )
    last_tick = find_last_tick(database)
    if last_tick is None or last_tick.at is None:
        console.info(
            f"no beat has run yet; schedules need beat and a worker: {START_BEAT}"
        )
    elif last_tick.is_late:
        console.info(
            f"no beat runs now ({tick_text(last_tick)}); schedules need beat and a worker: {START_BEAT}"
        )


@schedule_app.command("list")
def list_(json: Json = False) -> None:
    """List the schedules, and the time of the next run of each.

    Example: tagger schedule list
    """
    found = schedules.list_schedules(open_for_reading().database)
    rows = (
        [
            each.name,
            each.cron,
            each.zone,
            each.until or "",
            "paused" if each.paused else local_time(each.next_due, each.zone),
            describe_backfill(each.backfill),
        ]
        for each in found
    )
    console.write_list(
        found,
        ("Name", "Cron", "Zone", "Until", "Next", "What"),
        rows,
        'there is no schedule; add one with: tagger schedule add NAME --cron "0 3 * * *" untagged',
        json=json,
    )


@schedule_app.command("remove")
def remove(name: Name) -> None:
    """Remove a schedule. Its jobs stay.

    Example: tagger schedule remove nightly
    """
    schedules.remove_schedule(open_session(settle_jobs=True).database, name)
    console.info(f"{name} is removed")


@schedule_app.command("pause")
def pause(name: Name) -> None:
    """Pause a schedule. Runs that fall due while it is paused are skipped.

    Example: tagger schedule pause nightly
    """
    _set_paused(name, paused=True)


@schedule_app.command("resume")
def resume(name: Name) -> None:
    """Resume a paused schedule, from its next due time.

    Example: tagger schedule resume nightly
    """
    _set_paused(name, paused=False)


@schedule_app.command("run-now")
def run_now(name: Name, wait: Wait = False, json: Json = False) -> None:
    """Run a schedule now, in addition to its set times, and print the number of the job.

    Example: tagger schedule run-now nightly --wait
    """
    settings, database = session = open_session(settle_jobs=True)
    run = schedules.run_now(database, settings, name)
    if run.found_nothing:
        if json:
            write_json(run)
        console.info(f"{name}: {run.note}")
        return
    if has_code(run.note, run.note_message, NoteCode.RUN_UNFINISHED):
        console.warning(f"{name} did not run: {run.note}")
        raise typer.Exit(console.NOT_DONE)
    if run.job is None:  # folders could not be read
        console.warning(f"{name}: {run.note}")
        raise typer.Exit(console.SOME_PHOTOS_FAILED)
    finish_job(session, run.job, wait=wait, json=json)


@schedule_app.command("history")
def history(
    name: Name,
    limit: Annotated[
        int, option("--limit", "N", "Maximum number of runs.", min=1, max=2**31 - 1)
    ] = 20,
    json: Json = False,
) -> None:
    """List the latest runs of a schedule, newest first.

    Example: tagger schedule history nightly
    """
    runs = schedules.list_runs(open_for_reading().database, name, limit)
    rows = (
        [local_time(run.due_at), run.job or "-", run.state or "-", run.note or ""]
        for run in runs
    )
    console.write_list(
        runs,
        ("Due", "Job", "State", "Note"),
        rows,
        f"{name} has not run yet",
        json=json,
    )


def _set_paused(name: str, *, paused: bool) -> None:
    schedules.pause_schedule(
        open_session(settle_jobs=True).database, name, paused=paused
    )
    console.info(f"{name} is paused" if paused else f"{name} is resumed")
