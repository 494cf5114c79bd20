"""`tagger schedule …`: backfills by the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.backfilling import OfLandmark, ScanFirst, WhatPhotos, chosen_backfill, in_words
from tagger.cli.options import (
    Description,
    Gps,
    Json,
    PriorityName,
    TakenAfter,
    TakenBefore,
    Under,
    WriteTo,
    chosen_priority,
    chosen_write,
)
from tagger.cli.output import write_json, write_table
from tagger.cli.recording import load, opened, send_messages

if TYPE_CHECKING:
    from datetime import datetime

schedule_app = typer.Typer(
    help="Backfills by the clock. They run while `tagger beat` (or `tagger up`) and a worker do.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What the schedule is called.")]


@schedule_app.command("add")
def add(
    name: Name,
    what: WhatPhotos,
    cron: Annotated[
        str, typer.Option("--cron", help="Minute, hour, day, month, weekday: '0 3 * * *' is daily at three.")
    ],
    zone: Annotated[
        str | None,
        typer.Option("--zone", help="Time zone that is meant, like Europe/Paris. [default: this machine's]"),
    ] = None,
    under: Under = None,
    landmark: OfLandmark = None,
    taken_after: TakenAfter = None,
    taken_before: TakenBefore = None,
    scan: ScanFirst = None,
    write: WriteTo = "none",
    gps: Gps = False,
    description: Description = False,
    priority: PriorityName = "bulk",
    json: Json = False,
) -> None:
    """Keep a backfill that runs by the clock, with the model in use at that time.

    Example: tagger schedule add nightly --cron "0 3 * * *" untagged --scan ~/Pictures
    """
    from tagger.backfill import check
    from tagger.job_documents import schedule_document
    from tagger.schedules import add_schedule, explain

    asked = chosen_write(write, gps=gps, description=description)
    wanted = chosen_backfill(what, under, landmark, taken_after, taken_before, scan, asked)
    settings = load()
    database = opened(settings)
    check(database, wanted, settings.roots)
    made = add_schedule(database, name, cron, wanted, chosen_priority(priority), zone)
    if json:
        write_json(schedule_document(made))
    console.say(f"{name}: {in_words(wanted)}. {explain(cron)} ({made.zone}), next {_local(made.next_due)}")
    console.say("it runs while a clock and a worker do: tagger beat, tagger worker (or both with: tagger up)")


@schedule_app.command("list")
def list_all(json: Json = False) -> None:
    """List the schedules, and when each is due.

    Example: tagger schedule list
    """
    from tagger.job_documents import schedule_document
    from tagger.schedules import list_schedules

    known = list_schedules(opened(load()))
    if json:
        write_json([schedule_document(each) for each in known])
        return
    rows = (
        [
            each.name,
            each.cron,
            each.zone,
            "paused" if each.paused else _local(each.next_due),
            in_words(each.backfill),
        ]
        for each in known
    )
    write_table(("Name", "Cron", "Zone", "Next", "What"), rows, flexible=4)
    if not known:
        console.say(
            'there is no schedule; make one with: tagger schedule add NAME --cron "0 3 * * *" untagged'
        )


@schedule_app.command("remove")
def remove(name: Name) -> None:
    """Remove a schedule; jobs it has made stay.

    Example: tagger schedule remove nightly
    """
    from tagger.schedules import remove_schedule

    remove_schedule(opened(load()), name)
    console.say(f"{name} is removed")


@schedule_app.command("pause")
def pause(name: Name) -> None:
    """Let a schedule rest; runs that fall due meanwhile are not made up for.

    Example: tagger schedule pause nightly
    """
    _set_paused(name, paused=True)


@schedule_app.command("resume")
def resume(name: Name) -> None:
    """Let a paused schedule run again, from its next due time on.

    Example: tagger schedule resume nightly
    """
    _set_paused(name, paused=False)


@schedule_app.command("run-now")
def run_now(name: Name, json: Json = False) -> None:
    """Run a schedule now, beside its due times, and print the job's number.

    Example: tagger schedule run-now nightly
    """
    from tagger import schedules
    from tagger.job_documents import run_document
    from worker.broker import find_broker

    settings = load()
    database = opened(settings)
    run = schedules.run_now(database, settings, name)
    if run.job is None:
        console.warn(f"{name} was not run: {run.note}")
        raise typer.Exit(console.NOT_DONE)
    send_messages(database, find_broker(settings, start=False), run.job)
    write_json(run_document(run)) if json else typer.echo(run.job)


@schedule_app.command("history")
def history(
    name: Name,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many runs.")] = 20,
    json: Json = False,
) -> None:
    """The latest runs of a schedule, newest first.

    Example: tagger schedule history nightly
    """
    from tagger.job_documents import run_document
    from tagger.schedules import list_runs

    runs = list_runs(opened(load()), name, limit)
    if json:
        write_json([run_document(run) for run in runs])
        return
    rows = ([_local(run.due_at), run.job or "-", run.state or "-", run.note or ""] for run in runs)
    write_table(("Due", "Job", "State", "Note"), rows, flexible=3)
    if not runs:
        console.say(f"{name} has not run yet")


def _set_paused(name: str, *, paused: bool) -> None:
    from tagger.schedules import pause_schedule

    pause_schedule(opened(load()), name, paused=paused)
    console.say(f"{name} is paused" if paused else f"{name} runs again")


def _local(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M}"
