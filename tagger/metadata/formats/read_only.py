"""The metadata blocks of formats that are never written: HEIC, AVIF and RAW. They are read for sidecars and for people.

The image decoders parse the boxes of HEIC and AVIF, so this module knows nothing of their structure.
"""

from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import jpeg
from tagger.metadata.formats.blocks import Blocks
from tagger.photos.decoding.formats import open_header, require_format
from tagger.photos.formats import PhotoFormat, detect_format, is_iso_media
from tagger.photos.raw import Preview, read_raw


def read_raw_blocks(data: bytes) -> Blocks:
    """Read the EXIF and XMP of a RAW photo; where the file itself has no XMP, that of its largest preview."""
    raw = read_raw(data)
    preview = _blocks_of(raw.previews[0]) if raw.previews and not raw.xmp else Blocks()
    return Blocks(xmp=raw.xmp or preview.xmp, exif=raw.exif, iptc=preview.iptc)


def _blocks_of(preview: Preview) -> Blocks:
    try:
        return jpeg.read_blocks(bytes(preview.data))
    except WriteRefused:
        return Blocks()


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


def read_only_blocks(data: bytes) -> Blocks:
    """Read a photo's blocks; empty for other formats and broken files."""
    return read_raw_blocks(data) if detect_format(data) is PhotoFormat.RAW else read_heif_blocks(data)
