"""The metadata blocks of photos: read, and in JPEG files replaced in place without encoding the image again.

Every change is a splice. Offsets and sizes that span a splice are adjusted; a file whose offsets cannot be
adjusted is refused. `difference_outside_blocks` checks the result independently. Knows nothing of the blocks'
content. The image decoders parse the boxes of HEIC and AVIF, so nothing here knows their structure.
"""

from contextlib import suppress

from tagger.metadata.errors import RefusalKind, WriteRefused
from tagger.metadata.formats import jpeg
from tagger.metadata.splices import Splice, broken_structure
from tagger.photos.containers import read_container
from tagger.photos.formats import JPEG, PNG, RAW, TIFF, WEBP, detect_format
from tagger.photos.formats.reader import Blocks, BrokenBlocks
from tagger.photos.raw import read_raw


def may_hold_tags(data: bytes) -> bool:
    """Whether this program embeds tags into files of this format, or did so in version 1."""
    return detect_format(data) in (JPEG, PNG, WEBP, TIFF)


def is_jpeg(data: bytes) -> bool:
    """Whether the file is a JPEG."""
    return detect_format(data) is JPEG


def read_blocks(data: bytes) -> Blocks:
    """Read a photo's metadata blocks; empty for other files, and for broken ones of formats without our tags.

    Raises:
        WriteRefused: the file is broken.
    """
    photo_format = detect_format(data)
    if photo_format is JPEG:
        return jpeg.read_blocks(data)
    if photo_format is RAW:
        return _read_raw_blocks(data)
    try:
        return photo_format.reader.blocks(data) if photo_format else Blocks()
    except BrokenBlocks as error:
        raise broken_structure(str(error)) from error


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give a JPEG these blocks. Equal ones are not changed; None removes a block.

    Raises:
        WriteRefused: the change would put other data in the file at risk.
    """
    if not is_jpeg(data):
        raise only_jpeg()
    splices = jpeg.replace_blocks(data, new)
    if splices and read_container(data) is None:
        raise broken_structure("its image data cannot be located")
    return splices


def only_jpeg() -> WriteRefused:
    """The refusal for files of other formats."""
    return WriteRefused(
        RefusalKind.FORMAT, "Tags are embedded into JPEG files only. Keep its tags in a sidecar."
    )


def _read_raw_blocks(data: bytes) -> Blocks:
    """Read the EXIF and XMP of a RAW photo; where the file itself has no XMP, that of its largest preview."""
    raw, preview = read_raw(data), Blocks()
    if raw.previews and not raw.xmp:
        with suppress(WriteRefused):
            preview = jpeg.read_blocks(bytes(raw.previews[0].data))
    return Blocks(xmp=raw.xmp or preview.xmp, exif=raw.exif, iptc=preview.iptc)
