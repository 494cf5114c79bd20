"""One EXIF block made of several that have one directory each: Canon's CR3 stores EXIF so."""

import struct
from collections.abc import Mapping

from tagger.photos.tiff import TiffBlock, TiffDirectory, TiffTag, open_tiff

_EXIF_POINTER, _GPS_POINTER = 0x8769, 0x8825
_VALUE_BYTES, _DIRECTORY_BYTES = 4096, 2**17
"""Longer values, such as maker notes, are left out, and so is what is too much: thousands of tags may refer to the same bytes."""
_LONG = 4


def merged_exif(main: bytes | None, *, exif: bytes | None, gps: bytes | None) -> bytes | None:
    """Return a block with the directory of `main`, which points to those of the others; None if `main` has none."""
    block = open_tiff(main or b"")
    directory = _first(block)
    if block is None or directory is None:
        return None
    order = block.order
    merged = bytearray(struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8))
    children = {}
    for pointer, other in ((_EXIF_POINTER, open_tiff(exif or b"")), (_GPS_POINTER, open_tiff(gps or b""))):
        child = _first(other)
        if other is not None and child is not None and other.order == order:
            children[pointer] = child.tags
    slots = _append(merged, order, directory.tags, pointers=tuple(children))
    for pointer, tags in children.items():
        struct.pack_into(order + "I", merged, slots[pointer], len(merged))
        _append(merged, order, tags)
    return bytes(merged)


def _first(block: TiffBlock | None) -> TiffDirectory | None:
    return block.directory(block.first) if block else None


def _append(
    merged: bytearray, order: str, tags: Mapping[int, TiffTag], *, pointers: tuple[int, ...] = ()
) -> dict[int, int]:
    """Append a directory and its values; returns where the values of its pointers are."""
    values = {pointer: (_LONG, 1, bytes(4)) for pointer in pointers}
    size_bytes = 0
    for tag, entry in tags.items():
        size_bytes += len(entry.raw)
        if (
            tag not in (_EXIF_POINTER, _GPS_POINTER)
            and len(entry.raw) <= _VALUE_BYTES
            and size_bytes <= _DIRECTORY_BYTES
        ):
            values[tag] = (entry.kind, entry.count, bytes(entry.raw))
    start = len(merged)
    merged += struct.pack(order + "H", len(values)) + bytes(12 * len(values) + 4)
    slots = {}
    for at, (tag, (kind, count, raw)) in zip(
        range(start + 2, len(merged), 12), sorted(values.items()), strict=False
    ):
        is_inline = len(raw) <= 4
        slot = raw.ljust(4, b"\0") if is_inline else struct.pack(order + "I", len(merged))
        struct.pack_into(order + "HHI4s", merged, at, tag, kind, count, slot)
        slots[tag] = at + 8
        merged += b"" if is_inline else raw + bytes(len(raw) % 2)
    return slots
