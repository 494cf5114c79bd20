"""Prepares files for decoders: drops data that makes decoders slow or fail. Never raises on bad input."""

import re
from collections.abc import Iterator
from itertools import islice

from tagger.photos.containers import PNG_STILL, png_chunks
from tagger.photos.formats import PNG_SIGNATURE, PhotoFormat, detect_format, is_iso_media
from tagger.photos.jpeg import SEGMENT_LIMIT, from_first_scan, jpeg_parts

# Without colour profiles: a broken profile makes decoders fail.
_PNG_BARE = PNG_STILL - {b"iCCP", b"cICP"}
# Renaming the item hides it from decoders without moving any other data.
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03]...[^\xff]{4,6})Exif", re.DOTALL)
_GIF_EXTENSION, _GIF_IMAGE = 0x21, 0x2C


def readable_file(data: bytes) -> bytes | None:
    """Return the file for a decoder: JPEGs without the metadata before their first scan, which decoders skip slowly.

    None if it has so many segments or chunks that a decoder would take minutes.
    """
    if detect_format(data) is PhotoFormat.JPEG:
        return from_first_scan(data)
    count = sum(1 for _ in islice(_segments(data), SEGMENT_LIMIT + 1))
    return data if count <= SEGMENT_LIMIT else None


def bare_file(data: bytes) -> bytes | None:
    """Return a JPEG or PNG with only its still image (with an end marker, if a JPEG is truncated), or an AVIF without EXIF.

    For decoders that fail on data that viewers ignore. None if there is nothing to remove.
    """
    if is_iso_media(data):
        bare, renamed = _EXIF_ITEM.subn(rb"\1free", data)
        return bare if renamed else None
    photo_format = detect_format(data)
    if photo_format is PhotoFormat.PNG:
        return PNG_SIGNATURE + b"".join(chunk for name, chunk in png_chunks(data) if name in _PNG_BARE)
    parts = jpeg_parts(data) if photo_format is PhotoFormat.JPEG else None
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9" if parts else None


def _segments(data: bytes) -> Iterator[object]:
    photo_format = detect_format(data)
    if photo_format is PhotoFormat.PNG:
        return png_chunks(data)
    return _gif_blocks(data) if photo_format is PhotoFormat.GIF else iter(())


def _gif_blocks(data: bytes) -> Iterator[int]:
    """Yield the positions of the blocks before the first image: extensions, their sub-blocks, and junk."""
    colours = 3 * 2 ** ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0
    at, in_extension = 13 + colours, False
    while at < len(data) and (in_extension or data[at] != _GIF_IMAGE):
        yield at
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
        else:
            in_extension = data[at] == _GIF_EXTENSION
            at += 2 if in_extension else 1
