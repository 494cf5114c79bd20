"""`tagger serve`: the web page and the JSON API."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import sys
from contextlib import closing, nullcontext, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli.help import ADVANCED, option
from tagger.cli.output import console
from tagger.cli.session import load_settings, open_session
from tagger.errors import AddressRefused, Unavailable
from tagger.extensions import extra_missing
from tagger.processes.interruption import handle_own_signals
from tagger.processes.process import resume_collection

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn
    from fastapi import FastAPI

    from tagger.settings import Settings
    from tagger.web.http.access import AccessPolicy

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
        str, option("--host", "HOST", "Address to listen at. 0.0.0.0 listens at all addresses.")
    ] = HOST,
    port: Annotated[
        int, option("--port", "N", "Port to listen at. 0 selects a free port.", min=0, max=65535)
    ] = PORT,
    fd: Annotated[
        int | None,
        typer.Option("--fd", metavar="N", rich_help_panel=ADVANCED, hidden=True, min=0, max=2**31 - 1),
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
    from tagger.cli.pools import PageWorker, tags_photos
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
        starts_worker = fd is None and tags_photos(settings, database)  # only `tagger up` has --fd
        app = create_app(settings, database, policy, has_own_worker=starts_worker or fd is not None)
        state = app.state.app_state
        _print_address(policy, settings, has_own_worker=state.has_own_worker)
        handle_own_signals()
        resume_collection()
        worker = PageWorker(database, settings, state.report_worker) if starts_worker else nullcontext()
        with suppress(KeyboardInterrupt), worker:
            server_for(app).run(sockets=[listener])
    console.info("the web page has stopped")


def check_extra() -> None:
    """Check that the packages of the web page are installed.

    Raises:
        ExtraMissing: one of them is not.
    """
    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise extra_missing("The web page", "web") from error


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
        raise AddressRefused(host=host, port=port, reason=(error.strerror or str(error)).lower()) from error


def listen_nearby(host: str, port: int) -> socket.socket:
    """Return a socket that listens at `port` or at the next free port, of PORTS_TRIED ports."""
    for candidate in range(port, port + PORTS_TRIED):
        with suppress(Unavailable):
            return listen(host, candidate)
    raise _in_use(host, port)


def _in_use(host: str, port: int) -> Unavailable:
    remedy = "If it is `tagger serve` or `tagger up`, use that one; otherwise choose another --port."
    return Unavailable(reason=f"Another program listens at {host}, port {port}. {remedy}")


def address_of(host: str, port: int) -> str:
    """Return the URL of the page."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _listener(host: str, port: int, fd: int | None) -> socket.socket:
    """`fd` is a listening socket that the parent process keeps open across restarts of this one."""
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
    from tagger.web.http.access import AccessPolicy, Role

    host, port = listener.getsockname()[:2]
    token = settings.web_token
    requires_sign_in = settings.web_view_token or settings.web_user_header or not is_loopback(host)
    if token is None and requires_sign_in:
        token = secrets.token_urlsafe(24)
    roles = {None: Role.VIEWER, "viewer": Role.VIEWER, "editor": Role.EDITOR, "none": Role.ANYBODY}
    return AccessPolicy(
        host,
        port,
        token,
        view_token=settings.web_view_token,
        trusted_proxies=tuple(settings.web_trusted_proxies),
        user_header=settings.web_user_header,
        user_role=roles[settings.web_user_role],
        editors=tuple(name.strip().lower() for name in settings.web_editors),
        web_url=settings.web_url,
    )


def _print_address(policy: AccessPolicy, settings: Settings, *, has_own_worker: bool) -> None:
    host = socket.gethostname() if policy.host in ALL_ADDRESSES else policy.host
    # Also with -q: without the address and the token, nobody can use the page.
    sys.stderr.write(f"the web page is at {address_of(host, policy.port)}; press Ctrl-C to stop it\n")
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
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    minimum = MIN_OPEN_FILES if hard == resource.RLIM_INFINITY else min(MIN_OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < minimum:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (minimum, hard))
