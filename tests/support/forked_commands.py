"""Real processes of `tagger` that do not import torch, Celery and SQLAlchemy anew, which takes seconds of processor time.

They are forked from a server that has (see fork_server). Each has its own id, session, environment, folder and streams,
receives signals and has an exit code, as one that is started by the program `tagger`.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import IO

_PROGRAM = Path(__file__).with_name("fork_server.py")
_READ_LATER = ("AWS_", "COLUMNS", "HOME", "INJECT_", "PATH", "PYTEST_", "PYTHONPATH", "TAGGER_", "XDG_")
"""Beginnings of variables that only the product and injected faults read, after the fork."""
_READ_AT_START = frozenset({"INJECT_CLOCK_AHEAD_S"})
"""Faults that replace what the server has imported."""


class ForkedProcess:
    """A process of the fork server, with what tests use of subprocess.Popen."""

    def __init__(self, args: Sequence[str], status: int) -> None:
        self.args = args
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._status: IO[bytes] = open(status, "rb", buffering=0)  # noqa: SIM115 - until the end is known
        self.pid = self._read_number()

    def poll(self) -> int | None:
        """The exit code, negative after a signal; None while the process runs."""
        return self._wait(0)

    def wait(self, timeout: float | None = None) -> int:
        """Raises:
        subprocess.TimeoutExpired: the process still runs after this many seconds.
        """
        code = self._wait(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _wait(self, timeout_s: float | None) -> int | None:
        if self.returncode is None and self._has_status(timeout_s):
            with self._lock:
                if self.returncode is None:
                    self.returncode = os.waitstatus_to_exitcode(self._read_number())
                    self._status.close()
        return self.returncode

    def _has_status(self, timeout_s: float | None) -> bool:
        poll = select.poll()  # unlike select.select, for any number of open files
        poll.register(self._status, select.POLLIN)
        return bool(poll.poll(None if timeout_s is None else 1000 * timeout_s))

    def _read_number(self) -> int:
        line = self._status.readline()
        if not line:
            self._status.close()
            raise RuntimeError("the fork server has ended")
        return int(line)


class ForkServer:
    """Starts `tagger` in processes that it forks."""

    def __init__(self) -> None:
        self._environment = {name: value for name, value in os.environ.items() if not _is_read_later(name)}
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(_PROGRAM), str(theirs.fileno())],
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def has(self, environment: Mapping[str, str]) -> bool:
        """Whether a process with this environment can be forked: libraries read no other value of a variable at their start."""
        same = {name: value for name, value in environment.items() if not _is_read_later(name)}
        return same == self._environment and not _READ_AT_START & environment.keys()

    def start(
        self, args: Sequence[str], *, environment: Mapping[str, str], folder: Path, output: int
    ) -> ForkedProcess:
        """Run `tagger` with these arguments, of which the first is the program's path."""
        request = {"arguments": args, "environment": dict(environment), "folder": str(folder)}
        reader, writer = os.pipe()
        with open(os.devnull, "rb") as nothing, open(writer, "wb", buffering=0):  # noqa: PTH123
            descriptors = [nothing.fileno(), output, output, writer]
            socket.send_fds(self._requests, [json.dumps(request).encode()], descriptors)
        return ForkedProcess(args, reader)

    def close(self) -> None:
        self._requests.close()
        self._process.wait()


def _is_read_later(name: str) -> bool:
    return name.startswith(_READ_LATER)


@cache
def fork_server() -> ForkServer:
    """The fork server of this process, which ends with it."""
    server = ForkServer()
    atexit.register(server.close)
    return server
