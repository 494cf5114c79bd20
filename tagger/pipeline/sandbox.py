"""Decodes photos in child processes: a photo that crashes or takes over its decoder has only the child.

The children (see sandbox_main) get the bytes of photos over pipes. They start without the environment and the
open files of this process, cannot open files or start programs (see confinement), in limited memory.
"""

import json
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Self, get_type_hints

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
from tagger.photos.files import PhotoBytes
from tagger.photos.formats import DIGEST_VERSION
from tagger.photos.source import PhotoSource
from tagger.pipeline import Limits, OpenPhoto
from tagger.pipeline.child_process import (
    ChildProcess,
    RunningChild,
    minimal_environment,
)
from tagger.pipeline.confinement import memory_beside_this_process
from tagger.pipeline.reader_pool import read_in_time
from tagger.processes.metrics import stage_timer

MODULE = "tagger.pipeline.sandbox_main"
_BUSY_TEXT = "This server has too many photos to decode. Send the photo again later."


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
            ChildProcess(
                MODULE,
                config,
                limits.timeout_s,
                environment=minimal_environment,
                must_stop=must_stop,
            )
            for _ in range(count)
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
                        running,
                        key,
                        photo.data,
                        resize,
                        decoded_by,
                        self._limits.max_pixels,
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


_ORIENTATIONS = (1, 8)


def _field(name: str, kind: Any) -> Any:
    limits: tuple[float, float] | None = (
        _ORIENTATIONS if name == "orientation" else None
    )
    if name in PHOTO_FACTS:
        limits = PHOTO_FACTS[name].limits
    least, most = limits or (None, None)
    return Annotated[kind, AfterValidator(_require_plain)], Field(ge=least, le=most)


# A photo's digest and camera facts, each of which `camera_facts` could give for some photo.
_OpenReply = create_model(
    "_OpenReply",
    __config__=ConfigDict(strict=True, allow_inf_nan=False),
    digest=(str, Field(pattern=f"^{DIGEST_VERSION}-[0-9a-f]{{64}}$")),
    **{name: _field(name, kind) for name, kind in get_type_hints(CameraFacts).items()},
)


def _opened(reply: dict[str, Any]) -> tuple[str, CameraFacts]:
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
    try:
        return _opened(reply)
    except ValueError as error:
        raise ValueError("facts that no photo has") from error


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
    try:
        decoded = _DecodeReply.model_validate(reply)
    except ValueError as error:
        raise ValueError("an image that no photo has") from error
    if decoded.width * decoded.height > max_pixels:
        raise ValueError("an image of more pixels than it decodes")
    side = resize.size
    pixels = np.frombuffer(child.read(side * side * 3), dtype=np.uint8).reshape(
        side, side, 3
    )
    return DecodedImage(pixels, decoded.width, decoded.height, decoded.damaged)


def _left_s(ends_at: float) -> float | None:
    return None if math.isinf(ends_at) else max(0.0, ends_at - time.monotonic())
