"""The memory of images that are being decoded: a budget for all of them.

Many threads decode, each an image within the limit of pixels; without a common budget they could fill the machine. How much an
image needs is counted in decoder_memory and resize.
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

BUDGET_BYTES = 2 * 2**30
"""For all images in the process. An image that needs more is decoded alone."""
RESERVATION_LIMIT_S = 300.0
"""No image takes this long: a decoder that does hangs, and no longer keeps others from decoding one at a time."""
_CHECK_S = 1.0
_LARGE_BYTES = 16 * 2**20
"""What smaller images leave in the arenas of threads is little. Returning memory takes a tenth of a millisecond."""

_SHARED_BYTES = 64 * 2**20
"""A child process decodes smaller images without asking its parent for memory."""


class MemoryBudget:
    """A number of bytes that threads share, first come, first served, so that large images are not starved."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        self.reserve_elsewhere: Callable[[int], None] | None = None
        """In a child process: reserves a large image's bytes in the parent, too, which several children share."""
        self.waiting: set[int] = set()
        """The ids of threads that wait."""
        self._changed = threading.Condition()  # guards the fields below
        self._queue: deque[object] = deque()
        self._reservations: dict[object, _Reservation] = {}

    @contextmanager
    def reserve(self, needed_bytes: int) -> Iterator[None]:
        """Reserve bytes inside the context; wait until they are free or nobody else holds any."""
        key = object()
        if self.reserve_elsewhere is not None and needed_bytes >= _SHARED_BYTES:
            self.reserve_elsewhere(needed_bytes)
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
        reservations = self._reservations.values()
        if all(reservation.started_at <= expired_at for reservation in reservations):
            return True
        return sum(reservation.size_bytes for reservation in reservations) + needed_bytes <= self._size_bytes


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
