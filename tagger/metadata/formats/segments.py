"""The segments of a JPEG file, read strictly: whoever writes must know what each byte belongs to.

What follows the end of the first image (other images, videos, notes of programs) is its trailer.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from tagger.metadata.formats.refusing import broken
from tagger.photos.jpeg import SEGMENT_LIMIT

XMP = b"http://ns.adobe.com/xap/1.0/\0"
EXTENDED_XMP = b"http://ns.adobe.com/xmp/extension/\0"
EXIF = b"Exif\0\0"
PHOTOSHOP = b"Photoshop 3.0\0"
MPF = b"MPF\0"
PAYLOAD_LIMIT = 65_533

SOS, EOI, APP0, APP1, APP2, APP11, APP13 = 0xDA, 0xD9, 0xE0, 0xE1, 0xE2, 0xEB, 0xED
_ALONE = {0x01, *range(0xD0, 0xD9)}
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]", re.DOTALL)


@dataclass(frozen=True)
class Segment:
    """A segment with its marker and length; `payload` is where what it carries begins."""

    marker: int
    start: int
    end: int

    @property
    def payload(self) -> int:
        return self.start + 4


@dataclass(frozen=True)
class Jpeg:
    """`head` are the segments before the first scan, which begins at `scan`; the trailer begins at `end`."""

    data: bytes
    head: tuple[Segment, ...]
    scan: int
    end: int

    def named(self, marker: int, name: bytes) -> list[Segment]:
        """The segments of a kind whose payload begins with a name."""
        return [
            segment
            for segment in self.head
            if segment.marker == marker and self.data.startswith(name, segment.payload, segment.end)
        ]

    def carried(self, segment: Segment, name: bytes) -> bytes:
        """What a segment carries after its name."""
        return self.data[segment.payload + len(name) : segment.end]


def read_jpeg(data: bytes) -> Jpeg:
    """Take the first image apart; raises WriteRefused where it does not hold together."""
    head: list[Segment] = []
    for segment in _segments(data):
        if segment.marker == SOS:
            return Jpeg(data, tuple(head), segment.start, _image_end(data, segment))
        head.append(segment)
        if len(head) > SEGMENT_LIMIT:
            raise broken("it has more segments than a photo has")
    raise broken("there is no picture in it")


def segment(marker: int, payload: bytes) -> bytes:
    """A whole segment; its payload is not longer than PAYLOAD_LIMIT."""
    return b"\xff" + bytes([marker]) + (len(payload) + 2).to_bytes(2, "big") + payload


def _segments(data: bytes) -> Iterator[Segment]:
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise broken(f"there is no segment at byte {at}, where one should begin")
        marker = data[at + 1]
        # A marker may have more than one 0xFF before it: the ones too many stay where they are.
        if marker == 0xFF:
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker in _ALONE or marker in (0, EOI) or end < at + 4 or end > len(data):
            raise broken(f"the segment at byte {at} is no whole one")
        yield Segment(marker, at, end)
        at = end


def _image_end(data: bytes, scan: Segment) -> int:
    """Behind the end marker of the image whose first scan this is; later scans have tables between them."""
    at = scan.end
    for _ in range(SEGMENT_LIMIT):
        found = _MARKER_IN_SCAN.search(data, at)
        if found is None:
            break
        marker, at = data[found.start() + 1], found.end()
        if marker == EOI:
            return at
        if marker in _ALONE:
            continue
        at += max(int.from_bytes(data[at : at + 2], "big"), 2)
    raise broken("the picture has no end")
