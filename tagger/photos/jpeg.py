"""JPEG files: their segments, and which of them make the picture.

After a start of scan comes coded data, up to the next marker. Bounded, in linear time, and never raises on bad input.
"""

import re
from collections.abc import Iterator
from typing import TypeAlias

Part: TypeAlias = bytes | memoryview

SEGMENT_LIMIT = 100_000
"""A photo has tens of segments or chunks; more than this is no photo, and its digest is the file's."""
# Markers without a segment say nothing here, and a hostile file has millions of them.
_MARKER = re.compile(rb"\xff[^\x00\x01\xff\xd0-\xd8]", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)
_JUNK_BYTES = 65_536
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_RESERVED = {0xC8, *range(0xF0, 0xFE)}
_SOS, _EOI, _APP0, _APP1, _APP2, _APP14, _APP15, _COM = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEE, 0xEF, 0xFE


def jpeg_parts(data: bytes) -> tuple[Part, ...] | None:
    """What makes the picture; None where there is no scan."""
    view = memoryview(data)
    parts: list[Part] = []
    scanned = False
    for count, (marker, start, end) in enumerate(_segments(data)):
        if count >= SEGMENT_LIMIT:
            return None
        scanned = scanned or marker == _SOS
        if _is_seen(data, marker, start):
            parts.append(view[start:end])
    return tuple(parts) if scanned else None


def from_first_scan(data: bytes) -> bytes:
    """The file without what is written in front of its first scan beside the picture; decoders walk there in slow steps."""
    view = memoryview(data)
    kept: list[Part] = [data[:2]]
    after = 2
    for marker, start, end in _segments(data, scans=False):
        if marker == _SOS:
            return b"".join((*kept, view[start:]))
        if (_is_seen(data, marker, start) and marker not in _RESERVED) or marker == _APP0:
            kept.append(view[start:end])
        after = end
    # No picture: enough of what there is for a decoder to say why.
    return b"".join((*kept, view[after : after + _JUNK_BYTES]))


def scans_and_coding(data: bytes) -> tuple[int, int]:
    """How many scans there are, and the marker of the frame, which says how they are coded (0: there is none)."""
    markers = [marker for marker, _, _ in _segments(data)]
    frames = (marker for marker in markers if marker in _FRAMES)
    return markers.count(_SOS), next(frames, 0)


def jpeg_exif(data: bytes) -> bytes | None:
    """The first EXIF block."""
    for marker, start, end in _segments(data, scans=False):
        if marker == _APP1 and data[start + 4 : start + 10] == b"Exif\0\0":
            return data[start + 10 : end]
    return None


def _segments(data: bytes, *, scans: bool = True) -> Iterator[tuple[int, int, int]]:
    """Yield (marker, start, end), coded data as part of its scan, up to the end marker or a segment that is cut off.

    Without `scans` the first one is the last thing, with all that follows: it is not searched for markers.
    """
    at = 2
    for _ in range(SEGMENT_LIMIT + 1):
        found = _MARKER.search(data, at)
        if found is None:
            return
        marker, start = data[found.start() + 1], found.start()
        if marker == _EOI:
            return
        if marker == _SOS and not scans:
            yield marker, start, len(data)
            return
        end = found.end() + max(int.from_bytes(data[found.end() : found.end() + 2], "big"), 2)
        if marker == _SOS:
            following = _MARKER_IN_SCAN.search(data, end)
            end = following.start() if following else len(data)
        elif end > len(data):
            return
        yield marker, start, end
        at = end


def _is_seen(data: bytes, marker: int, start: int) -> bool:
    if marker == _APP2:
        return data[start + 4 : start + 16] == b"ICC_PROFILE\0"
    if marker == _APP14:
        return data[start + 4 : start + 9] == b"Adobe"
    return not (_APP0 <= marker <= _APP15 or marker == _COM)
