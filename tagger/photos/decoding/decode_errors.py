"""Turns errors of decoders into failures of the photo that say what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from tagger.errors import FailureKind, PhotoFailed
from tagger.photos.formats import PhotoFormat, detect_format
from tagger.photos.jpeg import scans_and_coding
from tagger.photos.tiff import open_tiff

_UNSUPPORTED_PREFIXES = (
    "unknown pixel mode",
    "unsupported",
    "cannot handle",
    "unknown data organization",
    "unknown photometric",
)
"""How Pillow's messages begin if it recognises a file but cannot decode it."""
_TRUNCATION_WORDS = (
    "truncated",
    "unpack_from requires a buffer",
    "unexpected end of file",
    "buffer is not large enough",
)
_UNSUPPORTED_JPEG = {
    0xC3: "lossless",
    0xC7: "lossless",
    0xCB: "lossless",
    0xCF: "lossless",
    0xC5: "hierarchical",
    0xC6: "hierarchical",
    0xCD: "hierarchical",
    0xCE: "hierarchical",
}
_BOX_LIMIT = 10_000


@contextmanager
def failing_alone(data: bytes) -> Iterator[None]:
    """Turn any exception of a decoder into `PhotoFailed`."""
    try:
        yield
    except PhotoFailed:
        raise
    except Image.DecompressionBombError as error:
        raise PhotoFailed(
            FailureKind.TOO_MANY_PIXELS, "The image has more pixels than the decoder allows. Scale it down."
        ) from error
    except Exception as error:
        # Broken files make decoders raise any exception, including MemoryError and RecursionError.
        raise _failure_of(error, data) from error


def is_truncation(error: Exception) -> bool:
    """Whether a decoder reached the end of the file before the end of the image."""
    message = str(error).lower()
    return isinstance(error, EOFError) or any(words in message for words in _TRUNCATION_WORDS)


def _failure_of(error: Exception, data: bytes) -> PhotoFailed:
    reason = _reason(error)
    if reason.lower().startswith(_UNSUPPORTED_PREFIXES):
        return _unsupported(reason)
    if is_truncation(error) or ends_early(data):
        return PhotoFailed(
            FailureKind.TRUNCATED,
            "The file ends before the image does. Copy it again from where it came from.",
        )
    coding = (
        _UNSUPPORTED_JPEG.get(scans_and_coding(data)[1]) if detect_format(data) is PhotoFormat.JPEG else None
    )
    if coding:
        return _unsupported(f"{coding} JPEG")
    details = f" ({reason})" if reason else ""
    return PhotoFailed(
        FailureKind.CORRUPT, f"The image is damaged{details}. Restore it from a backup or save it again."
    )


def _unsupported(reason: str) -> PhotoFailed:
    return PhotoFailed(
        FailureKind.UNSUPPORTED,
        f"The image is stored in a way that is not read ({reason}). Convert it to JPEG or PNG.",
    )


def _reason(error: Exception) -> str:
    """The decoder's message if it is a sentence. It may quote the file, so only printable characters are kept."""
    message = str(error) if isinstance(error, OSError | SyntaxError | ValueError) else ""
    printable = "".join(letter if letter.isprintable() else " " for letter in message)
    words = printable.split()
    return " ".join(words)[:200] if len(words) > 1 and "driver" not in message else ""


def ends_early(data: bytes) -> bool:
    """Whether the rest of a PNG, WebP, TIFF, HEIC or AVIF file is missing. False for other formats and in case of doubt."""
    match detect_format(data):
        case PhotoFormat.PNG:
            return b"IEND" not in data[-(2**16) :]
        case PhotoFormat.WEBP:
            return 8 + int.from_bytes(data[4:8], "little") > len(data)
        case PhotoFormat.AVIF | PhotoFormat.HEIF:
            return _boxes_end_early(data)
        case PhotoFormat.TIFF:
            return _tiff_ends_early(data)
        case _:
            return False


def _boxes_end_early(data: bytes) -> bool:
    at = 0
    for _ in range(_BOX_LIMIT):
        if at >= len(data):
            break
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: the box extends to the end of the file
            return False
        at += length
    return at > len(data)


def _tiff_ends_early(data: bytes) -> bool:
    block = open_tiff(data)
    if block is None:
        return False
    directory = block.directory(block.first)
    if directory is None:
        return block.first + 2 > len(data)
    starts = block.integers(directory.tags.get(273)) or block.integers(directory.tags.get(324))
    sizes = block.integers(directory.tags.get(279)) or block.integers(directory.tags.get(325))
    return any(start + size > len(data) for start, size in zip(starts, sizes, strict=False))
