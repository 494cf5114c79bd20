"""Child processes for work on one photo that may crash: the parent survives, and starts another.

Parent and child send each other lines of JSON over pipes, followed by raw bytes; nothing is unpickled. Knows
nothing of what the child does with a photo (see sandbox_main).
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.decoding.limits import MEMORY_BUDGET
from tagger.pipeline import decoding_timeout_text

# Added to the timeout of a child's first reply, because Python starts and imports first.
START_S = 30.0
END_TIMEOUT_S = 5.0
# How often a parent that waits for a reply checks whether it has to stop.
STOP_CHECK_S = 1.0
# Variables that Python may need to start.
_PASSED_ON = (
    "LD_LIBRARY_PATH",
    "PYTHONHOME",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPYCACHEPREFIX",
)
# Exit codes of a child that ended between two photos (see sandbox_main).
_RETIRED = (0, -signal.SIGALRM)
# Most photos fit, so that parent and child wait for each other once.
_PIPE_BYTES = 2**20
# The longest document in a reply. A photo that took over the child must not fill the parent's
# memory.
_REPLY_BYTES = 2**16

# An operator or the system may have ended one child of a photo.
MOST_DEATHS = 2

T = TypeVar("T")


class ParentStopping(Exception):
    """The wait for the child ended because the parent has to stop; the photo has no result."""


class ChildDied(Exception):
    """The child ended before it replied, with this exit code."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


