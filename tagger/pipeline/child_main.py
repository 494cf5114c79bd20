"""The child's side of a `ChildProcess`: replies to requests until the parent closes the pipe."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.pipeline.requests import internal_failure

Reply = tuple[Mapping[str, object], bytes]
"""A document, and raw bytes that follow it."""
ReplyFunction = Callable[[Any, bytes], Reply]
"""Answers a request: its document, and the raw bytes that followed it."""

_OUT_OF_MEMORY = PhotoFailure(
    FailureKind.CRASHED,
    "Reading it needs more memory than this machine has for it. Scale the photo down, or retry it where there is more memory.",
)


class ParentPipe:
    """The child's ends of the pipes. A request is a line of JSON and the bytes that it announces."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies

    def receive(self) -> tuple[Any, bytes] | None:
        """Wait for a request; None once the parent has closed the pipe."""
        line = self._requests.readline()
        if not line:
            return None
        request = json.loads(line)
        return request, self._requests.read(request.get("data_bytes", 0))

    def send(self, document: Mapping[str, object], data: bytes = b"") -> None:
        encoded = json.dumps(document).encode()
        self._replies.write(len(encoded).to_bytes(4) + encoded)
        self._replies.write(data)
        self._replies.flush()

    def reserve_memory(self, needed_bytes: int) -> None:
        """Wait until the parent has reserved memory for the image of the current request."""
        self.send({"needed_bytes": needed_bytes})
        if self.receive() is None:
            raise SystemExit


def reply_to_parent(
    make_answer: Callable[[Any, ParentPipe], ReplyFunction],
    *,
    idle_s: int = 0,
    is_due: Callable[[], bool] = lambda: False,
) -> None:
    """Run the child: make a function from the config, and answer requests with it until the parent closes the pipe.

    The process also ends after `idle_s` without a request (0: never), and after a request when it `is_due` for
    replacement.
    """
    # If memory runs out, Linux then ends this process rather than the worker.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    # A signal to the worker's process group must reach this process through the worker only.
    for ignored in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    # Output of libraries on stdout must not mix with replies.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        pipe = ParentPipe(sys.stdin.buffer, replies)
        if (config := pipe.receive()) is None:
            return
        answer = make_answer(config[0], pipe)
        while not is_due():
            signal.alarm(idle_s)
            request = pipe.receive()
            signal.alarm(0)
            if request is None:
                return
            pipe.send(*_answer_or_failure(answer, *request))


def _answer_or_failure(answer: ReplyFunction, request: object, data: bytes) -> Reply:
    try:
        return answer(request, data)
    except PhotoFailed as failed:
        # A decoder turned its MemoryError into damage of the image.
        is_memory = isinstance(failed.__cause__, MemoryError)
        return asdict(_OUT_OF_MEMORY if is_memory else failed.failure), b""
    except MemoryError:
        return asdict(_OUT_OF_MEMORY), b""
    except Exception as error:  # noqa: BLE001 - reported to the parent as a failure of this photo
        return asdict(internal_failure(error)), b""
