"""The segments of a JPEG, read strictly, as a write accounts for every byte; and Photoshop's resources.

The bytes after the end of the first image (further images, videos, notes of programs) are the trailer.
"""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tagger.metadata.splices import ambiguous_blocks, broken_structure
from tagger.photos.jpeg import IPTC, SEGMENT_LIMIT, resources_in

EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
PHOTOSHOP = b"Photoshop 3.0\0"
MPF = b"MPF\0"
PAYLOAD_LIMIT = 65_533

SOS, EOI, APP0, APP1, APP2, APP11, APP13 = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEB, 0xED
_STANDALONE = {0x01, *range(0xD0, 0xD9)}
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """The offsets of a segment, marker and length included. `payload` is the offset of its content."""

    marker: int
    start: int
    end: int

    @property
    def payload(self) -> int:
        return self.start + 4


@dataclass(frozen=True)
class Jpeg:
    """`head` holds the segments before the first scan, at `scan`. The trailer starts at `end`."""

    data: bytes
    head: tuple[Segment, ...]
    scan: int
    end: int

    def segments_named(self, marker: int, name: bytes) -> list[Segment]:
        """The segments with this marker whose payload starts with this name."""
        return [
            segment
            for segment in self.head
            if segment.marker == marker and self.data.startswith(name, segment.payload, segment.end)
        ]

    def content(self, segment: Segment, name: bytes) -> bytes:
        """The segment's payload after its name."""
        return self.data[segment.payload + len(name) : segment.end]


def read_jpeg(data: bytes) -> Jpeg:
    """Parse the first image of a file.

    Raises:
        WriteRefused: it is broken.
    """
    head: list[Segment] = []
    for segment in _segments(data):
        if segment.marker == SOS:
            return Jpeg(data, tuple(head), segment.start, _image_end(data, segment))
        head.append(segment)
        if len(head) > SEGMENT_LIMIT:
            raise broken_structure("it has too many segments")
    raise broken_structure("it holds no image")


def pack_segment(marker: int, payload: bytes) -> bytes:
    """Build a segment; the payload has at most PAYLOAD_LIMIT bytes."""
    return b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _segments(data: bytes) -> Iterator[Segment]:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise broken_structure(f"no segment starts at byte {at}")
        marker = data[at + 1]
        # A marker may be preceded by several 0xFF bytes, which stay where they are.
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _STANDALONE or marker in (0, EOI) or end < at + 4 or end > len(data):
            raise broken_structure(f"the segment at byte {at} is incomplete")
        yield Segment(marker, at, end)
        at = end


def _image_end(data: bytes, scan: Segment) -> int:
    """The offset after the image's end marker. Further scans and their tables may follow the first scan."""
    at = scan.end
    for _ in range(SEGMENT_LIMIT):
        marker_match = _MARKER_IN_SCAN.search(data, at)
        if marker_match is None:
            break
        marker, at = data[marker_match.start() + 1], marker_match.end()
        if marker == EOI:
            return at
        if marker in _STANDALONE:
            continue
        at += max(int.from_bytes(data[at : at + 2], "big"), 2)
    raise broken_structure("the image has no end marker")


_IPTC_DIGEST = 0x0425
_NEW_HEAD = b"8BIM" + IPTC.to_bytes(2, "big") + b"\0\0"


def replace_iptc(payload: bytes, iptc: bytes | None) -> bytes:
    """Return the resources with these IPTC datasets; all other resources stay unchanged.

    A digest that was correct is updated. A wrong digest means that a program changed IPTC but not XMP, and
    readers use it to decide which of the two to trust, so it stays wrong.

    Raises:
        WriteRefused: the resources cannot be read, or hold IPTC twice.
    """
    resources = list(resources_in(payload))
    rest = payload[sum(len(resource.raw) for resource in resources) :]
    if rest.strip(b"\0"):
        raise broken_structure("the Photoshop resources, which hold IPTC, cannot be read")
    if sum(resource.number == IPTC for resource in resources) > 1:
        raise ambiguous_blocks("It has IPTC datasets twice")
    digest_before = next(
        (_digest(resource.value) for resource in resources if resource.number == IPTC), _digest(b"")
    )
    packed: list[bytes] = []
    for resource in resources:
        if resource.number == IPTC:
            packed += [_pack(resource.head, iptc)] if iptc is not None else []
        elif resource.number == _IPTC_DIGEST:
            was_correct = resource.value == digest_before
            packed += [_pack(resource.head, _digest(iptc or b""))] if was_correct else [resource.raw]
        else:
            packed.append(resource.raw)
    if iptc is not None and all(resource.number != IPTC for resource in resources):
        packed.append(_pack(_NEW_HEAD, iptc))
    return b"".join((*packed, rest))


def _pack(head: bytes, value: bytes) -> bytes:
    return head + len(value).to_bytes(4, "big") + value + b"\0" * (len(value) % 2)


def _digest(iptc: bytes) -> bytes:
    return hashlib.md5(iptc, usedforsecurity=False).digest()
