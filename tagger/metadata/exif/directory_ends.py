"""The end marks that piexif leaves out of an EXIF block.

Behind the directories EXIF, GPS and interoperability belongs a zero: no directory follows. Without it, readers take the
value at this offset for the next directory.
"""

import struct
from collections.abc import Iterator

from tagger.metadata.exif.block import EXIF, FIRST, GPS, INTEROP, MAIN, POINTERS, ParsedBlock, parse_block

ENDS_BYTES = 12
"""The most bytes by which a block grows."""
_END = bytes(4)
_ENTRY_BYTES = 12
_THUMBNAIL = (FIRST, 0x0201)


def add_directory_ends(data: bytes) -> bytes:
    """Insert the missing end marks into a block that piexif wrote, and adjust every offset in it.

    Raises:
        ExifRewriteError: the block is broken.
    """
    block = parse_block(data)
    ends = sorted(end for name in (EXIF, GPS, INTEROP) if (end := _entries_end(block, name)))
    patched = bytearray(data)
    for at in _offset_positions(block):
        (offset,) = struct.unpack_from(">I", data, at)
        if offset:
            struct.pack_into(">I", patched, at, offset + sum(len(_END) for end in ends if end <= offset))
    for end in reversed(ends):
        patched[end:end] = _END
    return bytes(patched)


def _entries_end(block: ParsedBlock, name: str) -> int | None:
    """Where the entries of a directory end."""
    ends = (at + _ENTRY_BYTES for (directory, _), at in block.entry_offsets.items() if directory == name)
    return max(ends, default=None)


def _offset_positions(block: ParsedBlock) -> Iterator[int]:
    """The positions in the block that hold an offset from the block's start."""
    for key, at in block.entry_offsets.items():
        value = block.tags.get(key)
        if key in POINTERS or key == _THUMBNAIL or (value and len(value.value) > len(_END)):
            yield at + 8
    if end := _entries_end(block, MAIN):
        yield end
