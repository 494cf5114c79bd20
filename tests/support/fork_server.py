"""A process that has imported what `tagger` needs from other packages, and forks one that runs `tagger` for each request.

The program that support.forked_commands starts. A request is a document with the arguments, environment and folder of the
command, and four descriptors: its standard streams, and a pipe. The pipe gets the id of the command's process, and its wait
status once it has ended.

Nothing of `tagger` is imported before the fork, and no other thread runs then: the command's process imports the product in
its own environment, as a new interpreter does.
"""

import gc
import importlib
import importlib.util
import io
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NoReturn

MODULES = (
    "alembic.config",
    "alembic.script",
    "blake3",
    "celery.apps.worker",
    "celery.beat",
    "celery.concurrency.thread",
    "cronsim",
    "fastapi",
    "fastapi.staticfiles",
    "jinja2",
    "kombu.transport.redis",
    "lxml.etree",
    "numpy",
    "piexif",
    "PIL.Image",
    "platformdirs",
    "prometheus_client",
    "psutil",
    "psycopg",
    "pydantic.main",
    "redis",
    "rich.progress",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "torch",
    "typer",
    "uvicorn",
)
"""What takes longest to import."""
MOST_BYTES = 2**18
"""Of a request."""


def main() -> None:
    """Serve requests from the socket that is this program's argument, until its other end is closed."""
    sys.path.remove(os.path.dirname(__file__))  # noqa: PTH120 - it has modules of any name
    for name in MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "a fork would end the other threads"
    gc.collect()
    gc.freeze()  # pages without collections stay shared
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        while True:
            message, descriptors, _, _ = socket.recv_fds(requests, MOST_BYTES, 4)
            _collect_watchers()
            if not message:
                return
            if os.fork() == 0:
                requests.close()
                _watch_fork(descriptors)
                _run(json.loads(message), descriptors[:3])
            for descriptor in descriptors:
                os.close(descriptor)


def _collect_watchers() -> None:
    """Wait for those that have ended: their processor time then counts as that of this process's children."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _watch_fork(descriptors: Sequence[int]) -> None:
    """Return in a new process. This one reports its id and status, and ends."""
    *streams, status = descriptors
    child = os.fork()
    if child == 0:
        os.close(status)
        return
    for descriptor in streams:  # who reads the command's output sees its end
        os.close(descriptor)
    os.write(status, b"%d\n" % child)
    os.write(status, b"%d\n" % os.waitpid(child, 0)[1])
    os._exit(0)


def _run(request: Mapping[str, Any], streams: Sequence[int]) -> NoReturn:
    """Run the command in this process, in a session of its own, and end as an interpreter ends."""
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    time.tzset()
    _replace_standard_streams(streams)
    program, *_ = sys.argv = request["arguments"]
    paths = [os.path.abspath(path) for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]  # noqa: PTH100
    sys.path[:0] = [os.path.dirname(program), *paths]  # noqa: PTH120
    sys.modules.pop("sitecustomize", None)
    if importlib.util.find_spec("sitecustomize") is not None:
        importlib.import_module("sitecustomize")
    from tagger.cli.main import main as tagger

    sys.exit(tagger())


def _replace_standard_streams(descriptors: Sequence[int]) -> None:
    """Open the streams as Python does at its start; those of the server tell with which encoding, and whether buffered."""
    for number, (name, descriptor) in enumerate(zip(("stdin", "stdout", "stderr"), descriptors, strict=True)):
        os.dup2(descriptor, number)
        os.close(descriptor)
        before = getattr(sys, name)
        raw = io.FileIO(number, "w" if number else "r", closefd=False)
        raw.name = f"<{name}>"
        binary: Any = raw if number else io.BufferedReader(raw)
        if number and not before.write_through:
            binary = io.BufferedWriter(raw)
        stream: Any = io.TextIOWrapper(
            binary,
            before.encoding,
            before.errors,
            line_buffering=before.line_buffering,
            write_through=before.write_through,
        )
        stream.mode = "w" if number else "r"
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


if __name__ == "__main__":
    main()
