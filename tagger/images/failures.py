"""What readers trip over in a file → this photo's failure, in words that help."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.endings import ends_early
from tagger.photos.jpeg import scans_and_coding

_NOT_READ = (
    "unknown pixel mode",
    "unsupported",
    "cannot handle",
    "unknown data organization",
    "unknown photometric",
)
"""How Pillow's readers begin when they understand a file and cannot show it."""
_CUT_OFF = (
    "truncated",
    "unpack_from requires a buffer",
    "unexpected end of file",
    "buffer is not large enough",
)
_UNREAD_JPEG = {
    0xC3: "lossless",
    0xC7: "lossless",
    0xCB: "lossless",
    0xCF: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
}


@contextmanager
def failing_alone(data: bytes) -> Iterator[None]:
    """Turn whatever Pillow's readers trip over in a broken file into this photo's failure."""
    try:
        yield
    except PhotoFailed:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS, "The image has more pixels than the decoder allows. Scale it down."
        ) from error
    except Exception as error:
        # A broken file makes readers raise anything, MemoryError and RecursionError included.
        raise _failure_of(error, data) from error


def is_cut_off(error: Exception) -> bool:
    """Whether a reader came to the end of the file before the end of the image."""
    said = str(error).lower()
    return isinstance(error, EOFError) or any(words in said for words in _CUT_OFF)


def _failure_of(error: Exception, data: bytes) -> PhotoFailed:
    reason = _reason(error)
    if reason.lower().startswith(_NOT_READ):
        return _unsupported(reason)
    if is_cut_off(error) or ends_early(data):
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before the image does. Copy it again from where it came from.",
        )
    coding = _UNREAD_JPEG.get(scans_and_coding(data)[1]) if data.startswith(b"\xff\xd8\xff") else None
    if coding:
        return _unsupported(f"{coding} JPEG")
    said = f" ({reason})" if reason else ""
    return PhotoFailed(
        FailureKind.CORRUPT, f"The image is damaged{said}. Restore it from a backup or save it again."
    )


def _unsupported(reason: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"The image is stored in a way that is not read ({reason}). Convert it to JPEG or PNG.",
    )


def _reason(error: Exception) -> str:
    """What a reader says, if it says something in words; it may quote the file, so only what can be printed."""
    said = str(error) if isinstance(error, OSError | SyntaxError | ValueError) else ""
    printable = "".join(letter if letter.isprintable() else " " for letter in said)
    words = printable.split()
    return " ".join(words)[:200] if len(words) > 1 and "driver" not in said else ""
