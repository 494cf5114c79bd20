"""`tagger worker`, `beat`, `serve` and `up`: what runs until it is stopped."""

from __future__ import annotations

import errno
import logging
import os
import resource
import secrets
import signal
import socket
import sys
import time
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.cli.help import ADVANCED, argument, flag, option, with_option_groups
from tagger.cli.options import BatchSize, DeviceName, ModelName, NoWait, WriteOptions
from tagger.cli.program import Session, load_settings, open_session, prepare_paths
from tagger.database import Priority
from tagger.errors import AddressRefused, ProcessFailed, TaggerError, Unavailable
from tagger.extensions import extra_missing, is_installed
from tagger.model.devices import import_ahead, process_count
from tagger.processes import (
    handle_own_signals,
    resume_collection,
    set_message,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    import uvicorn
    from fastapi import FastAPI

    from tagger.cli.pools import Services
    from tagger.jobs.enqueue.selection import Selection
    from tagger.jobs.enqueue.submission import MetadataOptions
    from tagger.settings import Settings
    from tagger.web.access import AccessPolicy

POLL_S = 0.5


def worker(
    queues: Annotated[
        str,
        option(
            "--queues",
            "QUEUES",
            "Queues to consume: interactive, bulk, or both.",
            ADVANCED,
        ),
    ] = "interactive,bulk",
    device: DeviceName = None,
    batch_size: BatchSize = None,
    model: ModelName = None,
    beat: Annotated[
        bool,
        flag(
            "--beat", "Start schedules too, like `tagger beat`. Several beats are safe."
        ),
    ] = False,
    no_wait: NoWait = False,
    job: Annotated[
        int | None,
        typer.Option("--job", metavar="JOB", hidden=True, min=1, max=2**63 - 1),
    ] = None,
    process: Annotated[
        int | None, typer.Option("--process", metavar="N", hidden=True, min=1, max=64)
    ] = None,
    background: Annotated[bool, typer.Option("--background", hidden=True)] = False,
) -> None:
    """Run a Celery worker that processes jobs, until Ctrl-C or SIGTERM.

    Without TAGGER_REDIS_URL, it starts an embedded Redis. On machines with many cores, it runs several
    processes.

    Example: tagger worker --beat
    """
    priorities = [part.strip() for part in queues.split(",")]
    if not set(priorities) <= set(Priority):
        raise typer.BadParameter(
            "use interactive, bulk, or both", param_hint="--queues"
        )
    _export_settings(device=device, batch_size=batch_size, model=model)
    level = "info" if console.verbosity > 0 else "warning"
    if process is not None:
        set_message("")  # its parent prints one
        # The parent has warned of unknown variables.
        logging.getLogger("tagger.settings").setLevel(logging.ERROR)
    settings = load_settings()
    if job is not None:
        from tagger.cli.pools import process_job

        process_job(settings, job, process or 1)
        return
    count = (
        1
        if background or process
        else settings.processes or process_count(settings.threads)
    )
    if count > 1:
        from tagger.cli.pools import run_worker_processes
        from worker.logs import set_up_logging

        set_up_logging(settings.log_format, level.upper())
        arguments = [
            "--queues",
            queues,
            *(["--no-wait"] if no_wait else []),
            *console.verbosity * ["-v"],
        ]
        raise typer.Exit(run_worker_processes(settings, count, arguments, beat=beat))
    import_ahead(settings.device, settings.backend)
    from worker.app import run_worker

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
    from worker.app import run_beat

    run_beat("info" if console.verbosity > 0 else "warning", wait=not no_wait)


@with_option_groups
def up(
    paths: Annotated[
        list[Path] | None, argument("PATH", "Photos and folders to tag.")
    ] = None,
    once: Annotated[
        bool, flag("--once", "Exit when the photos are tagged. No web page is served.")
    ] = False,
    watch: Annotated[
        bool,
        flag(
            "--watch",
            "Then tag new and changed photos in the folders and buckets as they come.",
        ),
    ] = False,
    port: Annotated[
        int | None,
        option(
            "--port",
            "N",
            "Port of the web page. (default: 8080, or the next free port)",
            min=0,
            max=65535,
            show_default=False,
        ),
    ] = None,
    device: DeviceName = None,
    batch_size: BatchSize = None,
    *,
    write_options: WriteOptions,
) -> None:
    """Run all services on this machine: Redis unless one is configured, a worker, beat, and the web page.

    Crashed processes are restarted. While Redis is away, the services wait. Only this machine has the page.

    Example: tagger up ~/Pictures
    """
    from tagger.jobs.enqueue.selection import select_paths
    from worker.broker import find_broker

    metadata = write_options.metadata()
    _check_options(paths, port, once=once, watch=watch, writes=metadata is not None)
    _export_settings(device=device, batch_size=batch_size)
    settings = load_settings()
    prepare_paths(paths or (), settings)
    selection = select_paths(paths, (), ()) if paths else None
    if watch and selection and selection.files:
        text = "a single photo cannot be watched; name its folder or prefix"
        raise typer.BadParameter(text, param_hint="--watch")
    page = None if once else _page_listener(port)
    session = open_session(settings, settle_jobs=True)
    broker = find_broker(settings, session.database.ledger_id, start=True)
    redis = (
        "embedded, ends when unused for half an hour"
        if broker.embedded
        else broker.redacted_url
    )
    console.info(f"Redis: {redis}; database: {session.database.redacted_url}")
    folders = map(str, selection.folders if selection else ())
    watched = (
        ["--enqueue", *write_options.arguments(), "--", *folders] if watch else None
    )
    raise typer.Exit(_supervise(session, selection, metadata, page, watched, once=once))


def _check_options(
    paths: list[Path] | None, port: int | None, *, once: bool, watch: bool, writes: bool
) -> None:
    for name, is_set in {"--once": once, "--watch": watch, "--write": writes}.items():
        if is_set and not paths:
            raise typer.BadParameter(
                "it needs photos to tag: tagger up FOLDER", param_hint=name
            )
    if once and (watch or port is not None):
        raise typer.BadParameter(
            "it cannot be combined with --watch or --port", param_hint="--once"
        )


def _supervise(
    session: Session,
    selection: Selection | None,
    metadata: MetadataOptions | None,
    page: socket.socket | None,
    watched: Sequence[str] | None,
    *,
    once: bool,
) -> int:
    # Run the services, and follow the job over `selection`, then others that have photos of it; returns the
    # exit code.
    #
    # `watched`: the arguments of `tagger watch`, which starts when the jobs are finished; None: it does
    # not run.
    from tagger.cli.job_submission import send_job, submit_tagging
    from tagger.cli.pools import Services
    from tagger.jobs.enqueue.submission import Tagging

    jobs = list[int]()
    if selection:
        request = Tagging(selection, write=metadata)
        job, report = submit_tagging(session, request, Priority.BULK)
        jobs = [job, *report.in_other_jobs]
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
        for job in jobs:
            code = _follow_job(session, job, services) or code
        if watched is not None:
            watch_log = services.start("watch", "watch", *watched).log
            console.info(f"watching for new photos; the log is {watch_log}")
        if not once:
            where = "on the web page or " if page is not None else ""
            set_message("stopped; unfinished jobs continue with: tagger up")
            console.info(
                f"running until Ctrl-C; you can start more jobs {where}from another terminal"
            )
        while not once:
            services.check()
            time.sleep(POLL_S)
    return code


def _follow_job(session: Session, job: int, services: Services) -> int:
    # Show the progress of the job until it ends; returns the exit code.
    from tagger.cli.job_submission import follow
    from tagger.cli.job_text import print_next_steps

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
    # Set options as environment variables, so that child processes have them too.
    for name, value in options.items():
        if value is not None:
            os.environ[f"TAGGER_{name.upper()}"] = str(value)


def _page_listener(port: int | None) -> socket.socket | None:
    # The socket of the web page; None, with a message: it cannot be served. A given port must be free.
    if port is not None:
        check_extra()
        return listen(HOST, port)
    try:
        check_extra()
        for candidate in range(PORT, PORT + PORTS_TRIED):
            with suppress(Unavailable):
                return listen(HOST, candidate)
        raise _in_use(HOST, PORT)
    except TaggerError as error:
        console.info(f"the web page is not served. {error}")
        return None


HOST = "127.0.0.1"
PORT = 8080
PORTS_TRIED = 20
# Time for open requests to finish after a signal.
SHUTDOWN_GRACE_S = 3
# Connections waiting to be accepted.
BACKLOG = 128
MIN_OPEN_FILES = 4096
ALL_ADDRESSES = {"0.0.0.0", "::"}  # noqa: S104 - compared, not bound


def serve(
    host: Annotated[
        str,
        option(
            "--host", "HOST", "Address to listen at. 0.0.0.0 listens at all addresses."
        ),
    ] = HOST,
    port: Annotated[
        int,
        option(
            "--port", "N", "Port to listen at. 0 selects a free port.", min=0, max=65535
        ),
    ] = PORT,
    fd: Annotated[
        int | None,
        typer.Option(
            "--fd",
            metavar="N",
            rich_help_panel=ADVANCED,
            hidden=True,
            min=0,
            max=2**31 - 1,
        ),
    ] = None,
) -> None:
    """Serve the web page and the JSON API, until Ctrl-C or SIGTERM.

    By default, only this machine can connect. From other machines, people sign in with TAGGER_WEB_TOKEN,
    which the command generates and prints if it is not set, or with TAGGER_WEB_VIEW_TOKEN, to look only.

    Jobs of the page and schedules are processed by a worker in the background, which runs while there are any
    and no other worker runs. On PostgreSQL with TAGGER_REDIS_URL, start `tagger worker --beat`.

    Example: tagger serve
    """
    check_extra()
    from tagger.cli.pools import PageWorker
    from tagger.web.app import create_app
    from worker.logs import set_up_logging

    settings = load_settings()
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    set_up_logging(settings.log_format, levels[max(console.verbosity, 0)])
    with (
        closing(open_session(settings, settle_jobs=True).database) as database,
        closing(_listener(host, port, fd)) as listener,
    ):
        policy = access_policy(listener, settings)
        # Only `tagger up` has --fd. With Redis and PostgreSQL, workers may run on other machines.
        starts_worker = fd is None and (
            database.is_sqlite or settings.redis_url is None
        )
        app = create_app(
            settings, database, policy, has_own_worker=starts_worker or fd is not None
        )
        state = app.state.app_state
        _print_address(policy, settings, has_own_worker=state.has_own_worker)
        handle_own_signals()
        resume_collection()
        worker = (
            PageWorker(database, settings, state.report_worker)
            if starts_worker
            else nullcontext()
        )
        with suppress(KeyboardInterrupt), worker:
            server_for(app).run(sockets=[listener])
    console.info("the web page has stopped")


def check_extra() -> None:
    """Check that the packages of the web page are installed.

    Raises:
        ExtraMissing: one of them is not.
    """
    if not all(map(is_installed, ("fastapi", "jinja2", "python_multipart", "uvicorn"))):
        raise extra_missing("The web page", "web")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Raises:
        Unavailable: another program listens there.
        AddressRefused: this machine does not have the address, or this user may not use the port.
    """
    try:
        family, *_rest, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise _in_use(host, port) from error
        raise AddressRefused(
            host=host, port=port, reason=(error.strerror or str(error)).lower()
        ) from error


def _in_use(host: str, port: int) -> Unavailable:
    remedy = "If it is `tagger serve` or `tagger up`, use that one; otherwise choose another --port."
    return Unavailable(
        reason=f"Another program listens at {host}, port {port}. {remedy}"
    )


def address_of(host: str, port: int) -> str:
    """Return the URL of the page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _listener(host: str, port: int, fd: int | None) -> socket.socket:
    # `fd` is a listening socket that the parent process keeps open across restarts of this one.
    if fd is None:
        return listen(host, port)
    with suppress(OSError):  # fd is not a socket
        listener = socket.socket(fileno=fd)
        if listener.family in {socket.AF_INET, socket.AF_INET6}:
            return listener
        listener.close()
    raise typer.BadParameter(f"{fd} is not a listening socket", param_hint="--fd")


def access_policy(listener: socket.socket, settings: Settings) -> AccessPolicy:
    """The access policy for the socket's actual address: a host name may stand for any."""
    from tagger.texts.addresses import is_loopback
    from tagger.web.access import AccessPolicy, Role

    host, port = listener.getsockname()[:2]
    token = settings.web_token
    requires_sign_in = (
        settings.web_view_token or settings.web_user_header or not is_loopback(host)
    )
    if token is None and requires_sign_in:
        token = secrets.token_urlsafe(24)
    roles = {"viewer": Role.VIEWER, "editor": Role.EDITOR, "none": Role.ANYBODY}
    return AccessPolicy(
        host,
        port,
        token,
        view_token=settings.web_view_token,
        trusted_proxies=tuple(settings.web_trusted_proxies),
        user_header=settings.web_user_header,
        user_role=roles[settings.web_user_role or "viewer"],
        editors=tuple(name.strip().lower() for name in settings.web_editors),
        web_url=settings.web_url,
    )


def _print_address(
    policy: AccessPolicy, settings: Settings, *, has_own_worker: bool
) -> None:
    host = socket.gethostname() if policy.host in ALL_ADDRESSES else policy.host
    # Also with -q: without the address and the token, nobody can use the page.
    sys.stderr.write(
        f"the web page is at {address_of(host, policy.port)}; press Ctrl-C to stop it\n"
    )
    if not has_own_worker:
        console.info(
            "it tags no photos by itself: start `tagger worker`, too, or `tagger up`, which runs everything"
        )
    if policy.token is None:
        return
    if settings.web_token is None:
        sys.stderr.write(
            f"token to sign in, valid until the command stops: {policy.token}\n"
            "to set a permanent token of at least 16 characters, use TAGGER_WEB_TOKEN\n"
        )
    else:
        console.info("sign in with the token of TAGGER_WEB_TOKEN")
    console.info(
        "programs send the header: Authorization: Bearer TOKEN. HTTP does not encrypt the token: outside a "
        "network you trust, put a reverse proxy with TLS in front"
    )


def server_for(app: FastAPI) -> uvicorn.Server:
    """Return a server that runs until a signal or `should_exit`. Event streams end before it shuts down."""
    import uvicorn

    raise_file_limit()
    # They warn of what clients send, in any number and without an address. The answers say the same.
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.app_state.stopping.set()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        loop="asyncio",
        # Based on h11, which limits the size of headers; httptools does not.
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # Forwarded headers are believed only from TAGGER_WEB_TRUSTED_PROXIES, see forwarded.
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=SHUTDOWN_GRACE_S,
    )
    return Server(config)


def raise_file_limit() -> None:
    """Raise the open-file limit if it is low, as on macOS: a proxy opens a connection for each thumbnail."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    minimum = (
        MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MIN_OPEN_FILES, hard)
    )
    if soft != resource.RLIM_INFINITY and soft < minimum:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (minimum, hard))
