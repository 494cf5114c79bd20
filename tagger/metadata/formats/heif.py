"""The metadata blocks of HEIC and AVIF photos. They are read for sidecars and for people, and never written.

The image decoders parse the boxes, so this module knows nothing of their structure.
"""

from tagger.metadata.formats.blocks import Blocks
from tagger.photos.decoding.formats import open_header, require_format
from tagger.photos.formats import PhotoFormat, is_iso_media


def read_heif_blocks(data: bytes) -> Blocks:
    """Read the EXIF and XMP of a HEIC or AVIF photo; empty for other formats and broken files."""
    if not is_iso_media(data):
        return Blocks()
    try:
        photo_format = require_format(data)
        if photo_format not in (PhotoFormat.AVIF, PhotoFormat.HEIF):
            return Blocks()
        info = open_header(data, photo_format, _NO_LIMIT).info
    except Exception:  # noqa: BLE001 - decoders raise errors of any type for broken files
        return Blocks()
    exif, xmp = info.get("exif"), info.get("xmp")
    return Blocks(
        xmp=xmp if isinstance(xmp, bytes) and xmp else None,
        exif=exif.removeprefix(b"Exif\0\0") if isinstance(exif, bytes) and exif else None,
    )


_NO_LIMIT = 2**62
