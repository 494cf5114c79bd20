"""WebP: RIFF chunks, of which some are the image, and some hold EXIF and XMP."""

import struct
from collections.abc import Iterator

from PIL.ImageFile import ImageFile
from PIL.WebPImagePlugin import WebPImageFile

from tagger.photos.formats.reader import Blocks, DecoderMemory, FormatReader, check_pixels, opened
from tagger.photos.jpeg import EXIF, SEGMENT_LIMIT, Part
from tagger.photos.tiff import first_with_tags

_IMAGE = {b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"}
# Memory per pixel: two frames and a copy, always with transparency.
_FRAME_BYTES = 12


def _open(data: bytes, max_pixels: int) -> ImageFile:
    # Pillow creates the decoder with its canvas while reading the header.
    if data[12:16] == b"VP8X" and len(data) >= 30:
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        check_pixels(width, height, max_pixels)
    return opened(WebPImageFile, data, max_pixels)


def _parts(data: bytes) -> tuple[Part, ...] | None:
    parts: list[Part] = []
    canvas: Part = b""
    for count, (kind, chunk) in enumerate(_chunks(data)):
        if count >= SEGMENT_LIMIT:
            return None
        if kind in _IMAGE:
            parts.append(chunk)
        elif kind == b"VP8X":
            canvas = chunk[12:18]
        # The canvas size counts only for animations: writing EXIF into a plain WebP adds a VP8X header.
        if kind == b"ANIM":
            parts.append(canvas)
    return tuple(parts)


def _exif(data: bytes) -> bytes | None:
    blocks = (bytes(chunk[8:]) for kind, chunk in _chunks(data) if kind == b"EXIF")
    return first_with_tags(block.removeprefix(EXIF) for block in blocks)


def _blocks(data: bytes) -> Blocks:
    packets = (bytes(chunk[8:]) for kind, chunk in _chunks(data) if kind == b"XMP ")
    return Blocks(xmp=next(packets, None), exif=_exif(data))


def _chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (kind, chunk without padding); the last chunk may be truncated."""
    view = memoryview(data)
    at = 12
    for _ in range(SEGMENT_LIMIT + 1):
        if at + 8 > len(data):
            return
        kind, length = struct.unpack_from("<4sI", data, at)
        yield kind, view[at : at + 8 + length]
        at += 8 + length + length % 2


def _memory(image: ImageFile, _data: bytes, _full_size: tuple[int, int]) -> DecoderMemory:
    return DecoderMemory(image.width * image.height * _FRAME_BYTES)


READER = FormatReader(
    _open,
    image_parts=_parts,
    may_have_image=lambda data: bool(_parts(data)),
    exif=_exif,
    blocks=_blocks,
    memory=_memory,
)
