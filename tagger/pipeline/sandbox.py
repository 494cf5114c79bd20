"""Reads and decodes photos in a child process: a photo that crashes its reader ends only the child.

Slow, and used for chunks that have killed workers. The child does not import torch. Parent and child exchange lines of JSON
over pipes, followed by pixels as raw bytes; nothing is unpickled.
"""

import json
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Any, BinaryIO, Self, TypeVar

import numpy as np

from tagger.errors import FailureKind, PhotoFailed
from tagger.images import DecodedImage, Resize
from tagger.metadata.camera import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.source import PhotoSource, open_source
from tagger.pipeline.requests import Limits, OpenPhoto, internal_failure, local_reader, timeout_text

END_TIMEOUT_S = 5.0
START_S = 30.0
"""Added to the timeout of a child's first answer, because Python starts and imports first."""

T = TypeVar("T")
_PhotoKey = tuple[str, str]
"""The source's location and the photo's path in it."""


class SandboxReader:
    """Opens photos in a child process, which is started on demand and restarted after each crash.

    A photo whose reading crashes the child is tried a second time: an operator or the kernel may have ended the first child.
    """

    def __init__(self, resize: Resize, limits: Limits) -> None:
        self._resize = resize
        self._limits = limits
        self._lock = threading.Lock()
        self._process: _SandboxProcess | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closed = True  # a read in progress must not start another child
        self._end_process()

    def open(self, source: PhotoSource, path: str) -> OpenPhoto:
        """Open a photo; a `Reader`.

        Raises:
            PhotoFailed: as reading in this process, or the photo crashed two children, or it took too long.
        """
        key = source.location, path
        return self._with_restart(lambda: self._open(key, self._deadline()))

    def _deadline(self) -> float:
        return time.monotonic() + self._limits.timeout_s

    def _with_restart(self, read: Callable[[], T]) -> T:
        with self._lock:
            try:
                return read()
            except _SandboxCrashed:
                self._end_process()
            except PhotoFailed as failed:
                if failed.failure.kind is FailureKind.TIMED_OUT:
                    self._end_process()
                raise
            try:
                return read()
            except _SandboxCrashed as crash:
                self._end_process()
                raise PhotoFailed(*_crash_failure(crash.code)) from crash

    def _open(self, key: _PhotoKey, deadline: float) -> OpenPhoto:
        process = self._running_process()
        reply = process.open(key, deadline)
        taken_at = reply["taken_at"] and datetime.fromisoformat(reply["taken_at"])
        facts = CameraFacts(taken_at, reply["latitude"], reply["longitude"])

        def decode() -> DecodedImage:
            return self._with_restart(lambda: self._decode(key, self._deadline()))

        return OpenPhoto(reply["digest"], PhotoVersion(*reply["version"]), facts, decode)

    def _decode(self, key: _PhotoKey, deadline: float) -> DecodedImage:
        process = self._running_process()
        if process.photo != key:  # the process was restarted
            process.open(key, deadline)
        return process.decode(deadline)

    def _running_process(self) -> "_SandboxProcess":
        if self._closed:
            raise RuntimeError("the sandbox is closed")
        if self._process is None:
            self._process = _SandboxProcess(self._resize, self._limits)
        return self._process

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


