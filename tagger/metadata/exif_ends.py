"""What piexif leaves out of an EXIF block: the zero behind the directories of EXIF, GPS and interoperability, which says
that nothing follows them. Readers that look for it would take the value that stands there for it.
"""

import struct
from collections.abc import Iterator

from tagger.metadata.exif_fields import EXIF, FIRST, GPS, INTEROP, MAIN, POINTERS, Fields, fields_of

ENDS_BYTES = 12
"""By so much a block grows at most."""
_NOTHING = bytes(4)
_ENTRY_BYTES = 12
_THUMBNAIL = (FIRST, 0x0201)


def with_ends(block: bytes) -> bytes:
    """A block as piexif makes it, with what is missing, and every distance in it put right.

    Raises:
        ExifUnsafe: it does not hold together.
    """
    made = fields_of(block)
    ends = sorted(end for name in (EXIF, GPS, INTEROP) if (end := _end(made, name)))
    patched = bytearray(block)
    for at in _distances(made):
        (distance,) = struct.unpack_from(">I", block, at)
        if distance:
            struct.pack_into(
                ">I", patched, at, distance + sum(len(_NOTHING) for end in ends if end <= distance)
            )
    for end in reversed(ends):
        patched[end:end] = _NOTHING
    return bytes(patched)


def _end(made: Fields, name: str) -> int | None:
    """Where the entries of a directory end."""
    return max((at + _ENTRY_BYTES for (of, _), at in made.slots.items() if of == name), default=None)


def _distances(made: Fields) -> Iterator[int]:
    """Where in the block it is said where something else stands, counted from the block's beginning."""
    for place, at in made.slots.items():
        found = made.tags.get(place)
        if place in POINTERS or place == _THUMBNAIL or (found and len(found.value) > len(_NOTHING)):
            yield at + 8
    if end := _end(made, MAIN):
        yield end
