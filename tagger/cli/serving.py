"""`tagger serve`: the web page and the JSON API, from this process, until it is stopped."""

from __future__ import annotations

import errno
import logging
import secrets
import socket
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Annotated

import typer

from tagger.cli import console
from tagger.errors import AddressRefused, AddressTaken, ExtraMissing

if TYPE_CHECKING:
    from types import FrameType

    import uvicorn
    from fastapi import FastAPI

    from tagger.settings import Settings
    from tagger.web.safety import Safety

HOST = "127.0.0.1"
PORT = 8080
PORTS_TRIED = 20
END_S = 3
"""How long answers that are under way have, once the end was asked for."""
BACKLOG = 128
"""Connections that are made at a time; each takes a file before it is counted."""
ANYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - known by name, to tell people what it means


def serve(
    host: Annotated[
        str, typer.Option("--host", help="This machine's address to serve at; 0.0.0.0 is all of them.")
    ] = HOST,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 takes any that is free.")
    ] = PORT,
    fd: Annotated[int | None, typer.Option("--fd", hidden=True)] = None,
) -> None:
    """Serve the web page and the JSON API, until stopped with Ctrl-C or SIGTERM.

    By default it is for this machine alone. At any other address people sign in with a token: TAGGER_WEB_TOKEN, or one that is
    made and printed when it starts.

    Example: tagger serve
    """
    check_extra()
    from tagger.cli.recording import load, opened
    from tagger.web.app import make_app
    from worker.logs import set_up_logging

    settings = load()
    levels = (logging.WARNING, logging.INFO, logging.DEBUG)
    set_up_logging(settings.log_format, levels[max(console.loudness.level, 0)], paths=settings.log_paths)
    with closing(opened(settings)) as database, closing(_listener(host, port, fd)) as listener:
        safety = safety_at(listener, settings)
        app = make_app(settings, database, safety)
        _tell(safety, made=settings.web_token is None)
        with suppress(KeyboardInterrupt):
            server_for(app).run(sockets=[listener])
    console.say("the page is no longer served")


def check_extra() -> None:
    """Raises:
    ExtraMissing: what the page needs is not installed.
    """
    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ExtraMissing(missing=error.name) from error


def listening(host: str, port: int) -> socket.socket:
    """A socket at the address; made here, so that who cannot have it is told in one line."""
    try:
        family, *_rest, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressTaken(host=host, port=port) from error
        raise AddressRefused(host=host, port=port, reason=(error.strerror or str(error)).lower()) from error


def listening_nearby(host: str, port: int) -> socket.socket:
    """The same at the next port that is free, where somebody else has this one."""
    for near in range(port, port + PORTS_TRIED):
        with suppress(AddressTaken):
            return listening(host, near)
    raise AddressTaken(host=host, port=port)


def address_of(host: str, port: int) -> str:
    """As a browser takes it."""
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def _listener(host: str, port: int, fd: int | None) -> socket.socket:
    """`fd`: the socket of whoever started this, who keeps it while this is started again."""
    if fd is None:
        return listening(host, port)
    with suppress(OSError):  # no socket
        listener = socket.socket(fileno=fd)
        if listener.family in {socket.AF_INET, socket.AF_INET6}:
            return listener
        listener.close()
    raise typer.BadParameter(f"{fd} is no socket that listens at an address", param_hint="--fd")


def safety_at(listener: socket.socket, settings: Settings) -> Safety:
    """By the address that it really listens at, whatever was typed: names lead where they lead, and a given socket anywhere."""
    from tagger.web.safety import Safety, is_loopback

    host, port = listener.getsockname()[:2]
    token = settings.web_token
    if token is None and not is_loopback(host):
        token = secrets.token_urlsafe(24)
    return Safety(host, port, token, settings.web_upload_bytes)


def _tell(safety: Safety, *, made: bool) -> None:
    named = _outward_address() if safety.host in ANYWHERE else safety.host
    # Not silenced by -q: without it nobody gets in.
    sys.stderr.write(f"the page is at {address_of(named, safety.port)} - Ctrl-C ends it\n")
    if safety.token is None:
        return
    if made:
        sys.stderr.write(
            f"the token to sign in with, until this ends: {safety.token}\n"
            "choose one that stays with TAGGER_WEB_TOKEN, at least 16 characters\n"
        )
    else:
        console.say("sign in with the token that TAGGER_WEB_TOKEN holds")
    console.say(
        "programs send it: Authorization: Bearer TOKEN. It travels readably over plain HTTP: "
        "outside a network you trust, put a server that speaks TLS in front"
    )


def _outward_address() -> str:
    """The address in its network of the machine that this runs on, which a phone there can open; its name, if it has none."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # kept for documents, and nothing is sent: it only chooses a way out
        return str(probe.getsockname()[0])
    return socket.gethostname()


def server_for(app: FastAPI) -> uvicorn.Server:
    """The server, which runs until a signal or `should_exit`; streams are told to end first."""
    import uvicorn

    from tagger.web.connections import Connection, most_connections

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.place.stopping.set()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        loop="asyncio",
        http=Connection,  # of h11, which bounds what stands before a body; the quicker one does not
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        # A client could otherwise say where it comes from, which wrong tokens are counted by.
        proxy_headers=False,
        limit_concurrency=most_connections(),
        backlog=BACKLOG,
        timeout_graceful_shutdown=END_S,
    )
    return Server(config)
