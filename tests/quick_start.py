"""Starts the programs that tests type without the seconds in which Python reads torch, Celery and SQLAlchemy.

A process has read them, and nothing of this project. A program is a fork of it with its own folder, environment, files and
session, which runs its script from the first line. It is a child of the test's process like any other, to be waited for and killed.
There are two: one that has read torch makes large forks, which are slow to end, and most commands have no use for it.
"""

import atexit
import ctypes
import gc
import importlib
import inspect
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

LIBRARIES = (
    "alembic.command", "fastapi", "jinja2", "kombu.transport.redis", "lxml.etree", "numpy", "opentelemetry.trace", "piexif",
    "PIL.JpegImagePlugin", "prometheus_client", "psycopg", "pydantic_settings", "sqlalchemy.dialects.postgresql",
    "sqlalchemy.dialects.sqlite", "typer.main", "uvicorn",
)  # fmt: skip
OF_A_MODEL = ("torch", "celery.apps.worker", "celery.bin.celery", "celery.worker")
RUN_A_MODEL = {"tag", "look", "worker", "doctor"}
LARGEST_MESSAGE = 2**18
SET_CHILD_SUBREAPER = 36
"""Of prctl: who is left without its parent becomes a child of this process."""

_one_at_a_time = threading.Lock()


HOW = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]
PIPES = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")


class _Forked(subprocess.Popen[bytes]):
    """Like its base for `[SCRIPT, *WORDS]`, a script of Python, with its folder, its environment and all three files given."""

    def _execute_child(self, args: Sequence[Any], *more: Any) -> None:
        how = HOW.bind(self, args, *more).arguments
        theirs = [how["p2cread"], how["c2pwrite"], how["errwrite"]]
        asked = [
            [os.fsdecode(word) for word in args],
            os.fsdecode(how["cwd"]),
            dict(how["env"]),
            how["start_new_session"],
        ]
        libraries = LIBRARIES if RUN_A_MODEL.isdisjoint(asked[0]) else (*LIBRARIES, *OF_A_MODEL)
        with _one_at_a_time:
            starter = _starter(libraries)
            # Only meanwhile: what programs leave behind themselves later is not ours to wait for.
            _adopt(True)
            try:
                socket.send_fds(starter, [json.dumps(asked).encode()], theirs)
                self.pid = int(starter.recv(LARGEST_MESSAGE))
            finally:
                _adopt(False)
        self._child_created = True
        self._close_pipe_fds(*(how[pipe] for pipe in PIPES))


QuickProcess = _Forked if sys.platform == "linux" else subprocess.Popen
"""What starts a program in a test; where a process cannot adopt another one, Python reads all of it each time."""


def _adopt(wanted: bool) -> None:
    assert ctypes.CDLL(None).prctl(SET_CHILD_SUBREAPER, int(wanted), 0, 0, 0) == 0


@cache
def _starter(libraries: Sequence[str]) -> socket.socket:
    """What speaks to the process that has read these and forks."""
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("TAGGER_", "PYTHONPATH"))
    }
    command = [sys.executable, "-P", __file__, str(theirs.fileno()), *libraries]
    with theirs:
        process = subprocess.Popen(
            command,
            env=environment,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )
    atexit.register(lambda: (ours.close(), process.wait()))
    return ours


def main() -> None:
    """Fork for whoever asks; in a fork, run what was asked for."""
    for library in sys.argv[2:]:
        importlib.import_module(library)
    gc.freeze()
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        while True:
            asked, files, _, _ = socket.recv_fds(channel, LARGEST_MESSAGE, 3)
            if not asked:
                return
            if pid := _fork():
                channel.send(str(pid).encode())
                for file in files:
                    os.close(file)
            else:
                break
    words, folder, environment, has_session = json.loads(asked)
    for number, file in enumerate(files):
        os.dup2(file, number)
        os.close(file)
    if has_session:
        os.setsid()
    _run(words, folder, environment)


def _fork() -> int:
    """As os.fork, but the new process is not this one's child."""
    read, write = os.pipe()
    between = os.fork()
    if not between:
        pid = os.fork()
        if pid:
            os.write(write, str(pid).encode())
            os._exit(0)
    else:
        os.waitpid(between, 0)
        pid = int(os.read(read, 20))
    os.close(read)
    os.close(write)
    return pid


def _run(words: list[str], folder: str, environment: dict[str, str]) -> None:
    """The script in words[0], as Python does at its start."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = words
    sys.path[:0] = [str(Path(words[0]).parent), *filter(None, environment.get("PYTHONPATH", "").split(":"))]
    with suppress(ModuleNotFoundError):
        sys.modules.pop("sitecustomize", None)
        importlib.import_module("sitecustomize")
    runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main()
