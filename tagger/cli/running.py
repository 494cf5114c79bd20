"""`tagger worker`, `beat` and `up`: what keeps running."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from tagger.errors import TaggerError

if TYPE_CHECKING:
    import socket

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
    _set(device=device, batch_size=batch_size, model=model)
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
    once: Annotated[
        bool, typer.Option("--once", help="End when the photos are tagged; no page is served.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            "--port",
            min=0,
            max=65535,
            help="The page's port. Default: 8080, or the next one that is free.",
            show_default=False,
        ),
    ] = None,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    write: WriteTo = "none",
    gps: Gps = False,
    description: Description = False,
) -> None:
    """Run everything on this machine: Redis if none is configured, a worker, the clock of schedules, and the web page.

    What dies is started again. The page is for this machine alone.

    Example: tagger up ~/Pictures
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
    if once and port is not None:
        raise typer.BadParameter("with --once no page is served", param_hint="--port")
    _set(device=device, batch_size=batch_size)
    settings = load()
    page = None if once else _page_listener(port)
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
    _end_with_the_terminal()
    with Supervisor(settings, page) as supervisor:
        console.say(f"a worker is starting; its log is {supervisor.worker.log}")
        if page is not None:
            _say_where(page, port)
        code = console.DONE
        if job is not None:
            code = follow(database, job, on_poll=supervisor.look_after)
            print_summary(database, job)
        if not once:
            more = "on the page or " if page is not None else ""
            console.say(f"running until Ctrl-C; start more jobs {more}from another terminal")
        while not once:
            supervisor.look_after()
            time.sleep(POLL_S)
    raise typer.Exit(code)


def _set(**options: object) -> None:
    """As settings, which reach the processes started here too."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"TAGGER_{name.upper()}"] = str(value)


def _page_listener(port: int | None) -> socket.socket | None:
    """Where the page is served; None, and a word, if it cannot be. Whoever names a port wants that one or an error."""
    from tagger.cli.serving import HOST, PORT, check_extra, listening, listening_nearby

    if port is not None:
        check_extra()
        return listening(HOST, port)
    try:
        check_extra()
        return listening_nearby(HOST, PORT)
    except TaggerError as error:
        console.say(f"the page is not served. {error}")
        return None


def _say_where(page: socket.socket, asked: int | None) -> None:
    from tagger.cli.serving import PORT, address_of

    host, port = page.getsockname()
    is_moved = asked is None and port != PORT
    why = f", as another program listens at port {PORT}" if is_moved else ""
    console.say(f"the page is at {address_of(host, port)}{why}")


def _end_with_the_terminal() -> None:
    """A terminal that is closed ends all of it, unless who started it wanted otherwise (nohup)."""
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
