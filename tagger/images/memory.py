"""The memory of images that are being decoded: an estimate for each, and a budget for all of them.

Many threads decode, each an image within the limit of pixels; without a common budget they could fill the machine.
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

from tagger.photos.formats import PhotoFormat

BUDGET_BYTES = 2 * 2**30
"""For all images in the process. An image that needs more is decoded alone."""
RESERVATION_LIMIT_S = 60.0
"""No image takes this long: a decoder that does hangs, and its reservation no longer counts."""
_CHECK_S = 1.0
_LARGE_BYTES = 64 * 2**20

_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16L": 2, "I;16B": 2, "I;16N": 2}
"""Bytes per pixel in Pillow's memory by mode; 4 for all other modes."""
_DECODER_BYTES = {PhotoFormat.WEBP: 12, PhotoFormat.AVIF: 8, PhotoFormat.HEIF: 8}
"""Bytes per pixel that decoders with buffers of their own need in addition, as measured."""
_COEFFICIENT_BYTES = 6
"""A progressive JPEG is held as three two-byte coefficients per pixel of its full size, even if decoded at a fraction."""


def needed_bytes(image: Image.Image, photo_format: PhotoFormat, full_size: tuple[int, int]) -> int:
    """Estimate the most memory that decoding an opened image takes. Its size may be a fraction of `full_size`."""
    pixels = image.width * image.height
    needed = pixels * (_PIXEL_BYTES.get(image.mode, 4) + _DECODER_BYTES.get(photo_format, 0))
    if photo_format is PhotoFormat.JPEG and "progressive" in image.info:
        needed += full_size[0] * full_size[1] * _COEFFICIENT_BYTES
    return needed


class MemoryBudget:
    """A number of bytes that threads share, first come, first served, so that large images are not starved."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.waiting: set[int] = set()
        """The ids of threads that wait."""
        self._changed = threading.Condition()  # guards the fields below
        self._queue: deque[object] = deque()
        self._reservations: dict[object, _Reservation] = {}

    @contextmanager
    def reserve(self, needed_bytes: int) -> Iterator[None]:
        """Reserve bytes inside the context; wait until they are free or nobody else holds any."""
        key = object()
        with self._changed:
            self._queue.append(key)
            self.waiting.add(threading.get_ident())
            while not (self._queue[0] is key and self._fits(needed_bytes)):
                self._changed.wait(_CHECK_S)
            self.waiting.discard(threading.get_ident())
            self._queue.popleft()
            self._reservations[key] = _Reservation(needed_bytes, time.monotonic())
            self._changed.notify_all()
        try:
            yield
        finally:
            if needed_bytes >= _LARGE_BYTES:
                trim_memory()
            with self._changed:
                del self._reservations[key]
                self._changed.notify_all()

    def _fits(self, needed_bytes: int) -> bool:
        expired_at = time.monotonic() - RESERVATION_LIMIT_S
        active = [each for each in self._reservations.values() if each.started_at > expired_at]
        reserved_bytes = sum(reservation.size_bytes for reservation in active)
        return reserved_bytes == 0 or reserved_bytes + needed_bytes <= self._size_bytes


@dataclass(frozen=True)
class _Reservation:
    """Bytes in use, and since when (monotonic seconds)."""

    size_bytes: int
    started_at: float


def trim_memory() -> None:
    """Return free memory to the system: glibc keeps what each thread's arena once needed, which adds up."""
    trim = _malloc_trim()
    if trim:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None  # not glibc
    return trim


MEMORY_BUDGET = MemoryBudget(BUDGET_BYTES)
"""The budget of this process."""
