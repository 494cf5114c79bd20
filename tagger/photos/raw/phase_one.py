"""The directory that Phase One and Leaf put into IIQ files beside those of TIFF: it locates the sensor data."""

import struct
from collections.abc import Iterator

from tagger.photos.raw.layout import Span

_BASE = 8
"""Offsets count from the directory's header."""
_ORDERS = {b"IIII": "<", b"MMMM": ">"}
_ENTRY_LIMIT = 1000
_SENSOR_DATA = 0x10F


def is_phase_one(head: bytes) -> bool:
    """Whether a TIFF is an IIQ file."""
    return (head[8:12], head[13:16]) == (b"IIII", b"waR") or (head[8:12], head[12:15]) == (b"MMMM", b"Raw")


def phase_one_sensor(data: bytes) -> Iterator[tuple[Span, ...]]:
    """Yield the sensor data."""
    order = _ORDERS[data[_BASE : _BASE + 4]]
    entry = struct.Struct(order + "IIII")
    at = _BASE + int.from_bytes(data[_BASE + 8 : _BASE + 12], "little" if order == "<" else "big")
    if at + 8 > len(data):
        return
    (count,) = struct.unpack_from(order + "I", data, at)
    end = at + 8 + min(count, _ENTRY_LIMIT) * entry.size
    for entry_at in range(at + 8, min(end, len(data) - entry.size + 1), entry.size):
        tag, _, size_bytes, start = entry.unpack_from(data, entry_at)
        if tag == _SENSOR_DATA:
            yield (Span(_BASE + start, size_bytes),)
