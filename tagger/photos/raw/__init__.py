"""Camera RAW files: their embedded previews, the image data of the sensor, EXIF and XMP.

Containers with many parts have a module each (layout, cr3); those of Fujifilm and Minolta are a header and
are read here. Sensor data are not developed here (see decoding.raw_development). All parsing is bounded,
follows no loops and never raises on bad input. Knows nothing of pixels or of how metadata is written.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from tagger.photos.jpeg import jpeg_exif
from tagger.photos.raw.cr3 import cr3_layout
from tagger.photos.raw.layout import (
    CANON_BRAND,
    FUJIFILM_SIGNATURE,
    MINOLTA_SIGNATURE,
    ByteRange,
    Preview,
    RawLayout,
    find_previews,
    is_raw,
    lies_in,
    tiff_layout,
)

__all__ = ["Preview", "RawFile", "is_raw", "read_raw"]


# Sensor data are the larger part of a RAW file. With less than this part, the directories are
# damaged.
_LEAST_SHARE = 8
_JPEG_AT, _SENSOR_AT = 84, 100
_BLOCK_LIMIT = 100
_TIFF_BLOCK = b"\0TTW"


@dataclass(frozen=True)
class RawFile:
    """`previews` are JPEGs, largest first. `image` is the data of the sensor, empty if they are not found.

    `exif` is a TIFF block, `xmp` a packet. `is_truncated`: a part of the file lies behind its end.
    """

    previews: tuple[Preview, ...]
    image: tuple[memoryview, ...]
    exif: bytes | None
    xmp: bytes | None
    is_truncated: bool


def read_raw(data: bytes) -> RawFile:
    """Find the parts of a RAW file (see `is_raw`), as far as it is valid."""
    layout = _layout(data)
    previews = find_previews(data, layout.jpegs)
    exif_of_previews = (exif for preview in previews if (exif := jpeg_exif(preview.data)))
    spans = (*layout.jpegs, *(span for image in layout.images for span in image))
    return RawFile(
        previews,
        _sensor_image(data, layout.images, previews),
        layout.exif if layout.has_capture_facts else next(exif_of_previews, layout.exif),
        layout.xmp,
        is_truncated=layout.is_cut_off or any(span.start + span.size_bytes > len(data) for span in spans),
    )


def _layout(data: bytes) -> RawLayout:
    if data.startswith(FUJIFILM_SIGNATURE):
        return _raf_layout(data)
    if data.startswith(MINOLTA_SIGNATURE):
        return _mrw_layout(data)
    return cr3_layout(data) if data[8:12] == CANON_BRAND else tiff_layout(data)


def _sensor_image(
    data: bytes, images: Sequence[Sequence[ByteRange]], previews: Sequence[Preview]
) -> tuple[memoryview, ...]:
    """The largest stored image that is no preview; empty if it is too small or partly outside the file."""
    previewed = {preview.span for preview in previews}
    others = [image for image in images if len(image) != 1 or image[0] not in previewed]
    largest = max(others, key=lambda image: sum(span.size_bytes for span in image), default=())
    size_bytes = sum(span.size_bytes for span in largest)
    # More bytes than the file: strips overlap, which could make a small file as expensive as a large one.
    if not len(data) / _LEAST_SHARE <= size_bytes <= len(data) or not all(lies_in(data, s) for s in largest):
        return ()
    return tuple(memoryview(data)[span.start : span.start + span.size_bytes] for span in largest)


def _raf_layout(data: bytes) -> RawLayout:
    """Read the layout; empty if the header is cut off."""
    if len(data) < _SENSOR_AT + 8:
        return RawLayout(is_cut_off=True)
    jpeg, sensor = (ByteRange(*struct.unpack_from(">II", data, at)) for at in (_JPEG_AT, _SENSOR_AT))
    exif = jpeg_exif(memoryview(data)[jpeg.start : jpeg.start + jpeg.size_bytes])
    return RawLayout((jpeg,), images=((sensor,),), exif=exif)


def _mrw_layout(data: bytes) -> RawLayout:
    """Read the layout; empty if the header is cut off."""
    if len(data) < 8:
        return RawLayout()
    end = 8 + int.from_bytes(data[4:8], "big")
    sensor = ByteRange(end, len(data) - end)
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
