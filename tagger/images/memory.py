"""Memory of images that are being decoded: what one takes, and room for those that are decoded at the same time.

Many threads decode, each photo within the limit of pixels; together they would still fill the machine.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

from PIL import Image

from tagger.images.formats import Format

ROOM_BYTES = 2 * 2**30
"""What all images in a process may take at a time. One that takes more is decoded alone."""
HELD_AT_MOST_S = 60.0
"""No image takes so long: a decoder that does hangs, and nobody waits for it any more."""
_LOOK_AGAIN_S = 1.0
_LARGE_BYTES = 64 * 2**20

_STORED_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""How Pillow keeps a pixel of a mode; of all others in four bytes."""
_DECODERS_BYTES = {Format.WEBP: 12, Format.AVIF: 8, Format.HEIF: 8}
"""What decoders that do not write into the image keep of a pixel beside it, as measured."""
_COEFFICIENTS_BYTES = 6
"""A progressive JPEG is kept as three coefficients of two bytes for each pixel, and cannot be decoded at a fraction."""


def needed_bytes(image: Image.Image, photo_format: Format, full_size: tuple[int, int]) -> int:
    """What decoding an opened image will take at most; its size may be a fraction of its `full_size`."""
    pixels = image.width * image.height
    needed = pixels * (_STORED_BYTES.get(image.mode, 4) + _DECODERS_BYTES.get(photo_format, 0))
    if photo_format is Format.JPEG and "progressive" in image.info:
        needed += full_size[0] * full_size[1] * _COEFFICIENTS_BYTES
    return needed


class Room:
    """A number of bytes that threads share; whoever comes first goes first, so that a large image is not passed over for ever."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.waiting: set[int] = set()
        """Threads, by their number, that wait for room."""
        self._changed = threading.Condition()  # guards all that follows
        self._queue: deque[object] = deque()
        self._holders: dict[object, _Holder] = {}

    @contextmanager
    def holding(self, needed_bytes: int) -> Iterator[None]:
        """Wait until there is room for so many bytes, or nobody else has any, and hold them meanwhile."""
        me = object()
        with self._changed:
            self._queue.append(me)
            self.waiting.add(threading.get_ident())
            while not (self._queue[0] is me and self._fits(needed_bytes)):
                self._changed.wait(_LOOK_AGAIN_S)
            self.waiting.discard(threading.get_ident())
            self._queue.popleft()
            self._holders[me] = _Holder(needed_bytes, time.monotonic())
            self._changed.notify_all()
        try:
            yield
        finally:
            if needed_bytes >= _LARGE_BYTES:
                give_back_memory()
            with self._changed:
                del self._holders[me]
                self._changed.notify_all()

    def _fits(self, needed_bytes: int) -> bool:
        lately = time.monotonic() - HELD_AT_MOST_S
        held_bytes = sum(holder.size_bytes for holder in self._holders.values() if holder.since_s > lately)
        return held_bytes == 0 or held_bytes + needed_bytes <= self._size_bytes


@dataclass(frozen=True)
class _Holder:
    """Bytes that are held, and since when."""

    size_bytes: int
    since_s: float


def give_back_memory() -> None:
    """Have the allocator return what is free: it keeps what each thread once needed, and all of that adds up."""
    trim = _malloc_trim()
    if trim:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # Another system's allocator, which has ways of its own.
    return trim


ROOM = Room(ROOM_BYTES)
"""This process's."""
