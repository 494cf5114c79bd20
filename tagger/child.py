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
import time
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from tagger.errors import FailureKind, PhotoFailed
from tagger.images import DecodedImage, Resize
from tagger.metadata.camera import CameraFacts
from tagger.reading import Limits, OpenPhoto, reader_here, timed_out_text, unforeseen
from tagger.results import FileState

END_TIMEOUT_S = 5.0


class ChildReader:
    """Opens photos in a child process, which is started when it is needed and again after each that it did not survive."""

    def __init__(self, resize: Resize, limits: Limits) -> None:
        self._resize = resize
        self._limits = limits
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._end()

    def open(self, path: Path) -> OpenPhoto:
        """Raises:
        PhotoFailed: as reading in this process does; or it killed the child, or took too long.
        """
        read = self._ask({"open": os.fspath(path)})
        taken_at = read["taken_at"] and datetime.fromisoformat(read["taken_at"])
        facts = CameraFacts(taken_at, read["latitude"], read["longitude"])
        return OpenPhoto(read["digest"], FileState(*read["file"]), facts, self._decode)

    def _decode(self) -> DecodedImage:
        decoded = self._ask({"decode": True})
        height, width = decoded["shape"]
        pixels = np.frombuffer(self._read(height * width * 3), dtype=np.uint8).reshape(height, width, 3)
        return DecodedImage(pixels, decoded["width"], decoded["height"])

    def _ask(self, question: dict[str, object]) -> dict[str, Any]:
        process = self._running()
        try:
            _write_line(process.stdin, question)
        except BrokenPipeError:
            raise self._crashed() from None
        self._until = time.monotonic() + self._limits.timeout_s
        length = int.from_bytes(self._read(4))
        answer: dict[str, Any] = json.loads(self._read(length))
        if "kind" in answer:
            raise PhotoFailed(FailureKind(answer["kind"]), answer["text"])
        return answer

    def _read(self, count: int) -> bytes:
        """So many bytes of the child's, within the time for one photo."""
        pipe = self._running().stdout
        parts: list[bytes] = []
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while count:
                if not selector.select(max(0.0, self._until - time.monotonic())):
                    self._end()
                    raise PhotoFailed(FailureKind.TIMED_OUT, timed_out_text(self._limits.timeout_s))
                part = os.read(pipe.fileno(), count)
                if not part:
                    raise self._crashed()
                parts.append(part)
                count -= len(part)
        return b"".join(parts)

    def _running(self) -> Any:
        if self._process is None:
            settings = {"resize": asdict(self._resize), "limits": asdict(self._limits)}
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
        return self._process

    def _crashed(self) -> PhotoFailed:
        process = self._running()
        with suppress(subprocess.TimeoutExpired):
            process.wait(END_TIMEOUT_S)
        code = process.returncode
        self._end()
        return PhotoFailed(
            FailureKind.CRASHED,
            f"Reading it ends the program that reads photos ({_end_of(code)}). It is damaged in a way that a decoder does not "
            "survive, or needs more memory than there is. Restore it from a backup or save it again.",
        )

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                if pipe is not None:
                    pipe.close()
        with suppress(subprocess.TimeoutExpired):  # one that hangs in the kernel ends when the disk answers
            process.wait(END_TIMEOUT_S)


def _end_of(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name


def main(settings: dict[str, Any], questions: BinaryIO, answers: BinaryIO) -> None:
    """The child's life: answer questions until there are no more."""
    _die_first()
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


def _write_line(pipe: Any, document: dict[str, object]) -> None:
    pipe.write(json.dumps(document).encode() + b"\n")
    pipe.flush()


if __name__ == "__main__":
    # What libraries print must not come between the answers.
    with os.fdopen(os.dup(1), "wb") as out:
        os.dup2(2, 1)
        main(json.loads(sys.argv[1]), sys.stdin.buffer, out)
