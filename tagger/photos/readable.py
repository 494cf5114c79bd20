"""Files as decoders get them: without what makes decoders slow, and, when they trip, without what is beside the picture.

Never raises on bad input.
"""

import re
from collections.abc import Iterator
from itertools import islice

from tagger.photos.containers import PNG_SIGNATURE, PNG_STILL, png_chunks
from tagger.photos.jpeg import SEGMENT_LIMIT, from_first_scan, jpeg_parts

_JPEG = b"\xff\xd8\xff"
# A broken profile is one of the things that readers trip over.
_PNG_BARE = PNG_STILL - {b"iCCP", b"cICP"}
# Renamed, it is an item that nobody asks for, and everything else stays where it is.
_EXIF_ITEM = re.compile(rb"(infe[\x02\x03]...[^\xff]{4,6})Exif", re.DOTALL)
_GIF_EXTENSION, _GIF_PICTURE = 0x21, 0x2C


def readable_file(data: bytes) -> bytes | None:
    """The file as decoders get it, that walk it in slow steps: a JPEG without metadata in front of its first scan.

    None where it is in so many pieces that a decoder would walk for minutes.
    """
    if data.startswith(_JPEG):
        return from_first_scan(data)
    count = sum(1 for _ in islice(_pieces(data), SEGMENT_LIMIT + 1))
    return data if count <= SEGMENT_LIMIT else None


def bare_file(data: bytes) -> bytes | None:
    """The same JPEG or PNG with nothing but its still picture, and a JPEG's end where it was cut off; AVIF without EXIF.

    For readers that trip over what viewers ignore. None where there is nothing to leave out.
    """
    if data[4:8] == b"ftyp":
        bare, renamed = _EXIF_ITEM.subn(rb"\1free", data)
        return bare if renamed else None
    if data.startswith(PNG_SIGNATURE):
        return PNG_SIGNATURE + b"".join(chunk for name, chunk in png_chunks(data) if name in _PNG_BARE)
    parts = jpeg_parts(data) if data.startswith(_JPEG) else None
    return b"\xff\xd8" + b"".join(parts) + b"\xff\xd9" if parts else None


def _pieces(data: bytes) -> Iterator[object]:
    if data.startswith(PNG_SIGNATURE):
        return png_chunks(data)
    return _gif_pieces(data) if data.startswith(b"GIF8") else iter(())


def _gif_pieces(data: bytes) -> Iterator[int]:
    """Yield where the pieces in front of the first picture are: extensions, their blocks, and junk."""
    colours = 3 * 2 ** ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0
    at, in_extension = 13 + colours, False
    while at < len(data) and (in_extension or data[at] != _GIF_PICTURE):
        yield at
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
        else:
            in_extension = data[at] == _GIF_EXTENSION
            at += 2 if in_extension else 1
