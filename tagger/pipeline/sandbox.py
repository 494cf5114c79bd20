"""Decodes photos in child processes: a photo that crashes or takes over its decoder has only the child.

The children (see sandbox_main) get the bytes of photos over pipes. They start without the environment and the
open files of this process, cannot open files or start programs (see confinement), in limited memory. A child
that dies is replaced by another.

Parent and child send each other lines of JSON over pipes, followed by raw bytes; nothing is unpickled.
"""

from __future__ import annotations

import fcntl
import json
import math
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any, Self, TypeVar, get_type_hints

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    create_model,
)

from tagger.errors import FailureKind, PhotoFailed
from tagger.metadata.camera import short_text
from tagger.photos import PHOTO_FACTS, CameraFacts
from tagger.photos.decoding import DecodedImage, Resize
from tagger.photos.decoding.limits import MEMORY_BUDGET
from tagger.photos.files import PhotoBytes
from tagger.photos.formats import DIGEST_VERSION
from tagger.photos.source import PhotoSource
from tagger.pipeline import (
    Limits,
    OpenPhoto,
    read_photo_bytes,
    timeout_text,
)
from tagger.pipeline.confinement import memory_beside_this_process
from tagger.processes.metrics import stage_timer

MODULE = "tagger.pipeline.sandbox_main"
_BUSY_TEXT = "This server has too many photos to decode. Send the photo again later."


T = TypeVar("T")


