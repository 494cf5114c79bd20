"""The layout of Fujifilm's RAF: a header with the places of a JPEG, which has the EXIF, and of the sensor data."""

import struct

from tagger.photos.jpeg import jpeg_exif
from tagger.photos.raw.layout import RawLayout, Span

_JPEG_AT, _SENSOR_AT = 84, 100


def raf_layout(data: bytes) -> RawLayout:
    """Read the layout; empty if the header is cut off."""
    if len(data) < _SENSOR_AT + 8:
        return RawLayout()
    jpeg, sensor = (Span(*struct.unpack_from(">II", data, at)) for at in (_JPEG_AT, _SENSOR_AT))
    exif = jpeg_exif(memoryview(data)[jpeg.start : jpeg.start + jpeg.size_bytes])
    return RawLayout((jpeg,), images=((sensor,),), exif=exif)
