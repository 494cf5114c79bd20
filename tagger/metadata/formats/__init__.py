"""The metadata blocks of photo files, read and exchanged in place: JPEG, PNG, WebP and TIFF, by what they are.

Nothing is encoded anew: every change is a splice of the file, and what counts over spliced bytes is put right or the
file is refused. `same_but_blocks` checks the result on its own. Knows nothing of what stands in the blocks.
"""

from tagger.metadata.formats.comparing import same_but_blocks
from tagger.metadata.formats.embedding import can_embed, extended_xmp, read_blocks, replace_blocks

__all__ = ["can_embed", "extended_xmp", "read_blocks", "replace_blocks", "same_but_blocks"]
