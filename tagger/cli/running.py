"""`tagger worker` and `tagger up`: what keeps running."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

import typer

from tagger.cli import console
from tagger.cli.options import BatchSize, DeviceName, ModelName

if TYPE_CHECKING:
    from tagger.settings import Settings

RESTART_PAUSES_S = (1.0, 2.0, 5.0, 10.0)
QUICK_DEATH_S = 20.0
"""A worker that dies sooner than this, several times in a row, will not come up by itself."""
STOP_GRACE_S = 60.0
REDIS_CHECK_S = 5.0
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


def up(
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Photos and folders to tag.", metavar="PATH")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="End when the photos are tagged.")] = False,
    device: DeviceName = None,
    batch_size: BatchSize = None,
) -> None:
    """Run everything on this machine: Redis if none is configured, and a worker that is restarted if it dies.

    Example: tagger up ~/Pictures --once
    """
    from tagger.cli.following import follow
    from tagger.cli.recording import load, opened, select, send
    from tagger.cli.summary import print_summary
    from tagger.tables import Priority
    from worker.broker import check_broker, find_broker

    if once and not paths:
        raise typer.BadParameter("it needs photos to tag: tagger up FOLDER --once", param_hint="--once")
    settings = load(device=device, batch_size=batch_size)
    selection = select(paths) if paths else None
    broker = find_broker(settings, start=True)
    check_broker(broker)
    database = opened(settings)
    console.say(
        f"Redis: {'embedded' if broker.embedded else broker.shown_url}; database: {database.shown_url}"
    )
    job = send(database, settings, selection, Priority.BULK, start_redis=True) if selection else None
    with _Supervisor(settings, device, batch_size) as supervisor:
        console.say(f"a worker is starting; its log is {supervisor.log}")
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


class _Supervisor:
    """Keeps one worker process running; ends it with grace."""

    def __init__(self, settings: Settings, device: str | None, batch_size: int | None) -> None:
        self.log = settings.data_folder / "worker.log"
        self._options = [*(("--device", device) if device else ())]
        self._options += [*(("--batch-size", str(batch_size)) if batch_size else ())]
        self._embedded, self._data_folder = settings.redis_url is None, settings.data_folder
        self._checked = time.monotonic()
        self._deaths = 0
        self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def look_after(self) -> None:
        """Start the worker again if it has died, and so our own Redis.

        Raises:
            WorkerFailed: it dies each time as soon as it is started.
        """
        from tagger.errors import WorkerFailed
        from worker.embedded import start_embedded

        if self._embedded and time.monotonic() - self._checked > REDIS_CHECK_S:
            self._checked = time.monotonic()
            start_embedded(self._data_folder)
        code = self._process.poll()
        if code is None:
            return
        lived = time.monotonic() - self._started
        self._deaths = self._deaths + 1 if lived < QUICK_DEATH_S else 1
        if self._deaths > len(RESTART_PAUSES_S):
            raise WorkerFailed(log=self.log, reason=_last_line(self.log))
        pause = RESTART_PAUSES_S[self._deaths - 1]
        console.warn(f"the worker ended with code {code}; starting it again in {pause:.0f} s")
        time.sleep(pause)
        self._start()

    def _start(self) -> None:
        self._started = time.monotonic()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as output:
            # -P: nothing is imported from the folder this was started in.
            # A session of its own: Ctrl-C reaches the supervisor alone, which then ends the worker with grace.
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagger", "-v", "worker", *self._options],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
