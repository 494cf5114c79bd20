"""Errors of decoders become failures of the photo that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.formats import detect_format

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
    except Image.DecompressionBombError as error:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS,
            "The image has more pixels than the decoder allows. Scale it down.",
        ) from error
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
