"""`tagger schedule …`: backfills that run at set times."""

from __future__ import annotations

from typing import Annotated

import typer

from tagger.cli.commands.backfill import BackfillScopeName, ScanFolders, describe_backfill, parse_backfill
from tagger.cli.help import argument, option, with_option_groups
from tagger.cli.job_submission import finish_job
from tagger.cli.option_groups import BackfillOptions, WriteOptions
from tagger.cli.options import Json, PriorityName, Wait
from tagger.cli.output import console
from tagger.cli.output.formats import local_time, write_json
from tagger.cli.output.job_text import START_BEAT, tick_text
from tagger.cli.session import open_for_reading, open_session
from tagger.database.enums import NoteCode, Priority, Runner, has_code
from tagger.jobs.enqueue import schedule_runs
from tagger.jobs.enqueue.schedule_runs import list_runs
from tagger.jobs.enqueue.schedules import (
    add_schedule,
    explain_cron,
    list_schedules,
    pause_schedule,
    remove_schedule,
)
from tagger.ledger.workers import find_last_tick

schedule_app = typer.Typer(
    help="Run backfills at set times. They need `tagger beat` and a worker, or `tagger up`.",
    no_args_is_help=True,
)

Name = Annotated[str, argument("NAME", "Name of the schedule.")]
Cron = Annotated[
    str, option("--cron", "CRON", "Minute, hour, day, month and weekday. '0 3 * * *' is every day at 03:00.")
]
Zone = Annotated[
    str | None,
    option("--zone", "ZONE", "Time zone of --cron, like Europe/Paris. (default: the zone of this machine)"),
]
Until = Annotated[
    str | None,
    option(
        "--until",
        "HH:MM",
        "Pause a run at this time of day, in the time zone of --cron. The next run continues it.",
        show_default=False,
    ),
]


@schedule_app.command("add")
@with_option_groups
def add(
    name: Name,
    what: BackfillScopeName,
    cron: Cron,
    zone: Zone = None,
    until: Until = None,
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
    schedule = add_schedule(database, name, cron, backfill, priority, zone, until=until)
    if json:
        write_json(schedule)
    console.info(
        f"{name}: {describe_backfill(backfill)}. {explain_cron(cron, until)} ({schedule.zone}), "
        f"next {local_time(schedule.next_due, schedule.zone)}"
    )
    last_tick = find_last_tick(database)
    if last_tick is None or last_tick.at is None:
        console.info(f"no beat has run yet; schedules need beat and a worker: {START_BEAT}")
    elif last_tick.is_late:
        console.info(
            f"no beat runs now ({tick_text(last_tick)}); schedules need beat and a worker: {START_BEAT}"
        )


@schedule_app.command("list")
def list_(json: Json = False) -> None:
    """List the schedules, and the time of the next run of each.

    Example: tagger schedule list
    """
    schedules = list_schedules(open_for_reading(settle_jobs=True).database)
    rows = (
        [
            schedule.name,
            schedule.cron,
            schedule.zone,
            schedule.until or "",
            "paused" if schedule.paused else local_time(schedule.next_due, schedule.zone),
            describe_backfill(schedule.backfill),
        ]
        for schedule in schedules
    )
    console.write_list(
        schedules,
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
    remove_schedule(open_session(settle_jobs=True).database, name)
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
    run = schedule_runs.run_now(database, settings, name)
    if has_code(run.note, run.note_message, NoteCode.NOTHING_TO_DO):
        if json:
            write_json(run)
        console.info(f"{name}: {run.note}")
        return
    if run.job is None:
        console.warning(f"{name} did not run: {run.note}")
        raise typer.Exit(console.NOT_DONE)
    finish_job(session, run.job, Runner.WORKERS, wait=wait, json=json)


@schedule_app.command("history")
def history(
    name: Name,
    limit: Annotated[int, option("--limit", "N", "Maximum number of runs.", min=1)] = 20,
    json: Json = False,
) -> None:
    """List the latest runs of a schedule, newest first.

    Example: tagger schedule history nightly
    """
    runs = list_runs(open_for_reading(settle_jobs=True).database, name, limit)
    rows = ([local_time(run.due_at), run.job or "-", run.state or "-", run.note or ""] for run in runs)
    console.write_list(runs, ("Due", "Job", "State", "Note"), rows, f"{name} has not run yet", json=json)


def _set_paused(name: str, *, paused: bool) -> None:
    pause_schedule(open_session(settle_jobs=True).database, name, paused=paused)
    console.info(f"{name} is paused" if paused else f"{name} is resumed")
