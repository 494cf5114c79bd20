"""Leaves out every second restart interval of a JPEG, as a decoder could that looks for the markers between them."""

import re
from dataclasses import dataclass

_MARKER = re.compile(rb"\xff[\xd0-\xd7]")
_FRAMES = (0xC0, 0xC1)
_SCAN = 0xDA
_END = b"\xff\xd9"


def without_every_second_interval(data: bytes) -> bytes:
    """The JPEG with half of its lines, where each restart interval is one row of blocks.

    Raises:
        ValueError: it is progressive, or has no restart markers.
    """
    header = _read_header(data)
    intervals = _MARKER.split(data[header.size : data.rindex(_END)])[::2]
    if header.lines_at is None or len(intervals) < 2:
        raise ValueError("a baseline JPEG with restart markers is needed")
    output = bytearray(data[: header.size])
    output[header.lines_at : header.lines_at + 2] = (len(intervals) * header.row_lines).to_bytes(2, "big")
    for number, interval in enumerate(intervals):
        if number:
            output += bytes((0xFF, 0xD0 + (number - 1) % 8))
        output += interval
    return bytes(output + _END)


@dataclass(frozen=True)
class _Header:
    """`size`: bytes before the scan. `lines_at`: where the number of lines is. `row_lines`: lines in a row of blocks."""

    size: int
    lines_at: int | None
    row_lines: int


def _read_header(data: bytes) -> _Header:
    at, lines_at, row_lines = 2, None, 0
    while True:
        marker, size = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _FRAMES:
            lines_at = at + 5
            components = data[at + 10 : at + 2 + size]
            row_lines = 8 * max(factors & 15 for factors in components[1::3])
        at += 2 + size
        if marker == _SCAN:
            return _Header(at, lines_at, row_lines)
