"""The metadata blocks of JPEG, PNG, WebP and TIFF files: read, and replaced in place without encoding the image again.

Every change is a splice. Offsets and sizes that span a splice are adjusted; a file whose offsets cannot be adjusted is
refused. `difference_outside_blocks` checks the result independently. Knows nothing of the blocks' content.
"""

from tagger.metadata.formats.block_io import can_embed, extended_xmp, is_jpeg, read_blocks, replace_blocks
from tagger.metadata.formats.comparison import difference_outside_blocks

__all__ = [
    "can_embed",
    "difference_outside_blocks",
    "extended_xmp",
    "is_jpeg",
    "read_blocks",
    "replace_blocks",
]
