"""Reads and decodes photos in a child process: a photo that crashes its reader ends only the child.

Slow, and used for chunks that have killed workers. The child does not import torch, and its memory is limited.
"""

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Self

import numpy as np

from tagger.images import DecodedImage, Resize
from tagger.metadata.camera import CameraFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.source import PhotoSource, open_source
from tagger.pipeline.child_main import Reply, reply_to_parent
from tagger.pipeline.child_process import ChildProcess, RunningChild
from tagger.pipeline.memory_limit import limit_memory, memory_beside_this_process
from tagger.pipeline.requests import Limits, OpenPhoto, local_reader

_PhotoKey = tuple[str, str]
"""The source's location and the photo's path in it."""


class SandboxReader:
    """Opens photos in a child process, which is started on demand and restarted after each crash.

    A photo whose reading ends the child is tried a second time: an operator or the kernel may have ended the first child.
    `must_stop` ends each wait for the child.
    """

    def __init__(self, resize: Resize, limits: Limits, must_stop: Callable[[], bool] = lambda: False) -> None:
        config = {
            "resize": asdict(resize),
            "limits": asdict(limits),
            "memory_bytes": memory_beside_this_process(),
        }
        self._child = ChildProcess("tagger.pipeline.sandbox", config, limits.timeout_s, must_stop=must_stop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._child.close()

    def open(self, source: PhotoSource, path: str) -> OpenPhoto:
        """Open a photo; a `Reader`.

        Raises:
            PhotoFailed: as reading in this process, or the photo crashed two children, or it took too long.
            ChildKilled: two children died, and at least one was killed.
            ParentStopping: `must_stop` became true.
        """
        key = source.location, path
        reply = self._child.run(lambda child: _open(child, key))
        taken_at = reply["taken_at"] and datetime.fromisoformat(reply["taken_at"])
        facts = CameraFacts(taken_at, reply["latitude"], reply["longitude"])

        def decode() -> DecodedImage:
            return self._child.run(lambda child: _decode(child, key))

        return OpenPhoto(reply["digest"], PhotoVersion(*reply["version"]), facts, decode)

    def survives(self, for_s: float) -> bool:
        """Whether a child without a photo lives this long. If not, something outside kills the children."""
        return self._child.survives(for_s)


def _open(child: RunningChild, key: _PhotoKey) -> dict[str, Any]:
    """Open a photo in the child and return its digest, version and camera facts."""
    reply = child.call({"open": key})
    child.photo = key
    return reply


def _decode(child: RunningChild, key: _PhotoKey) -> DecodedImage:
    if child.photo != key:  # the child was restarted
        _open(child, key)
    reply = child.call({"decode": True})
    height, width = reply["shape"]
    pixels = np.frombuffer(child.read(height * width * 3), dtype=np.uint8).reshape(height, width, 3)
    return DecodedImage(pixels, reply["width"], reply["height"])


# --- In the child ---


def _make_answer(config: dict[str, Any]) -> Callable[[dict[str, Any]], Reply]:
    limit_memory(config["memory_bytes"])
    read = local_reader(Resize(**config["resize"]), Limits(**config["limits"]))
    photo: OpenPhoto | None = None

    def answer(request: dict[str, Any]) -> Reply:
        nonlocal photo
        if "open" in request:
            location, path = request["open"]
            photo = read(open_source(location), path)
            return _open_reply(photo), b""
        assert photo is not None  # noqa: S101 - the parent opens before it decodes
        return _decode_reply(photo.decode())

    return answer


def _open_reply(photo: OpenPhoto) -> dict[str, object]:
    facts = photo.facts
    return {
        "digest": photo.digest,
        "version": [photo.version.size_bytes, photo.version.mtime_ns],
        "taken_at": facts.taken_at and facts.taken_at.isoformat(),
        "latitude": facts.latitude,
        "longitude": facts.longitude,
    }


def _decode_reply(image: DecodedImage) -> Reply:
    shape = {"shape": image.pixels.shape[:2], "width": image.width, "height": image.height}
    return shape, image.pixels.tobytes()


if __name__ == "__main__":
    reply_to_parent(_make_answer)
