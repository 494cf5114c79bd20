"""`tagger worker`, `beat` and `up`: what keeps running."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tagger.cli import console
from tagger.cli.options import (
    BatchSize,
    Description,
    DeviceName,
    Gps,
    ModelName,
    WriteTo,
    chosen_write,
)

POLL_S = 0.5


def worker(
    queues: Annotated[
        str, typer.Option("--queues", help="Which jobs to take: interactive, bulk, or both.")
    ] = "interactive,bulk",
    device: DeviceName = None,
    batch_size: BatchSize = None,
    model: ModelName = None,
) -> None:
    """Take jobs from Redis and tag their photos, until stopped with Ctrl-C or SIGTERM.

    What is in hand is stored first. Without TAGGER_REDIS_URL an embedded Redis is started.
    The same as: celery -A worker.app worker
    """
    from tagger.settings import load_settings
    from tagger.tables import Priority
    from worker.broker import check_broker, find_broker
    from worker.celery_settings import QUEUES

    wanted = [part.strip() for part in queues.split(",")]
    if not set(wanted) <= set(Priority):
        raise typer.BadParameter("they are interactive and bulk", param_hint="--queues")
    for name, value in (("DEVICE", device), ("BATCH_SIZE", batch_size), ("MODEL", model)):
        if value is not None:
            os.environ[f"TAGGER_{name}"] = str(value)
    check_broker(find_broker(load_settings(), start=True))
    names = [QUEUES[priority] for priority in Priority if priority in wanted]
    from worker.program import (
        run_worker,  # reads the settings when it is imported, so not before they are set
    )

    run_worker(names, ("warning", "info")[console.loudness.level > 0])


def beat() -> None:
    """Be the clock of schedules, until stopped with Ctrl-C or SIGTERM.

    It only ticks, and workers run what is due: several clocks do no harm, and one that was away is made up for.
    The same as: celery -A worker.app beat
    """
    from tagger.settings import load_settings
    from worker.broker import check_broker, find_broker

    check_broker(find_broker(load_settings(), start=True))
    from worker.beat import run_beat  # reads the settings when it is imported

    sys.stderr.write("the clock is running; Ctrl-C ends it\n")
    run_beat(("warning", "info")[console.loudness.level > 0])


def up(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Photos and folders to tag.", metavar="PATH")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the photos are tagged.")] = False,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    write: WriteTo = "none",
    gps: Gps = False,
    description: Description = False,
) -> None:
    """Run everything on this machine: Redis if none is configured, a worker and the clock of schedules.

    What dies is started again.

    Example: tagger up ~/Pictures --once
    """
    from tagger.cli.following import follow
    from tagger.cli.recording import load, opened, select, send
    from tagger.cli.summary import print_summary
    from tagger.cli.supervising import Supervisor
    from tagger.tables import Priority
    from worker.broker import check_broker, find_broker

    if once and not paths:
        raise typer.BadParameter("it needs photos to tag: tagger up FOLDER --once", param_hint="--once")
    asked = chosen_write(write, gps=gps, description=description)
    if asked and not paths:
        raise typer.BadParameter(
            "it needs photos to tag: tagger up FOLDER --write sidecar", param_hint="--write"
        )
    settings = load(device=device, batch_size=batch_size)
    selection = select(paths) if paths else None
    broker = find_broker(settings, start=True)
    check_broker(broker)
    database = opened(settings)
    console.say(
        f"Redis: {'embedded' if broker.embedded else broker.shown_url}; database: {database.shown_url}"
    )
    job = (
        send(database, settings, selection, Priority.BULK, start_redis=True, write=asked)
        if selection
        else None
    )
    options = [*(("--device", device) if device else ())]
    options += [*(("--batch-size", str(batch_size)) if batch_size else ())]
    with Supervisor(settings, options) as supervisor:
        console.say(f"a worker is starting; its log is {supervisor.worker.log}")
        code = console.DONE
        if job is not None:
            code = follow(database, job, on_poll=supervisor.look_after)
            print_summary(database, job)
        if not once:
            console.say("running until Ctrl-C; enqueue more photos from another terminal")
        while not once:
            supervisor.look_after()
            time.sleep(POLL_S)
    raise typer.Exit(code)