def minimal_environment() -> dict[str, str]:
    """The environment of a child without secrets: it imports the same code, and uses one thread."""
    passed_on = {
        name: value
        for name in _PASSED_ON
        if (value := os.environ.get(name)) is not None
    }
    # This program's own folder first: it is not always in a path, as in an installation for development.
    folders = [
        str(Path(__file__).parents[2]),
        *(path for path in sys.path if Path(path).is_absolute()),
    ]
    return passed_on | {
        "PYTHONPATH": os.pathsep.join(folders),
        "PYTHONNOUSERSITE": "1",
        "PYTHONUTF8": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


class ChildProcess:
    """A child process that runs `module`, started on demand and restarted after it died or was given up.

    `config` is the child's first line. `must_stop` ends each wait.
    """

    def __init__(
        self,
        module: str,
        config: Mapping[str, object],
        timeout_s: float,
        *,
        environment: Callable[[], Mapping[str, str]],
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._module = module
        self._config = config
        self._timeout_s = timeout_s
        self._environment = environment
        self._must_stop = must_stop
        # Held during a call: a read that was given up may still wait for the child as the next
        # begins.
        self._lock = threading.Lock()
        self._process: RunningChild | None = None
        self._closed = False

    @property
    def photo(self) -> object:
        """What identifies the photo that the child has open; None if there is none."""
        process = self._process
        return process and process.photo

    @property
    def is_started(self) -> bool:
        return self._process is not None

    def close(self) -> None:
        """End the child. A call in progress in another thread fails."""
        self._closed = True  # that call must not start another child
        self._end()

    def run(self, work: Callable[[RunningChild], T]) -> T:
        """Call `work` with the running child, and once more with another one if the child dies of it.

        Raises:
            PhotoFailed: the child reports it, took too long or sent nonsense, or both children died.
            ParentStopping: `must_stop` became true.
        """
        deaths = 0
        with self._lock:
            if self._process is not None and self._process.is_retired:
                self._end()
            while True:
                try:
                    return work(self._running())
                except ChildDied as died:
                    self._end()
                    if died.code == -signal.SIGXCPU:
                        text = decoding_timeout_text(self._timeout_s)
                        raise PhotoFailed(FailureKind.TIMED_OUT, text) from died
                    deaths += 1
                    if deaths == MOST_DEATHS:
                        raise _failure_of(died.code) from died
                except ValueError as invalid:
                    self._end()
                    what = f"the process that reads photos sent {invalid}"
                    text = f"an error in this program ({what}); please report it"
                    raise PhotoFailed(FailureKind.INTERNAL, text) from invalid
                except ParentStopping:
                    self._end()
                    raise

    def _running(self) -> RunningChild:
        if self._closed:
            raise RuntimeError("the child process is closed")
        if self._process is None:
            self._process = RunningChild(
                self._module,
                self._config,
                self._environment(),
                timeout_s=self._timeout_s,
                start_s=START_S,
                must_stop=self._must_stop,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def _failure_of(code: int | None) -> PhotoFailed:
    # What the exit code of the last child says of the photo.
    if code is None or code >= 0:
        what = f"the process that reads photos ended with code {code}"
        text = f"an error in this program ({what}); please report it"
        return PhotoFailed(FailureKind.INTERNAL, text)
    try:
        signal_name = signal.Signals(-code).name
    except ValueError:  # most real-time signals have no name
        signal_name = f"signal {-code}"
    text = (
        f"Reading it crashes the process that reads photos ({signal_name}). The photo is damaged in "
        "a way that crashes a decoder, or needs more memory than there is. Restore it from a backup or save "
        "it again."
    )
    return PhotoFailed(FailureKind.CRASHED, text)


class RunningChild:
    """The parent's side of one child process. `photo` identifies the photo that it has open."""

    def __init__(
        self,
        module: str,
        config: Mapping[str, object],
        environment: Mapping[str, str],
        *,
        timeout_s: float,
        start_s: float,
        must_stop: Callable[[], bool],
    ) -> None:
        self.photo: object = None
        self._timeout_s = timeout_s
        self._start_s = start_s
        self._must_stop = must_stop
        # -P: no import from the current folder. A session of its own: Ctrl-C goes to the parent only.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=environment,
            start_new_session=True,
        )
        self._requests = _opened_pipe(self._process.stdin)
        self._replies = _opened_pipe(self._process.stdout)
        os.set_blocking(self._requests.fileno(), False)
        self._has_room = _poll(self._requests, select.POLLOUT)
        self._has_reply = _poll(self._replies, select.POLLIN)
        self._unsent = json.dumps(config).encode() + b"\n"
        self._deadline = 0.0

    def call(
        self,
        request: Mapping[str, object],
        data: bytes = b"",
        *,
        most_s: float | None = None,
    ) -> dict[str, Any]:
        """Send a request, with bytes, and return the document of the reply; `read` returns bytes after it.

        `most_s` is the time limit if it is shorter than that of all calls.

        Raises:
            PhotoFailed: the child reports it.
            ValueError: the reply is not one that the child's program sends.
        """
        limit_s = self._timeout_s if most_s is None else min(self._timeout_s, most_s)
        self._deadline = time.monotonic() + limit_s + self._start_s
        with ExitStack() as reserved:
            self._send(request, data)
            reply = self._receive()
            while "needed_bytes" in reply:
                reserved.close()  # the child decodes the photo another time
                started_at = time.monotonic()
                needed_bytes = reply["needed_bytes"]
                if not isinstance(needed_bytes, int) or needed_bytes < 0:
                    raise ValueError("no number of bytes")
                reserved.enter_context(MEMORY_BUDGET.reserve(needed_bytes))
                self._deadline += time.monotonic() - started_at
                self._send({})
                reply = self._receive()
        self._start_s = 0.0
        if "kind" in reply:
            try:
                kind = FailureKind(str(reply["kind"]))
            except ValueError as error:
                raise ValueError("a failure of no kind") from error
            raise PhotoFailed(kind, str(reply.get("text")))
        return reply

    def read(self, count: int) -> bytes:
        parts: list[bytes] = []
        while count:
            self._wait_for(self._has_reply)
            part = os.read(self._replies.fileno(), count)
            if not part:
                raise ChildDied(self._exit_code())
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    @property
    def is_retired(self) -> bool:
        """Whether the child has ended between two photos, as it does after some time."""
        return self._process.poll() in _RETIRED

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._requests, self._replies):
            with suppress(OSError):
                pipe.close()
        self._exit_code()

    def _send(self, request: Mapping[str, object], data: bytes = b"") -> None:
        # Write what was not sent yet, a line and bytes, without copying the bytes.
        line = json.dumps({**request, "data_bytes": len(data)}).encode() + b"\n"
        parts, self._unsent = [memoryview(self._unsent + line), memoryview(data)], b""
        while any(parts):
            self._wait_for(self._has_room)
            try:
                count = os.writev(self._requests.fileno(), parts)
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise ChildDied(self._exit_code()) from None
            parts = [parts[0][count:], parts[1][max(0, count - len(parts[0])) :]]

    def _receive(self) -> dict[str, Any]:
        length = int.from_bytes(self.read(4))
        if length > _REPLY_BYTES:
            raise ValueError(f"a document of {length} bytes")
        try:
            reply = json.loads(self.read(length))
        except (ValueError, RecursionError) as error:
            raise ValueError("no JSON") from error
        if not isinstance(reply, dict):
            raise ValueError("no document")  # noqa: TRY004 - as all other replies that are not the program's
        return reply

    def _wait_for(self, event: select.poll) -> None:
        # Wait until the child reads, writes or ends.
        while True:
            left_s = self._deadline - time.monotonic()
            if event.poll(1000 * max(0.0, min(STOP_CHECK_S, left_s))):
                return
            if self._must_stop():
                raise ParentStopping
            if left_s < 0:
                raise ChildDied(
                    -signal.SIGXCPU
                )  # as if the kernel had ended it for the time that it took

    def _exit_code(self) -> int | None:
        # A process that hangs in the kernel ends when the disk responds.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        return self._process.returncode


def _opened_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child process has no pipes")
    with suppress(
        OSError, AttributeError
    ):  # not Linux, or the user's pipes have their most memory
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return pipe


def _poll(pipe: IO[bytes], event: int) -> select.poll:
    poll = select.poll()
    poll.register(pipe, event)
    return poll
