"""Photos read and decoded in a child process: a photo that ends the program that reads it ends only the child.

Slow, and for chunks that took their worker down before. The child imports no torch. Parent and child talk in lines
of JSON over pipes, pixels follow as bytes; nothing is unpickled.
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
from tagger.reading import Limits, OpenPhoto, reader_here, timed_out_text, unforeseen
from tagger.results import FileState

END_TIMEOUT_S = 5.0
START_S = 30.0
"""What the first answer of a child may take more: Python starts, and imports what reads photos."""

T = TypeVar("T")


class ChildReader:
    """Opens photos in a child process, which is started when it is needed and again after each that it did not survive.

    A photo is asked for again once its child has died: the first death may be an operator's or the kernel's doing.
    """

    def __init__(self, resize: Resize, limits: Limits) -> None:
        self._resize = resize
        self._limits = limits
        self._lock = threading.Lock()
        self._child: _Child | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closed = True  # a reader that is still amid a photo must not start another child
        self._end()

    def open(self, path: Path) -> OpenPhoto:
        """Raises:
        PhotoFailed: as reading in this process does; or it killed two children, or took too long.
        """
        return self._survived(lambda: self._open(path, self._until()))

    def _until(self) -> float:
        return time.monotonic() + self._limits.timeout_s

    def _survived(self, read: Callable[[], T]) -> T:
        with self._lock:
            try:
                return read()
            except _ChildDied:
                self._end()
            except PhotoFailed as failed:
                if failed.failure.kind is FailureKind.TIMED_OUT:
                    self._end()
                raise
            try:
                return read()
            except _ChildDied as died:
                self._end()
                raise PhotoFailed(*_blame(died.code)) from died

    def _open(self, path: Path, until: float) -> OpenPhoto:
        child = self._running()
        read = child.ask({"open": os.fspath(path)}, until)
        child.holds = path
        taken_at = read["taken_at"] and datetime.fromisoformat(read["taken_at"])
        facts = CameraFacts(taken_at, read["latitude"], read["longitude"])

        def decode() -> DecodedImage:
            return self._survived(lambda: self._decode(path, self._until()))

        return OpenPhoto(read["digest"], FileState(*read["file"]), facts, decode)

    def _decode(self, path: Path, until: float) -> DecodedImage:
        child = self._running()
        if child.holds != path:  # it is a new one
            child.ask({"open": os.fspath(path)}, until)
            child.holds = path
        decoded = child.ask({"decode": True}, until)
        height, width = decoded["shape"]
        data = child.read(height * width * 3, until)
        pixels = np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)
        return DecodedImage(pixels, decoded["width"], decoded["height"])

    def _running(self) -> "_Child":
        if self._closed:
            raise RuntimeError("nobody waits for this photo any more")
        if self._child is None:
            self._child = _Child(self._resize, self._limits)
        return self._child

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


class _ChildDied(Exception):
    """It went before it answered."""

    def __init__(self, code: int | None) -> None:
        super().__init__(f"exit code {code}")
        self.code = code


class _Child:
    """One child process and the pipes to it; `holds`: the photo it has open."""

    def __init__(self, resize: Resize, limits: Limits) -> None:
        self.holds: Path | None = None
        self._timeout_s = limits.timeout_s
        self._is_new = True
        settings = {"resize": asdict(resize), "limits": asdict(limits)}
        # -P: nothing is imported from the folder this was started in.
        # A session of its own: Ctrl-C is for the parent, who ends the child.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tagger.child", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )

    def ask(self, question: dict[str, object], until: float) -> dict[str, Any]:
        """Its answer.

        Raises:
            PhotoFailed: as the child says, or it took too long.
        """
        until += START_S if self._is_new else 0.0
        try:
            _pipe(self._process.stdin).write(json.dumps(question).encode() + b"\n")
        except BrokenPipeError:
            raise _ChildDied(self._code()) from None
        length = int.from_bytes(self.read(4, until))
        answer: dict[str, Any] = json.loads(self.read(length, until))
        self._is_new = False
        if "kind" in answer:
            raise PhotoFailed(FailureKind(answer["kind"]), answer["text"])
        return answer

    def read(self, count: int, until: float) -> bytes:
        """So many bytes of the child's."""
        pipe = _pipe(self._process.stdout)
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while count:
                if not selector.select(max(0.0, until - time.monotonic())):
                    raise PhotoFailed(FailureKind.TIMED_OUT, timed_out_text(self._timeout_s))
                part = os.read(pipe.fileno(), count)
                if not part:
                    raise _ChildDied(self._code())
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def end(self) -> None:
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                _pipe(pipe).close()
        self._code()

    def _code(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel ends when the disk answers
            self._process.wait(END_TIMEOUT_S)
        return self._process.returncode


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise RuntimeError("the child was started with pipes")
    return pipe


def _blame(code: int | None) -> tuple[FailureKind, str]:
    if code is None or code >= 0:
        text = f"an error in this program (the process that reads photos ended with code {code}); please report it"
        return FailureKind.INTERNAL, text
    text = (
        f"Reading it ends the program that reads photos ({signal.Signals(-code).name}). It is damaged in a way that a decoder "
        "does not survive, or needs more memory than there is. Restore it from a backup or save it again."
    )
    return FailureKind.CRASHED, text


def main(settings: dict[str, Any], questions: BinaryIO, answers: BinaryIO) -> None:
    """The child's life: answer questions until there are no more."""
    _die_first()
    # Whoever stops the worker by its group of processes stops this one through the worker.
    for asked in (signal.SIGTERM, signal.SIGINT):
        signal.signal(asked, signal.SIG_IGN)
    read = reader_here(Resize(**settings["resize"]), Limits(**settings["limits"]))
    photo: OpenPhoto | None = None
    for line in questions:
        question = json.loads(line)
        pixels = b""
        try:
            if "open" in question:
                photo = read(Path(question["open"]))
                answer = _opened(photo)
            else:
                assert photo is not None  # noqa: S101 - the parent opens before it decodes
                answer, pixels = _decoded(photo.decode())
        except PhotoFailed as failed:
            answer = asdict(failed.failure)
        except Exception as error:  # noqa: BLE001 - told to the parent, as a failure of this photo
            answer = asdict(unforeseen(error))
        document = json.dumps(answer).encode()
        answers.write(len(document).to_bytes(4) + document + pixels)
        answers.flush()


def _opened(photo: OpenPhoto) -> dict[str, object]:
    facts = photo.facts
    return {
        "digest": photo.digest,
        "file": [photo.file.size_bytes, photo.file.mtime_ns],
        "taken_at": facts.taken_at and facts.taken_at.isoformat(),
        "latitude": facts.latitude,
        "longitude": facts.longitude,
    }


def _decoded(image: DecodedImage) -> tuple[dict[str, object], bytes]:
    shape = {"shape": image.pixels.shape[:2], "width": image.width, "height": image.height}
    return shape, image.pixels.tobytes()


def _die_first() -> None:
    """Where memory runs out, Linux ends this process rather than the worker."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


if __name__ == "__main__":
    # What libraries print must not come between the answers.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        main(json.loads(sys.argv[1]), sys.stdin.buffer, out)
