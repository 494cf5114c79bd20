"""The parent's side of one child process: lines of JSON over pipes, followed by raw bytes; nothing is unpickled.

Knows nothing of what the child does (see sandbox_main), nor of what follows if it dies (see child_process).
"""

import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from typing import IO, Any

from tagger.errors import FailureKind, PhotoFailed, PicklableError
from tagger.photos.decoding.memory import MEMORY_BUDGET

END_TIMEOUT_S = 5.0
STOP_CHECK_S = 1.0
"""How often a parent that waits for a reply checks whether it has to stop."""
_RETIRED = (0, -signal.SIGALRM)
"""Exit codes of a child that ended between two photos (see sandbox_main)."""
_PIPE_BYTES = 2**20
"""Most photos fit, so that parent and child wait for each other once."""
_REPLY_BYTES = 2**16
"""The longest document in a reply. A photo that took over the child must not fill the parent's memory."""


class ParentStopping(Exception):
    """The wait for the child ended because the parent has to stop; the photo has no result."""


class InvalidReply(ValueError):
    """The reply is not one that the child's program sends."""


class ChildDied(PicklableError):
    """The child ended before it replied."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class ChildTimedOut(Exception):
    """The child did not reply in time."""


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
        # -P: do not import from the current folder. A session of its own: Ctrl-C goes to the parent, which ends the child.
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
        self, request: Mapping[str, object], data: bytes = b"", *, most_s: float | None = None
    ) -> dict[str, Any]:
        """Send a request, with bytes, and return the document of the reply; `read` returns the bytes that follow it.

        `most_s` is the time limit if it is shorter than that of all calls.

        Raises:
            PhotoFailed: the child reports it.
            InvalidReply: the reply is not one that the child's program sends.
        """
        limit_s = self._timeout_s if most_s is None else min(self._timeout_s, most_s)
        self._deadline = time.monotonic() + limit_s + self._start_s
        with ExitStack() as reserved:
            self._send(request, data)
            reply = self._receive()
            while "needed_bytes" in reply:
                reserved.close()  # the child decodes the photo another time
                started_at = time.monotonic()
                reserved.enter_context(MEMORY_BUDGET.reserve(_natural(reply["needed_bytes"])))
                self._deadline += time.monotonic() - started_at
                self._send({})
                reply = self._receive()
        self._start_s = 0.0
        if "kind" in reply:
            raise _reported_failure(reply)
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

    def is_alive_after(self, for_s: float) -> bool:
        """Wait this long, without a request, and tell whether the child still runs."""
        self._deadline = time.monotonic() + for_s
        self._write(b"")
        try:
            self._wait_for(self._has_reply)
        except ChildTimedOut:
            return True
        raise ChildDied(self._exit_code())

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._requests, self._replies):
            with suppress(OSError):
                pipe.close()
        self._exit_code()

    def _send(self, request: Mapping[str, object], data: bytes = b"") -> None:
        line = json.dumps({**request, "data_bytes": len(data)}).encode() + b"\n"
        self._write(line, data)

    def _write(self, line: bytes, data: bytes = b"") -> None:
        """Write what was not sent yet, a line and bytes, without copying the bytes."""
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
            raise InvalidReply(f"a document of {length} bytes")
        try:
            reply = json.loads(self.read(length))
        except (ValueError, RecursionError) as error:
            raise InvalidReply("no JSON") from error
        if not isinstance(reply, dict):
            raise InvalidReply("no document")
        return reply

    def _wait_for(self, event: select.poll) -> None:
        """Wait until the child reads, writes or ends."""
        while True:
            left_s = self._deadline - time.monotonic()
            if event.poll(1000 * max(0.0, min(STOP_CHECK_S, left_s))):
                return
            if self._must_stop():
                raise ParentStopping
            if left_s < 0:
                raise ChildTimedOut

    def _exit_code(self) -> int | None:
        # A process that hangs in the kernel ends when the disk responds.
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        return self._process.returncode


def _opened_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child process has no pipes")
    with suppress(OSError, AttributeError):  # not Linux, or the user's pipes have their most memory
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    return pipe


def _poll(pipe: IO[bytes], event: int) -> select.poll:
    poll = select.poll()
    poll.register(pipe, event)
    return poll


def _reported_failure(reply: Mapping[str, object]) -> PhotoFailed:
    try:
        return PhotoFailed(FailureKind(str(reply["kind"])), str(reply.get("text")))
    except ValueError as error:
        raise InvalidReply("a failure of no kind") from error


def _natural(value: object) -> int:
    if not isinstance(value, int) or value < 0:
        raise InvalidReply("no number of bytes")
    return value
