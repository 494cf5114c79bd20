"""What HEIC and AVIF photos say beside their picture: read for sidecars and for people, never written.

Their boxes are taken apart by the decoders, so this knows nothing of how they are built.
"""

from tagger.images.formats import Format, format_of, open_header
from tagger.metadata.blocks import Blocks


def read_boxes(data: bytes) -> Blocks:
    """The EXIF and XMP of a HEIC or AVIF photo; empty for whatever is none, or is broken."""
    if data[4:8] != b"ftyp":
        return Blocks()
    try:
        photo_format = format_of(data)
        if photo_format not in (Format.AVIF, Format.HEIF):
            return Blocks()
        info = open_header(data, photo_format, _NO_LIMIT).info
    except Exception:  # noqa: BLE001 - a broken file makes readers raise anything
        return Blocks()
    exif, xmp = info.get("exif"), info.get("xmp")
    return Blocks(
        xmp=xmp if isinstance(xmp, bytes) and xmp else None,
        exif=exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) and exif else None,
    )


_NO_LIMIT = 2**62
