"""Child processes for work on one photo that may crash: the parent survives, sees how the child died, and starts another.

Parent and child (see child_main) exchange lines of JSON over pipes, followed by raw bytes; nothing is unpickled. Knows
nothing of what the child does with a photo.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any, TypeVar

from tagger.errors import FailureKind, PhotoFailed
from tagger.pipeline.requests import timeout_text

END_TIMEOUT_S = 5.0
START_S = 30.0
"""Added to the timeout of a child's first reply, because Python starts and imports first."""
STOP_CHECK_S = 1.0
"""How often a parent that waits for a reply checks whether it has to stop."""
FAULTS = frozenset(
    {
        signal.SIGSEGV,
        signal.SIGABRT,
        signal.SIGBUS,
        signal.SIGILL,
        signal.SIGFPE,
        signal.SIGTRAP,
        signal.SIGSYS,
    }
)
"""Signals that a process gets because of what it does. Others, such as SIGKILL, come from outside or from the OOM killer."""

T = TypeVar("T")


class ChildKilled(PhotoFailed):
    """The child that had the photo was killed twice. An operator or the OOM killer may have done it: this proves nothing."""


class ParentStopping(Exception):
    """The wait for the child ended because the parent has to stop; the photo has no result."""


class ChildProcess:
    """A child process that runs `module`, started on demand and restarted after it died or was given up.

    `config` is the child's first line; it may hold secrets, so it is not an argument. `must_stop` ends each wait.
    """

    def __init__(
        self,
        module: str,
        config: Mapping[str, object],
        timeout_s: float,
        *,
        start_s: float = START_S,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._module = module
        self._config = config
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._must_stop = must_stop
        self._lock = threading.Lock()
        """Held during a call: a read that was given up may still wait for the child when the next one begins."""
        self._process: RunningChild | None = None
        self._closed = False

    def close(self) -> None:
        """End the child. A call in progress in another thread fails."""
        self._closed = True  # that call must not start another child
        self._end()

    def run(self, work: Callable[["RunningChild"], T]) -> T:
        """Call `work` with the running child, and once more with another one if the child dies of it.

        Raises:
            PhotoFailed: the child reports it, or took too long, or both children crashed.
            ChildKilled: both children died, and at least one was killed.
            ParentStopping: `must_stop` became true.
        """
        deaths: list[int | None] = []
        with self._lock:
            while True:
                try:
                    return work(self._running())
                except ChildDied as died:
                    self._end()
                    deaths.append(died.code)
                    if len(deaths) > 1:
                        raise _failure_of(deaths) from died
                except _ChildTimedOut:
                    self._end()
                    raise PhotoFailed(FailureKind.TIMED_OUT, timeout_text(self._timeout_s)) from None
                except ParentStopping:
                    self._end()
                    raise

    def survives(self, for_s: float) -> bool:
        """Whether a child that has nothing to do lives this long. If not, something outside kills the children."""
        with self._lock:
            try:
                return self._running().is_alive_after(for_s)
            except ChildDied:
                self._end()
                return False

    def _running(self) -> "RunningChild":
        if self._closed:
            raise RuntimeError("the child process is closed")
        if self._process is None:
            self._process = RunningChild(
                self._module, self._config, self._timeout_s, self._start_s, self._must_stop
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


class ChildDied(Exception):
    """The child ended before it replied."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class _ChildTimedOut(Exception):
    """The child did not reply in time."""


class RunningChild:
    """The parent's side of one child process. `photo` identifies the photo that it has open."""

    def __init__(
        self,
        module: str,
        config: Mapping[str, object],
        timeout_s: float,
        start_s: float,
        must_stop: Callable[[], bool],
    ) -> None:
        self.photo: object = None
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._must_stop = must_stop
        # -P: do not import from the current folder. A session of its own: Ctrl-C goes to the parent, which ends the child.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        self._unsent = json.dumps(config).encode() + b"\n"
        self._deadline = 0.0

    def call(self, request: Mapping[str, object]) -> dict[str, Any]:
        """Send a request and return the document of the reply; `read` returns the bytes that follow it.

        Raises:
            PhotoFailed: the child reports it.
        """
        self._deadline = time.monotonic() + self._timeout_s + self._start_s
        self._send(json.dumps(request).encode() + b"\n")
        length = int.from_bytes(self.read(4))
        reply: dict[str, Any] = json.loads(self.read(length))
        self._start_s = 0.0
        if "kind" in reply:
            raise PhotoFailed(FailureKind(reply["kind"]), reply["text"])
        return reply

    def read(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            self._wait_for_output(self._deadline)
            part = os.read(self._output.fileno(), count)
            if not part:
                raise ChildDied(self._exit_code())
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def is_alive_after(self, for_s: float) -> bool:
        """Wait this long, without a request, and tell whether the child still runs."""
        self._send(b"")
        try:
            self._wait_for_output(time.monotonic() + for_s)
        except _ChildTimedOut:
            return True
        raise ChildDied(self._exit_code())

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                _opened_pipe(pipe).close()
        self._exit_code()

    @property
    def _output(self) -> IO[bytes]:
        return _opened_pipe(self._process.stdout)

    def _send(self, line: bytes) -> None:
        data, self._unsent = self._unsent + line, b""
        try:
            _opened_pipe(self._process.stdin).write(data)
        except BrokenPipeError:
            raise ChildDied(self._exit_code()) from None

    def _wait_for_output(self, deadline: float) -> None:
        """Wait until the child writes or ends."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._output, selectors.EVENT_READ)
            while not selector.select(max(0.0, min(STOP_CHECK_S, deadline - time.monotonic()))):
                if self._must_stop():
                    raise ParentStopping
                if time.monotonic() > deadline:
                    raise _ChildTimedOut

    def _exit_code(self) -> int | None:
        # A process that hangs in the kernel ends when the disk responds.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        return self._process.returncode


def _opened_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child process has no pipes")
    return pipe


def _failure_of(deaths: list[int | None]) -> PhotoFailed:
    """What the exit codes of the children prove about the photo."""
    code = deaths[-1]
    if code is None or code >= 0:
        text = f"an error in this program (the process that reads photos ended with code {code}); please report it"
        return PhotoFailed(FailureKind.INTERNAL, text)
    text = (
        f"Reading it crashes the process that reads photos ({signal.Signals(-code).name}). The photo is damaged in a way that "
        "crashes a decoder, or needs more memory than there is. Restore it from a backup or save it again."
    )
    are_faults = all(code is not None and -code in FAULTS for code in deaths)
    return (PhotoFailed if are_faults else ChildKilled)(FailureKind.CRASHED, text)
