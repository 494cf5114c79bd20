"""The metadata blocks of cameras' RAW files. They are read for sidecars and for people, and never written."""

from tagger.metadata.errors import WriteRefused
from tagger.metadata.formats import jpeg
from tagger.metadata.formats.blocks import Blocks
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
