"""The child's side of a `ChildProcess`: replies to requests until the parent closes the pipe."""

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.pipeline.requests import internal_failure

Reply = tuple[Mapping[str, object], bytes]
"""A document, and raw bytes that follow it."""

_OUT_OF_MEMORY = PhotoFailure(
    FailureKind.CRASHED,
    "Reading it needs more memory than this machine has for it. Scale the photo down, or retry it where there is more memory.",
)


def reply_to_parent(make_answer: Callable[[Any], Callable[[Any], Reply]]) -> None:
    """Run the child: make a function from the config, and answer requests with it until the parent closes the pipe."""
    _prefer_for_oom_kill()
    # A signal to the worker's process group must reach this process through the worker only.
    for ignored in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    # Output of libraries on stdout must not mix with replies.
    with os.fdopen(os.dup(1), "wb") as replies:
        os.dup2(2, 1)
        requests = sys.stdin.buffer
        answer = make_answer(json.loads(requests.readline() or b"null"))
        for line in requests:
            document, data = _answer_or_failure(answer, json.loads(line))
            encoded = json.dumps(document).encode()
            replies.write(len(encoded).to_bytes(4) + encoded + data)
            replies.flush()


def _answer_or_failure(answer: Callable[[Any], Reply], request: object) -> Reply:
    try:
        return answer(request)
    except PhotoFailed as failed:
        # A decoder turned its MemoryError into damage of the image.
        is_memory = isinstance(failed.__cause__, MemoryError)
        return asdict(_OUT_OF_MEMORY if is_memory else failed.failure), b""
    except MemoryError:
        return asdict(_OUT_OF_MEMORY), b""
    except Exception as error:  # noqa: BLE001 - reported to the parent as a failure of this photo
        return asdict(internal_failure(error)), b""


def _prefer_for_oom_kill() -> None:
    """Let Linux end this process rather than the worker when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
