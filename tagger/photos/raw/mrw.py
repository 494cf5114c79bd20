"""The layout of Minolta's MRW: a header of blocks, of which one is a TIFF block with the EXIF, and the data of the sensor."""

import struct

from tagger.photos.raw.layout import RawLayout, Span

_BLOCK_LIMIT = 100
_TIFF_BLOCK = b"\0TTW"


def mrw_layout(data: bytes) -> RawLayout:
    """Read the layout; empty if the header is cut off."""
    if len(data) < 8:
        return RawLayout()
    end = 8 + int.from_bytes(data[4:8], "big")
    sensor = Span(end, len(data) - end)
    at, exif = 8, None
    for _ in range(_BLOCK_LIMIT):
        if at + 8 > min(end, len(data)):
            break
        kind, size_bytes = struct.unpack_from(">4sI", data, at)
        at += 8
        if kind == _TIFF_BLOCK:
            exif = data[at : min(at + size_bytes, end)]
        at += size_bytes
    return RawLayout(images=((sensor,),), exif=exif)
