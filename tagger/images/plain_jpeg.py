"""Recognises plain JPEGs, which all decoders decode to the same image, so that a GPU's decoder may decode them.

JPEGs with any unusual feature are not plain; `decode_photo` decodes them as viewers do. Never raises on bad input and imports
no torch.
"""

import re
from dataclasses import dataclass

from PIL import Image

from tagger.images.colours import Encoding, to_srgb
from tagger.photos.containers import orientation_in

MOST_PIXELS = 64_000_000
"""A device decodes at full size and computes in floats; larger images would take gigabytes."""
MOST_BYTES = 64 * 2**20
LEAST_SIDE = 64
"""Hardware decoders reject smaller images, and a CPU core decodes those quickly."""


@dataclass(frozen=True)
class PlainJpeg:
    """`data` is the file up to the end of the image, not copied; `width` and `height` are those of the upright photo.

    `orientation` is the EXIF orientation, 1 to 8, which has to be applied to the decoded image.
    """

    data: memoryview
    width: int
    height: int
    orientation: int


def plain_jpeg(data: bytes, *, max_pixels: int) -> PlainJpeg | None:
    """Return the image of a complete baseline JPEG with 8 bits, YCbCr for sRGB, and one scan; None for all others."""
    head = _head(data)
    if head is None or len(data) > MOST_BYTES or not (_is_common(head) and _is_srgb(head)):
        return None
    end = _MARKER_IN_SCAN.search(data, head.end)
    if end is None or end.group() != _EOI:
        return None
    across, down = head.size
    if min(across, down) < LEAST_SIDE or across * down > min(max_pixels, MOST_PIXELS):
        return None
    orientation = orientation_in(data) or 1
    width, height = (down, across) if orientation >= 5 else (across, down)
    return PlainJpeg(memoryview(data)[: end.end()], width, height, orientation)


_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_SOF, _DHT, _SOS, _DQT, _DRI, _COM, _APP2, _APP14 = 0xC0, 0xC4, 0xDA, 0xDB, 0xDD, 0xFE, 0xE2, 0xEE
_BASELINE = {_SOF, _DHT, _SOS, _DQT, _DRI, _COM, *range(0xE0, 0xF0)}
_MOST_SEGMENTS = 1000
"""A large profile and a depth map take a few hundred."""
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7]", re.DOTALL)
_SAMPLINGS = (0x11, 0x21, 0x22)
"""4:4:4, 4:2:2 and 4:2:0: the horizontal and vertical sampling factors of luminance."""
_COMPONENTS = b"\1\2\3"
"""Component ids of Y, Cb and Cr. Decoders interpret other ids differently."""
_WHOLE_RANGE = b"\0\x3f\0"
_MOST_DC_BITS = 11


@dataclass(frozen=True)
class _Head:
    """The contents of all segments before the coded data, by marker. The coded data begins at `end`."""

    segments: dict[int, list[bytes]]
    end: int

    @property
    def size(self) -> tuple[int, int]:
        frame = self.segments[_SOF][0]
        return int.from_bytes(frame[3:5], "big"), int.from_bytes(frame[1:3], "big")


def _head(data: bytes) -> _Head | None:
    """None if there is anything but well-formed segments of a baseline JPEG before the first scan."""
    if not data.startswith(_SOI):
        return None
    segments: dict[int, list[bytes]] = {}
    at = len(_SOI)
    for _ in range(_MOST_SEGMENTS):
        start, end = data[at : at + 2], at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if start[:1] != b"\xff" or start[1:] == b"" or not at + 4 <= end <= len(data):
            return None
        marker = start[1]
        if marker not in _BASELINE:
            return None
        segments.setdefault(marker, []).append(data[at + 4 : end])
        at = end
        if marker == _SOS:
            return _Head(segments, at)
    return None


def _is_common(head: _Head) -> bool:
    """Whether there is one frame with three 8-bit components, coded in one scan whose tables are present."""
    frames, scan = head.segments.get(_SOF, []), head.segments[_SOS][0]
    if len(frames) != 1 or len(frames[0]) != 15 or len(scan) != 10:
        return False
    frame = frames[0]
    if frame[0] != 8 or frame[5] != 3 or frame[6::3] != _COMPONENTS:
        return False
    if scan[0] != 3 or scan[1:7:2] != _COMPONENTS or scan[7:] != _WHOLE_RANGE:
        return False
    if any(len(restarts) != 2 for restarts in head.segments.get(_DRI, [])):
        return False
    sampled = frame[7] in _SAMPLINGS and frame[10] == frame[13] == 0x11
    codes = {code for coder in scan[2:7:2] for code in (coder >> 4, 0x10 | coder & 0x0F)}
    quantisers, huffman_ids = _quantisers(head.segments.get(_DQT, [])), _codes(head.segments.get(_DHT, []))
    return sampled and set(frame[8::3]) <= quantisers and codes <= huffman_ids


def _quantisers(segments: list[bytes]) -> set[int]:
    """The ids of the quantisation tables; empty if one does not consist of bytes."""
    if any(len(segment) % 65 for segment in segments):
        return set()
    return {segment[at] for segment in segments for at in range(0, len(segment), 65)}


def _codes(segments: list[bytes]) -> set[int]:
    """The ids of the Huffman tables, from 16 for AC tables; empty if one is not a valid code."""
    ids = set()
    for segment in segments:
        rest = segment
        while rest:
            number, counts = rest[0], rest[1:17]
            symbols = rest[17 : 17 + sum(counts)]
            if len(symbols) < sum(counts) or not _is_code(counts):
                return set()
            if number < 0x10 and max(symbols, default=0) > _MOST_DC_BITS:
                return set()
            ids.add(number)
            rest = rest[17 + len(symbols) :]
    return ids


def _is_code(counts: bytes) -> bool:
    """Whether the numbers of codes per length form a prefix code."""
    taken = sum(count << (16 - length) for length, count in enumerate(counts, start=1))
    return len(counts) == 16 and 0 < taken <= 2**16


def _is_srgb(head: _Head) -> bool:
    adobe = [segment for segment in head.segments.get(_APP14, []) if segment.startswith(b"Adobe")]
    if any(len(segment) < 12 or segment[11] != 1 for segment in adobe):  # 1: YCbCr
        return False
    pieces = [s[12:] for s in head.segments.get(_APP2, []) if s.startswith(b"ICC_PROFILE\0")]
    if any(len(piece) < 2 for piece in pieces):
        return False
    pieces.sort(key=lambda piece: piece[0])
    if [(piece[0], piece[1]) for piece in pieces] != [(n + 1, len(pieces)) for n in range(len(pieces))]:
        return False
    return not pieces or _is_identity(b"".join(piece[2:] for piece in pieces))


def _is_identity(profile: bytes) -> bool:
    probe = Image.new("RGB", (1, 1))
    return to_srgb(probe, Encoding(None, profile, None)) is probe