class _SandboxCrashed(Exception):
    """The child ended before it replied."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class _SandboxProcess:
    """The parent's side of one child process. `photo` is the photo that it has open."""

    def __init__(self, resize: Resize, limits: Limits) -> None:
        self.photo: _PhotoKey | None = None
        self._timeout_s = limits.timeout_s
        self._is_new = True
        config = {"resize": asdict(resize), "limits": asdict(limits)}
        # -P: do not import from the current folder. A session of its own: Ctrl-C goes to the parent, which ends the child.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tagger.pipeline.sandbox", json.dumps(config)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def open(self, key: _PhotoKey, deadline: float) -> dict[str, Any]:
        """Open a photo in the child and return its digest, version and camera facts."""
        reply = self._call({"open": key}, deadline)
        self.photo = key
        return reply

    def decode(self, deadline: float) -> DecodedImage:
        """Decode the open photo."""
        reply = self._call({"decode": True}, deadline)
        height, width = reply["shape"]
        data = self._read(height * width * 3, deadline)
        pixels = np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)
        return DecodedImage(pixels, reply["width"], reply["height"])

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                _opened_pipe(pipe).close()
        self._exit_code()

    def _call(self, request: dict[str, object], deadline: float) -> dict[str, Any]:
        """Send a request and return the reply.

        Raises:
            PhotoFailed: the child reports it, or the reply took too long.
        """
        deadline += START_S if self._is_new else 0.0
        try:
            _opened_pipe(self._process.stdin).write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError:
            raise _SandboxCrashed(self._exit_code()) from None
        length = int.from_bytes(self._read(4, deadline))
        reply: dict[str, Any] = json.loads(self._read(length, deadline))
        self._is_new = False
        if "kind" in reply:
            raise PhotoFailed(FailureKind(reply["kind"]), reply["text"])
        return reply

    def _read(self, count: int, deadline: float) -> bytes:
        pipe = _opened_pipe(self._process.stdout)
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while count:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    raise PhotoFailed(FailureKind.TIMED_OUT, timeout_text(self._timeout_s))
                part = os.read(pipe.fileno(), count)
                if not part:
                    raise _SandboxCrashed(self._exit_code())
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def _exit_code(self) -> int | None:
        with suppress(
            subprocess.TimeoutExpired
        ):  # a process that hangs in the kernel ends when the disk responds
            self._process.wait(END_TIMEOUT_S)
        return self._process.returncode


def _opened_pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child process has no pipes")
    return pipe


def _crash_failure(code: int | None) -> tuple[FailureKind, str]:
    if code is None or code >= 0:
        text = f"an error in this program (the process that reads photos ended with code {code}); please report it"
        return FailureKind.INTERNAL, text
    text = (
        f"Reading it crashes the process that reads photos ({signal.Signals(-code).name}). The photo is damaged in a way that "
        "crashes a decoder, or needs more memory than there is. Restore it from a backup or save it again."
    )
    return FailureKind.CRASHED, text


def main(config: dict[str, Any], requests: BinaryIO, replies: BinaryIO) -> None:
    """Run the child: reply to requests until the parent closes the pipe."""
    _prefer_for_oom_kill()
    # A signal to the worker's process group must reach this process through the worker only.
    for ignored in (signal.SIGTERM, signal.SIGINT):
        signal.signal(ignored, signal.SIG_IGN)
    read = local_reader(Resize(**config["resize"]), Limits(**config["limits"]))
    photo: OpenPhoto | None = None
    for line in requests:
        request = json.loads(line)
        pixels = b""
        try:
            if "open" in request:
                location, path = request["open"]
                photo = read(open_source(location), path)
                reply = _open_reply(photo)
            else:
                assert photo is not None  # noqa: S101 - the parent opens before it decodes
                reply, pixels = _decode_reply(photo.decode())
        except PhotoFailed as failed:
            reply = asdict(failed.failure)
        except Exception as error:  # noqa: BLE001 - reported to the parent as a failure of this photo
            reply = asdict(internal_failure(error))
        document = json.dumps(reply).encode()
        replies.write(len(document).to_bytes(4) + document + pixels)
        replies.flush()


def _open_reply(photo: OpenPhoto) -> dict[str, object]:
    facts = photo.facts
    return {
        "digest": photo.digest,
        "version": [photo.version.size_bytes, photo.version.mtime_ns],
        "taken_at": facts.taken_at and facts.taken_at.isoformat(),
        "latitude": facts.latitude,
        "longitude": facts.longitude,
    }


def _decode_reply(image: DecodedImage) -> tuple[dict[str, object], bytes]:
    shape = {"shape": image.pixels.shape[:2], "width": image.width, "height": image.height}
    return shape, image.pixels.tobytes()


def _prefer_for_oom_kill() -> None:
    """Let Linux end this process rather than the worker when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    # Output of libraries on stdout must not mix with replies.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        main(json.loads(sys.argv[1]), sys.stdin.buffer, out)
