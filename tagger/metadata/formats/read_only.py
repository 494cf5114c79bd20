"""The metadata blocks of formats that are never written: HEIC, AVIF and RAW."""

from tagger.metadata.formats.blocks import Blocks
from tagger.metadata.formats.heif import read_heif_blocks
from tagger.metadata.formats.raw import read_raw_blocks
from tagger.photos.formats import PhotoFormat, detect_format


def read_only_blocks(data: bytes) -> Blocks:
    """Read a photo's blocks; empty for other formats and broken files."""
    return read_raw_blocks(data) if detect_format(data) is PhotoFormat.RAW else read_heif_blocks(data)
