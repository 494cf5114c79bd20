"""What the readers and writers of metadata share: refusals, and splices.

Each cause of a refusal has one text. A splice replaces a range of bytes in a file; bytes outside of the
splices stay as they are. The inverse of a list of splices holds the replaced bytes and their offsets, and
restores the original exactly.
"""

import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from tagger.metadata.errors import RefusalKind, WriteRefused

_VERSION = b"\x01"
_HEAD = struct.Struct("<QQQ")
# The limit on an unpacked inverse, in bytes: a few kilobytes for embedded tags, at most a whole
# sidecar.
LARGEST_INVERSE = 64 * 2**20
MOST_SPLICES = 10_000


@dataclass(frozen=True)
class Splice:
    """Replaces the bytes from `start` to `end` (exclusive). For an insertion, start equals end."""

    start: int
    end: int
    replacement: bytes

    @property
    def growth(self) -> int:
        """The number of bytes by which the file grows."""
        return len(self.replacement) - (self.end - self.start)


def apply_splices(data: bytes, splices: Sequence[Splice]) -> bytes:
    """Return the file with all splices applied. They are in file order and do not overlap."""
    parts: list[bytes | memoryview] = []
    view = memoryview(data)
    at = 0
    for splice in splices:
        if not at <= splice.start <= splice.end <= len(data):
            raise ValueError(f"splices overlap or lie outside the file: {splice.start} to {splice.end}")
        parts += (view[at : splice.start], splice.replacement)
        at = splice.end
    return b"".join((*parts, view[at:]))


def in_order(splices: Sequence[Splice]) -> list[Splice]:
    """Sort by offset. Insertions at the same offset become one splice, in their order."""
    ordered: list[Splice] = []
    for splice in sorted(splices, key=lambda splice: (splice.start, splice.end)):
        if ordered and ordered[-1].end == splice.start:
            last = ordered.pop()
            ordered.append(Splice(last.start, splice.end, last.replacement + splice.replacement))
        else:
            ordered.append(splice)
    return ordered


def inverse_of(data: bytes, splices: Sequence[Splice]) -> bytes:
    """Pack the inverse, which turns the spliced file back into `data`."""
    packed = bytearray()
    growth = 0
    for splice in splices:
        start = splice.start + growth
        replaced = data[splice.start : splice.end]
        packed += _HEAD.pack(start, start + len(splice.replacement), len(replaced)) + replaced
        growth += splice.growth
    return _VERSION + zlib.compress(bytes(packed), 9)


def undo_splices(data: bytes, inverse: bytes) -> bytes:
    """Return the file before the splices. The caller checks the digests of both files.

    Raises:
        ValueError: the inverse is damaged, or belongs to another file.
    """
    return apply_splices(data, unpacked_inverse(inverse))


def unpacked_inverse(inverse: bytes) -> list[Splice]:
    """The splices that `inverse_of` packed. They may belong to another file.

    Raises:
        ValueError: the inverse is damaged, or larger than any.
    """
    raw = _decompress(inverse)
    splices: list[Splice] = []
    at = 0
    while at < len(raw):
        if at + _HEAD.size > len(raw):
            raise ValueError("truncated")
        start, end, size = _HEAD.unpack_from(raw, at)
        at += _HEAD.size
        if size > len(raw) - at or len(splices) == MOST_SPLICES:
            raise ValueError("truncated, or too many splices")
        splices.append(Splice(start, end, raw[at : at + size]))
        at += size
    return splices


def _decompress(inverse: bytes) -> bytes:
    """Decompress an inverse within LARGEST_INVERSE: a few bytes may stand for gigabytes."""
    if not inverse.startswith(_VERSION):
        raise ValueError("unknown version")
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(memoryview(inverse)[len(_VERSION) :], LARGEST_INVERSE + 1)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if len(raw) > LARGEST_INVERSE:
        raise ValueError("too large")
    if not stream.eof or stream.unused_data:
        raise ValueError("truncated, or followed by other data")
    return raw


def broken_structure(problem: str) -> WriteRefused:
    """The container is broken."""
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"The file is broken: {problem}. Copy it again from its source, or save it with an image editor.",
    )


def ambiguous_blocks(problem: str) -> WriteRefused:
    """The file has several blocks of a kind, so there is no single one to change."""
    return WriteRefused(
        RefusalKind.STRUCTURE,
        f"{problem}, and programs differ in which one they read. Save its metadata with your photo program.",
    )


def fixed_offsets(problem: str) -> WriteRefused:
    """Data that is found by its offset would be lost."""
    return WriteRefused(
        RefusalKind.OFFSETS,
        f"{problem}, which a write into the file would break. Keep its tags in a sidecar.",
    )


def signed_file() -> WriteRefused:
    """Content credentials are a signature over the whole file, which any change breaks."""
    return WriteRefused(
        RefusalKind.SIGNED,
        "It carries content credentials (C2PA), a signature over the whole file, which a write would break. "
        "Keep its tags in a sidecar.",
    )


def too_large(problem: str) -> WriteRefused:
    """The blocks exceed the room in the container."""
    return WriteRefused(RefusalKind.TOO_LARGE, f"{problem}. Keep its tags in a sidecar.")