class Sandbox:
    """Decodes photos in at most `count` child processes, started on demand and restarted after a crash.

    A photo that ends its child is tried a second time: an operator or the kernel may have ended the first
    child. `must_stop` ends each wait for a child. Thread-safe.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        count: int = 1,
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self._limits = limits
        self._must_stop = must_stop
        config = {
            "max_pixels": limits.max_pixels,
            "memory_bytes": memory_beside_this_process(),
        }
        self._children = [
            ChildProcess(config, limits.timeout_s, must_stop) for _ in range(count)
        ]
        self._free = self._children.copy()
        self._changed = threading.Condition()
        # The ids of threads that are waiting for a child, whose time is limited here.
        self.threads: set[int] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def open(self, photo: PhotoBytes, *, ends_at: float = math.inf) -> OpenPhoto:
        """Open a photo that is in memory; as `open_bytes`, but in a child.

        `ends_at` (monotonic seconds) limits the time further, here and in `OpenPhoto.decode`.

        Raises:
            PhotoFailed: two children ended while they had the photo, or it took too long.
            ParentStopping: `must_stop` became true.
        """
        if _left_s(ends_at) == 0:
            raise PhotoFailed(FailureKind.TIMED_OUT, _BUSY_TEXT)
        key = object()
        max_pixels = self._limits.max_pixels
        with stage_timer("digest"), self._child(key, ends_at) as child:
            started_at = time.monotonic()
            digest, facts = child.run(
                lambda running: _open(running, key, photo.data, ends_at)
            )
            # The start of a child does not count.
            decoded_by = ends_at + time.monotonic() - started_at

        def decode(resize: Resize) -> DecodedImage:
            with stage_timer("decode"), self._child(key, decoded_by) as child:
                return child.run(
                    lambda running: _decode(
                        running, key, photo.data, resize, decoded_by, max_pixels
                    )
                )

        return OpenPhoto(digest, photo.version, facts, decode)

    def decode(self, photo: PhotoBytes, resize: Resize) -> DecodedImage:
        """Decode a photo in a child; raises as `open`."""
        return self.open(photo).decode(resize)

    def read(self, source: PhotoSource, path: str) -> OpenPhoto:
        """Read a photo here, within the time limit, and open it; raises as `open`."""
        return self.open(read_in_time(source, path, self._limits, self._must_stop))

    def close(self) -> None:
        """End the children. Calls in progress in other threads fail."""
        for child in self._children:
            child.close()

    @contextmanager
    def _child(self, key: object, ends_at: float) -> Iterator[ChildProcess]:
        # Take a free child, preferably the one that has the photo open, until the end of the context.
        def preference(child: ChildProcess) -> int:
            if not child.is_started:
                return 2
            return 1 if child.photo is None else 0 if child.photo is key else 3

        self.threads.add(threading.get_ident())
        try:
            with self._changed:
                if not self._changed.wait_for(lambda: self._free, _left_s(ends_at)):
                    raise PhotoFailed(FailureKind.TIMED_OUT, _BUSY_TEXT)
                child = min(self._free, key=preference)
                self._free.remove(child)
            try:
                yield child
            finally:
                with self._changed:
                    self._free.append(child)
                    self._changed.notify()
        finally:
            self.threads.discard(threading.get_ident())


def _require_plain(value: object) -> object:
    if isinstance(value, str) and short_text(value) != (value or None):
        raise ValueError("not a short line of printable text")
    if isinstance(value, datetime) and value.tzinfo is not None:
        raise ValueError("not a local time")
    return value


_LIMITS = {name: fact.limits for name, fact in PHOTO_FACTS.items()}
_LIMITS["orientation"] = (1, 8)


def _field(name: str, kind: Any) -> Any:
    least, most = _LIMITS.get(name) or (None, None)
    return Annotated[kind, AfterValidator(_require_plain)], Field(ge=least, le=most)


# A photo's digest and camera facts, each of which `camera_facts` could give for some photo.
_OpenReply = create_model(
    "_OpenReply",
    __config__=ConfigDict(strict=True, allow_inf_nan=False),
    digest=(str, Field(pattern=f"^{DIGEST_VERSION}-[0-9a-f]{{64}}$")),
    **{name: _field(name, kind) for name, kind in get_type_hints(CameraFacts).items()},
)


def _opened(reply: dict[str, Any]) -> tuple[str, CameraFacts]:
    # The digest and the facts of a reply. Raises ValueError: no photo has them.
    opened = _OpenReply.model_validate_json(json.dumps(reply)).model_dump()
    if (opened["latitude"] is None) != (opened["longitude"] is None):
        raise ValueError("half a position")
    return opened.pop("digest"), CameraFacts(**opened)


class _DecodeReply(BaseModel):
    # The upright size of a photo whose pixels follow.
    model_config = ConfigDict(strict=True)

    width: PositiveInt
    height: PositiveInt
    damaged: bool


def _open(
    child: RunningChild, key: object, data: bytes, ends_at: float
) -> tuple[str, CameraFacts]:
    # Open a photo in the child and return its digest and camera facts.
    reply = child.call({"open": True}, data, most_s=_left_s(ends_at))
    child.photo = key
    return _opened(reply)


def _decode(
    child: RunningChild,
    key: object,
    data: bytes,
    resize: Resize,
    ends_at: float,
    max_pixels: int,
) -> DecodedImage:
    if (
        child.photo is not key
    ):  # the child was restarted, or had another photo meanwhile
        _open(child, key, data, ends_at)
    child.photo = None
    reply = child.call({"decode": asdict(resize)}, most_s=_left_s(ends_at))
    decoded = _DecodeReply.model_validate(reply)
    if decoded.width * decoded.height > max_pixels:
        raise ValueError("an image of more pixels than it decodes")
    side = resize.size
    pixels = np.frombuffer(child.read(side * side * 3), dtype=np.uint8).reshape(
        side, side, 3
    )
    return DecodedImage(pixels, decoded.width, decoded.height, decoded.damaged)


def _left_s(ends_at: float) -> float | None:
    return None if math.isinf(ends_at) else max(0.0, ends_at - time.monotonic())


def read_in_time(
    source: PhotoSource,
    path: str,
    limits: Limits,
    must_stop: Callable[[], bool] = lambda: False,
) -> PhotoBytes:
    """Read one whole photo. A read that hangs is left to its thread.

    Raises:
        PhotoFailed: as `PhotoSource.read`, or it took too long.
        ParentStopping: `must_stop` became true.
    """
    result: Future[PhotoBytes] = Future()

    def read() -> None:
        try:
            result.set_result(read_photo_bytes(source, path, limits))
        except BaseException as error:  # noqa: BLE001 - raised to the caller
            result.set_exception(error)

    # A daemon thread: one that hangs in the kernel must not keep the process alive.
    threading.Thread(target=read, name="read", daemon=True).start()
    deadline = time.monotonic() + limits.timeout_s
    while not wait(
        [result], max(0.0, min(STOP_CHECK_S, deadline - time.monotonic()))
    ).done:
        if must_stop():
            raise ParentStopping
        if time.monotonic() > deadline:
            raise PhotoFailed(FailureKind.TIMED_OUT, timeout_text(limits.timeout_s))
    return result.result()


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


class ParentStopping(Exception):
    """The wait for the child ended because the parent has to stop; the photo has no result."""


class ChildDied(Exception):
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
    """A child process, started on demand and restarted after it died or was given up.

    `config` is the child's first line. `must_stop` ends each wait.
    """

    def __init__(
        self,
        config: Mapping[str, object],
        timeout_s: float,
        must_stop: Callable[[], bool],
    ) -> None:
        self._config = config
        self._timeout_s = timeout_s
        self._must_stop = must_stop
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
        if self._process is not None and self._process.is_retired:
            self._end()
        while True:
            if self._closed:
                raise RuntimeError("the child process is closed")
            if self._process is None:
                self._process = RunningChild(
                    self._config, self._timeout_s, self._must_stop
                )
            try:
                return work(self._process)
            except ChildDied as died:
                self._end()
                if died.code == -signal.SIGXCPU:
                    text = (
                        f"Decoding it took longer than {self._timeout_s:g} s and was given up. Save it "
                        "again, smaller or as a plain JPEG. TAGGER_READ_TIMEOUT_S allows more time."
                    )
                    raise PhotoFailed(FailureKind.TIMED_OUT, text) from died
                deaths += 1
                if deaths == MOST_DEATHS:
                    raise _failure_of(died.code) from died
            except (ValueError, RecursionError) as invalid:
                self._end()
                reason = str(invalid).partition("\n")[0]
                what = f"the process that reads photos sent nonsense: {reason}"
                text = f"an error in this program ({what}); please report it"
                raise PhotoFailed(FailureKind.INTERNAL, text) from invalid
            except ParentStopping:
                self._end()
                raise

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
        config: Mapping[str, object],
        timeout_s: float,
        must_stop: Callable[[], bool],
    ) -> None:
        self.photo: object = None
        self._timeout_s = timeout_s
        self._start_s = START_S
        self._must_stop = must_stop
        # -P: no import from the current folder. A session of its own: Ctrl-C goes to the parent only.
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            env=minimal_environment(),
            start_new_session=True,
        )
        self._requests, self._has_room = _opened_pipe(
            self._process.stdin, select.POLLOUT
        )
        self._replies, self._has_reply = _opened_pipe(
            self._process.stdout, select.POLLIN
        )
        os.set_blocking(self._requests.fileno(), False)
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
            ValueError, RecursionError: the reply is not one that the child's program sends.
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
            kind = FailureKind(str(reply["kind"]))
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
        reply = json.loads(self.read(length))
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


def _opened_pipe(pipe: Any, event: int) -> tuple[IO[bytes], select.poll]:
    # The pipe, made larger, and what waits for its event.
    with suppress(
        OSError, AttributeError
    ):  # not Linux, or the user's pipes have their most memory
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    poll = select.poll()
    poll.register(pipe, event)
    return pipe, poll
