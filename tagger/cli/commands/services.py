"""`tagger worker`, `beat` and `up`: the services that process jobs."""

from __future__ import annotations

import logging
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.help import ADVANCED, argument, flag, option, with_option_groups
from tagger.cli.options import BatchSize, DeviceName, ModelName, NoWait, WriteOptions
from tagger.cli.output import console
from tagger.cli.session import Session, load_settings, open_session, prepare_paths
from tagger.database.enums import Priority, Runner
from tagger.errors import ProcessFailed, TaggerError
from tagger.model.devices import import_ahead, process_count
from tagger.processes.interruption import announce_stop, handle_own_signals, leave_messages_to_parent

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from tagger.cli.pools import Services
    from tagger.jobs.enqueue.scan import Selection
    from tagger.jobs.enqueue.submission import MetadataOptions

POLL_S = 0.5

PathsToTag = Annotated[list[Path] | None, argument("PATH", "Photos and folders to tag.")]
Once = Annotated[bool, flag("--once", "Exit when the photos are tagged. No web page is served.")]
Watch = Annotated[
    bool, flag("--watch", "Then tag new and changed photos in the folders and buckets as they come.")
]
Port = Annotated[
    int | None,
    option(
        "--port",
        "N",
        "Port of the web page. (default: 8080, or the next free port)",
        min=0,
        max=65535,
        show_default=False,
    ),
]


