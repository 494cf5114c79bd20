"""What decoding may take, and how it fails: a budget of memory for all images, and failures with a remedy.

Many threads decode, each an image within the limit of pixels; without a common budget they could fill the
machine. The count is never less than what decoding takes, and little more: Pillow's pixels and what the
decoder of each format holds beside them. `tests/unit/test_odd_files.py` compares it with measurements.
Scaling is counted where it is done (`scaling_bytes`).
"""

import ctypes
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from PIL.ImageFile import ImageFile

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.formats import (
    SIXTEEN_BIT_MODES,
    DecoderMemory,
    PhotoFormat,
    detect_format,
    pixel_bytes,
)

# How Pillow's messages begin if it recognises a file but cannot decode it.
_UNSUPPORTED_PREFIXES = (
    "unknown pixel mode",
    "unsupported",
    "cannot handle",
    "unknown data organization",
    "unknown photometric",
)

_TRUNCATION_WORDS = (
    "truncated",
    "unpack_from requires a buffer",
    "unexpected end of file",
    "buffer is not large enough",
)


@contextmanager
def failing_alone(data: bytes) -> Iterator[None]:
    """Turn any exception of a decoder into `PhotoFailed`."""
    try:
        yield
    except PhotoFailed:
        raise
    except Exception as error:
        # Broken files make decoders raise any exception, including MemoryError and RecursionError.
        raise _failure_of(error, data) from error


def is_truncation(error: Exception) -> bool:
    """Whether a decoder reached the end of the file before the end of the image."""
    message = str(error).lower()
    return isinstance(error, EOFError) or any(
        words in message for words in _TRUNCATION_WORDS
    )


def _failure_of(error: Exception, data: bytes) -> PhotoFailed:
    reason = _reason(error)
    if reason.lower().startswith(_UNSUPPORTED_PREFIXES):
        return _unsupported(reason)
    photo_format = detect_format(data)
    if photo_format and photo_format.reader.has_unread_coding(data):
        return _unsupported("its coding")
    if is_truncation(error):
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before the image does. Copy it again from where it came from.",
        )
    details = f" ({reason})" if reason else ""
    return PhotoFailed(
        FailureKind.CORRUPT,
        f"The image is damaged{details}. Copy it again from where it came from, or restore it from a backup.",
    )


def _unsupported(reason: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"The image is stored in a way that is not read ({reason}). Convert it to JPEG or PNG.",
    )


def _reason(error: Exception) -> str:
    # The decoder's message if it is a sentence. It may quote the file: only what is printable stays.
    message = (
        str(error) if isinstance(error, OSError | SyntaxError | ValueError) else ""
    )
    printable = "".join(letter if letter.isprintable() else " " for letter in message)
    words = printable.split()
    return " ".join(words)[:200] if len(words) > 1 and "driver" not in message else ""


# The memory for all images in the process, or in all processes of one command. An image that needs
# more is decoded alone.
BUDGET_BYTES = 2 * 2**30

# A process that has less would decode even the photos of phones one by one.
SMALLEST_SHARE_BYTES = 256 * 2**20

# A decoder that takes longer hangs. Its reservation then holds others up no more.
RESERVATION_LIMIT_S = 300.0

_CHECK_S = 1.0

# After smaller images, memory is not returned to the system, which takes a tenth of a millisecond.
_LARGE_BYTES = 16 * 2**20

# A child process decodes smaller images without asking its parent for memory.
_SHARED_BYTES = 64 * 2**20


class MemoryBudget:
    """Bytes that threads share, first come, first served, so that large images are not starved."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes
        # In a child process: reserves a large image's bytes in the parent, which children share.
        self.reserve_elsewhere: Callable[[int], None] | None = None
        # The ids of threads that wait.
        self.waiting: set[int] = set()
        self._changed = threading.Condition()  # guards the fields below
        self._queue: deque[object] = deque()
        # The bytes in use, and since when (monotonic seconds).
        self._reservations: dict[object, tuple[int, float]] = {}

    def share(self, processes: int) -> None:
        """Keep this process's part of BUDGET_BYTES, which so many processes share out."""
        self._size_bytes = max(SMALLEST_SHARE_BYTES, BUDGET_BYTES // processes)

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
            self._reservations[key] = needed_bytes, time.monotonic()
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
        if all(started_at <= expired_at for _, started_at in reservations):
            return True
        reserved_bytes = sum(size_bytes for size_bytes, _ in reservations)
        return reserved_bytes + needed_bytes <= self._size_bytes


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


# The budget of this process.
MEMORY_BUDGET = MemoryBudget(BUDGET_BYTES)

# Memory per pixel in which gray of 16 bits becomes gray of 8 bits.
_EIGHT_BITS_BYTES = 6

# Tables and state of a decoder.
_FIXED_BYTES = 2**20

# Memory per pixel of the width: four rows of 8 bytes per pixel. PNG's decoder holds two rows.
_ROW_BYTES = 32


def decoder_memory(
    image: ImageFile, photo_format: PhotoFormat, data: bytes, full_size: tuple[int, int]
) -> DecoderMemory:
    """Count the memory of `image.load()`. The size of a JPEG may be a fraction of `full_size`."""
    held = pixel_bytes(image.mode, *image.size) + len(data)  # which most readers copy
    held += (
        image.width
        * image.height
        * _EIGHT_BITS_BYTES
        * (image.mode in SIXTEEN_BIT_MODES)
    )
    beside = photo_format.reader.memory(image, data, full_size)
    return DecoderMemory(
        held + beside.held_bytes + _FIXED_BYTES,
        image.width * _ROW_BYTES + beside.decoding_bytes,
    )
