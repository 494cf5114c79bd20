"""The child's side of a `Sandbox`: decodes photos whose bytes the parent sends. Run as a module.

It imports little, to start fast, and everything before the first photo: it can open no file from then on.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.metadata.camera import camera_facts
from tagger.photos.decoding import Resize, decode_photo
from tagger.photos.decoding.limits import MEMORY_BUDGET, trim_memory
from tagger.photos.decoding.raw_development import RAW_DEVELOPER
from tagger.photos.formats import PHOTO_FORMATS, digest_container, read_container
from tagger.pipeline import internal_failure
from tagger.pipeline.confinement import confine, is_due, limit_memory
from tagger.texts import json_default

# A child without photos ends after this time, and its memory is free.
IDLE_S = 300


# A document, and raw bytes that follow it.
Reply = tuple[Mapping[str, object], bytes]
# Answers a request: its document, and the raw bytes that followed it.
ReplyFunction = Callable[[Any, bytes], Reply]

_OUT_OF_MEMORY = PhotoFailure(
    FailureKind.CRASHED,
    "Reading it needs more memory than this machine has for it. Scale the photo down, or retry it where "
    "there is more memory.",
)


class ParentPipe:
    """The child's ends of the pipes. A request is a line of JSON and the bytes that it announces."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies

    def receive(self) -> tuple[Any, bytes] | None:
        line = self._requests.readline()
        if not line:
            return None
        request = json.loads(line)
        return request, self._requests.read(request.get("data_bytes", 0))

    def send(self, document: Mapping[str, object], data: bytes = b"") -> None:
        encoded = json.dumps(document, default=json_default).encode()
        self._replies.write(len(encoded).to_bytes(4) + encoded)
        self._replies.write(data)
        self._replies.flush()

    def reserve_memory(self, needed_bytes: int) -> None:
        """Wait until the parent has reserved memory for the image of the current request."""
        self.send({"needed_bytes": needed_bytes})
        if self.receive() is None:
            raise SystemExit


def main() -> None:
    """Answer requests until the pipe is closed, after IDLE_S, or until this process is to be replaced."""
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
        answer = _make_answer(config[0], pipe)
        while not is_due(time.process_time()):
            signal.alarm(IDLE_S)
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


def _make_answer(config: dict[str, Any], parent: ParentPipe) -> ReplyFunction:
    for each in PHOTO_FORMATS:
        each.reader.load_decoder()
    RAW_DEVELOPER.load()
    trim_memory()
    limit_memory(config["memory_bytes"])
    MEMORY_BUDGET.reserve_elsewhere = parent.reserve_memory
    confine()
    data = b""

    def answer(request: dict[str, Any], request_data: bytes) -> Reply:
        nonlocal data
        if "open" in request:
            data = request_data
            container = read_container(data)
            opened = {"digest": digest_container(container, data)}
            return opened | asdict(camera_facts(data, container)), b""
        photo, data = data, b""
        resize = Resize(**request["decode"])
        image = decode_photo(photo, resize, max_pixels=config["max_pixels"])
        reply = {
            "width": image.width,
            "height": image.height,
            "damaged": image.is_damaged,
        }
        return reply, image.pixels.tobytes()

    return answer


if __name__ == "__main__":
    main()