def worker(
    queues: Annotated[
        str, option("--queues", "QUEUES", "Queues to consume: interactive, bulk, or both.", ADVANCED)
    ] = "interactive,bulk",
    device: DeviceName = None,
    batch_size: BatchSize = None,
    model: ModelName = None,
    beat: Annotated[
        bool, flag("--beat", "Start schedules too, like `tagger beat`. Several beats are safe.")
    ] = False,
    no_wait: NoWait = False,
    job: Annotated[int | None, typer.Option("--job", metavar="JOB", hidden=True)] = None,
    process: Annotated[int | None, typer.Option("--process", metavar="N", hidden=True, min=1, max=64)] = None,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Run a Celery worker that processes jobs, until Ctrl-C or SIGTERM.

    Without TAGGER_REDIS_URL, it starts an embedded Redis. On machines with many cores, it runs several
    processes.

    Example: tagger worker --beat
    """
    priorities = [part.strip() for part in queues.split(",")]
    if not set(priorities) <= set(Priority):
        raise typer.BadParameter("use interactive, bulk, or both", param_hint="--queues")
    _export_settings(device=device, batch_size=batch_size, model=model)
    level = "info" if console.verbosity > 0 else "warning"
    if process is not None:
        leave_messages_to_parent()
        # The parent has warned of unknown variables.
        logging.getLogger("tagger.settings").setLevel(logging.ERROR)
    settings = load_settings()
    if job is not None:
        from tagger.cli.local_jobs import process_job

        process_job(settings, job, process or 1)
        return
    count = 1 if background or process else settings.processes or process_count(settings.threads)
    if count > 1:
        from tagger.cli.pools import run_worker_processes
        from worker.logs import set_up_logging

        set_up_logging(settings.log_format, level.upper())
        arguments = ["--queues", queues, *(["--no-wait"] if no_wait else []), *console.verbosity * ["-v"]]
        raise typer.Exit(run_worker_processes(settings, count, arguments, beat=beat))
    import_ahead(settings.device, settings.backend)
    from worker.worker_program import run_worker  # reads the settings at import, so after they are exported

    run_worker(
        [Priority(name) for name in priorities],
        level,
        wait=not no_wait,
        beat=beat,
        process=process,
        is_background=background,
    )


def beat(no_wait: NoWait = False) -> None:
    """Run Celery beat, which starts scheduled backfills, until Ctrl-C or SIGTERM.

    A worker runs the backfill. Several beats are safe. A schedule that was due while beat was down runs once
    when beat is back.
    """
    handle_own_signals()
    from worker.app import run_beat  # reads the settings at import

    run_beat("info" if console.verbosity > 0 else "warning", wait=not no_wait)


@with_option_groups
def up(
    paths: PathsToTag = None,
    once: Once = False,
    watch: Watch = False,
    port: Port = None,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    *,
    write_options: WriteOptions,
) -> None:
    """Run all services on this machine: Redis unless one is configured, a worker, beat, and the web page.

    Crashed processes are restarted. While Redis is away, the services wait. Only this machine has the page.

    Example: tagger up ~/Pictures
    """
    from worker.broker import find_broker

    metadata = write_options.metadata()
    _check_options(paths, port, once=once, watch=watch, writes=metadata is not None)
    _export_settings(device=device, batch_size=batch_size)
    settings = load_settings()
    from tagger.jobs.enqueue.scan import select_paths

    prepare_paths(paths or (), settings)
    selection = select_paths(paths, (), ()) if paths else None
    if watch and selection and selection.files:
        text = "a single photo cannot be watched; name its folder or prefix"
        raise typer.BadParameter(text, param_hint="--watch")
    page = None if once else _page_listener(port)
    session = open_session(settings, settle_jobs=True)
    broker = find_broker(settings, session.database.ledger_id, start=True)
    redis = "embedded, ends when unused for half an hour" if broker.embedded else broker.redacted_url
    console.info(f"Redis: {redis}; database: {session.database.redacted_url}")
    folders = map(str, selection.folders if selection else ())
    watched = ["--enqueue", *write_options.arguments(), "--", *folders] if watch else None
    raise typer.Exit(_supervise(session, selection, metadata, page, watched, once=once))


def _check_options(
    paths: list[Path] | None, port: int | None, *, once: bool, watch: bool, writes: bool
) -> None:
    for name, is_set in {"--once": once, "--watch": watch, "--write": writes}.items():
        if is_set and not paths:
            raise typer.BadParameter("it needs photos to tag: tagger up FOLDER", param_hint=name)
    if once and (watch or port is not None):
        raise typer.BadParameter("it cannot be combined with --watch or --port", param_hint="--once")


def _supervise(
    session: Session,
    selection: Selection | None,
    metadata: MetadataOptions | None,
    page: socket.socket | None,
    watched: Sequence[str] | None,
    *,
    once: bool,
) -> int:
    """Run the services, and follow the job over `selection`; returns the exit code.

    `watched`: the arguments of `tagger watch`, which starts when the job is finished; None: it does not run.
    """
    from tagger.cli.commands.serve import address_of
    from tagger.cli.job_submission import send_job, submit_tagging
    from tagger.cli.pools import Services
    from tagger.jobs.enqueue.submission import Tagging

    job, other_jobs = None, list[int]()
    if selection:
        request = Tagging(selection, write=metadata)
        job, report = submit_tagging(session, request, Runner.WORKERS, Priority.BULK)
        other_jobs = list(report.in_other_jobs)
        send_job(session, job, start_redis=True)
    handle_own_signals()
    # Stop when the terminal is closed, unless the command was started with nohup.
    if signal.getsignal(signal.SIGHUP) == signal.SIG_DFL:
        signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
    code = console.DONE
    with Services(session, page) as services:
        console.info(f"starting a worker; its log is {services.worker.log}")
        if page is not None:
            console.info(f"the web page is at {address_of(*page.getsockname()[:2])}")
        if job is not None:
            code = _follow_job(session, job, services)
            for other in other_jobs:
                code = _follow_job(session, other, services) or code
        if watched is not None:
            watch_log = services.start("watch", "watch", *watched).log
            console.info(f"watching for new photos; the log is {watch_log}")
        if not once:
            where = "on the web page or " if page is not None else ""
            announce_stop("unfinished jobs continue with: tagger up")
            console.info(f"running until Ctrl-C; you can start more jobs {where}from another terminal")
        while not once:
            services.check()
            time.sleep(POLL_S)
    return code


def _follow_job(session: Session, job: int, services: Services) -> int:
    """Show the progress of the job until it ends; returns the exit code."""
    from tagger.cli.job_submission import follow
    from tagger.cli.output.job_text import print_next_steps

    try:
        code = follow(session.database, job, on_poll=services.check)
    except ProcessFailed:
        console.warning(
            f"job {job} is not finished. When the cause below is repaired, continue it with: tagger up"
        )
        raise
    print_next_steps(session.database, job)
    return code


def _export_settings(**options: object) -> None:
    """Set options as environment variables, so that child processes have them too."""
    for name, value in options.items():
        if value is not None:
            os.environ[f"TAGGER_{name.upper()}"] = str(value)


def _page_listener(port: int | None) -> socket.socket | None:
    """The socket of the web page; None, with a message: it cannot be served. A given port must be free."""
    from tagger.cli.commands.serve import HOST, PORT, check_extra, listen, listen_nearby

    if port is not None:
        check_extra()
        return listen(HOST, port)
    try:
        check_extra()
        return listen_nearby(HOST, PORT)
    except TaggerError as error:
        console.info(f"the web page is not served. {error}")
        return None
