"""Changes of a file as splices: which bytes are replaced by which. Whatever no splice names stays as it is.

The inverse of splices is what undoing them exactly takes: the bytes that were replaced, and where.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

_VERSION = b"\x01"
_HEAD = struct.Struct("<QQQ")


@dataclass(frozen=True)
class Splice:
    """Bytes `start`..`end` (exclusive) of a file are replaced by `put`; an insertion has start == end."""

    start: int
    end: int
    put: bytes


def spliced(data: bytes, splices: Sequence[Splice]) -> bytes:
    """The file with all splices made; they are in the order of the file and do not overlap."""
    parts: list[bytes | memoryview] = []
    view = memoryview(data)
    at = 0
    for splice in splices:
        if not at <= splice.start <= splice.end <= len(data):
            raise ValueError(f"splices overlap or lie outside the file: {splice.start} to {splice.end}")
        parts += (view[at : splice.start], splice.put)
        at = splice.end
    return b"".join((*parts, view[at:]))


def inverse(data: bytes, splices: Sequence[Splice]) -> bytes:
    """What takes the spliced file back to `data`, packed for keeping."""
    packed = bytearray()
    moved = 0
    for splice in splices:
        start = splice.start + moved
        replaced = data[splice.start : splice.end]
        packed += _HEAD.pack(start, start + len(splice.put), len(replaced)) + replaced
        moved += len(splice.put) - len(replaced)
    return _VERSION + zlib.compress(bytes(packed), 9)


def undone(data: bytes, packed: bytes) -> bytes:
    """The file as it was before the splices whose `inverse` this is; the caller checks the digests of both.

    Raises:
        ValueError: what is packed is damaged, or belongs to another file.
    """
    return spliced(data, _unpacked(packed))


def _unpacked(packed: bytes) -> list[Splice]:
    if not packed.startswith(_VERSION):
        raise ValueError("it is of a version that is not known here")
    try:
        raw = zlib.decompress(packed[len(_VERSION) :])
    except zlib.error as error:
        raise ValueError(str(error)) from error
    splices, at = [], 0
    while at < len(raw):
        if at + _HEAD.size > len(raw):
            raise ValueError("it ends early")
        start, end, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        splices.append(Splice(start, end, raw[at : at + size]))
        at += size
    return splices
