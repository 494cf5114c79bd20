"""JPEG files: XMP and EXIF in segments of their own, IPTC among Photoshop's resources.

Writing exchanges whole segments ahead of the picture; what counts over them is put right (see mpf) or it is refused
(see distances).
"""

from dataclasses import dataclass

from tagger.metadata.blocks import Blocks
from tagger.metadata.formats.distances import require_movable
from tagger.metadata.formats.mpf import patches, read_index
from tagger.metadata.formats.photoshop import iptc_in, with_iptc
from tagger.metadata.formats.refusing import ambiguous, broken, signed, too_large
from tagger.metadata.formats.segments import (
    APP0,
    APP1,
    APP11,
    APP13,
    EXIF,
    EXTENDED_XMP,
    PAYLOAD_LIMIT,
    PHOTOSHOP,
    XMP,
    Jpeg,
    Segment,
    read_jpeg,
    segment,
)
from tagger.metadata.splices import Splice

_GUID_BYTES = 32
_EXTENDED_HEAD_BYTES = _GUID_BYTES + 8
_EXTENDED_LIMIT = 16 * 2**20
_ODD_XMP = b"adobe:ns:meta"
_SOI_BYTES = 2


def read_blocks(data: bytes) -> Blocks:
    """The first XMP and EXIF segments, and the IPTC datasets."""
    jpeg = read_jpeg(data)
    xmp, exif = jpeg.named(APP1, XMP), jpeg.named(APP1, EXIF)
    iptc = [
        value for found in jpeg.named(APP13, PHOTOSHOP) for value in iptc_in(jpeg.carried(found, PHOTOSHOP))
    ]
    return Blocks(
        xmp=jpeg.carried(xmp[0], XMP) if xmp else None,
        exif=jpeg.carried(exif[0], EXIF) if exif else None,
        iptc=iptc[0] if iptc else None,
    )


def replace_blocks(data: bytes, wanted: Blocks) -> tuple[Splice, ...]:
    """The splices that make the blocks of a file the wanted ones."""
    jpeg = read_jpeg(data)
    changes = _changes(jpeg, read_blocks(data), wanted)
    if changes and any(b"c2pa" in jpeg.carried(found, b"")[:128] for found in jpeg.named(APP11, b"JP")):
        raise signed()
    if all(len(change.put) == change.end - change.start for change in changes):
        return tuple(changes)
    index = read_index(jpeg)
    require_movable(jpeg, index)
    if index:
        changes += patches(jpeg, index, _Shifts(tuple(changes)).moved)
    return tuple(sorted(changes, key=lambda change: change.start))


def extended_xmp(data: bytes) -> bytes | None:
    """What of the XMP stands in extension segments, joined; None: nothing, or not all of it is there."""
    jpeg = read_jpeg(data)
    parts = [jpeg.carried(found, EXTENDED_XMP) for found in jpeg.named(APP1, EXTENDED_XMP)]
    parts = [part for part in parts if len(part) >= _EXTENDED_HEAD_BYTES]
    if not parts:
        return None
    guid = parts[0][:_GUID_BYTES]
    own = [part for part in parts if part[:_GUID_BYTES] == guid]
    size = int.from_bytes(own[0][_GUID_BYTES : _GUID_BYTES + 4], "big")
    return _joined(own, size) if size <= _EXTENDED_LIMIT and len(own) == len(parts) else None


@dataclass(frozen=True)
class _Shifts:
    """Where bytes come to stand when splices are made that are in the order of the file."""

    splices: tuple[Splice, ...]

    def moved(self, position: int) -> int:
        """The new place of the byte at `position`; an insertion at it goes ahead of it."""
        ahead = (splice for splice in self.splices if splice.end <= position)
        return position + sum(len(splice.put) - (splice.end - splice.start) for splice in ahead)


def _changes(jpeg: Jpeg, held: Blocks, wanted: Blocks) -> list[Splice]:
    changes = []
    if wanted.exif != held.exif:
        changes.append(_exif_change(jpeg, wanted.exif))
    if wanted.xmp != held.xmp:
        changes.append(_xmp_change(jpeg, wanted.xmp))
    if wanted.iptc != held.iptc:
        changes.append(_iptc_change(jpeg, wanted.iptc))
    return _in_order(changes)


def _in_order(changes: list[Splice]) -> list[Splice]:
    """By place; what is inserted at one place becomes one splice, EXIF ahead of XMP ahead of IPTC."""
    ordered: list[Splice] = []
    for change in sorted(changes, key=lambda change: (change.start, change.end)):
        if ordered and ordered[-1].end == change.start:
            last = ordered.pop()
            change = Splice(last.start, change.end, last.put + change.put)  # noqa: PLW2901
        ordered.append(change)
    return ordered


def _exif_change(jpeg: Jpeg, exif: bytes | None) -> Splice:
    there = jpeg.named(APP1, EXIF)
    if len(there) > 1:
        raise ambiguous("It has several EXIF segments")
    if len(there) < len(jpeg.named(APP1, EXIF[:5])):
        raise broken("an EXIF segment begins as none should")
    return _change(there, EXIF, exif, _behind_jfif(jpeg), APP1)


def _xmp_change(jpeg: Jpeg, xmp: bytes | None) -> Splice:
    there = jpeg.named(APP1, XMP)
    if len(there) > 1:
        raise ambiguous("It has several XMP segments")
    others = [found for found in jpeg.head if found.marker == APP1 and found not in there]
    if any(_is_odd_xmp(jpeg.carried(found, b"")) for found in others):
        raise broken("an XMP segment begins as none should")
    return _change(there, XMP, xmp, _behind_exif(jpeg), APP1)


def _is_odd_xmp(payload: bytes) -> bool:
    if payload.startswith((EXIF, EXTENDED_XMP)):
        return False
    return payload.startswith(XMP[:-1]) or _ODD_XMP in payload


def _iptc_change(jpeg: Jpeg, iptc: bytes | None) -> Splice:
    segments = jpeg.named(APP13, PHOTOSHOP)
    if len(segments) > 1:
        raise ambiguous("It has several segments of Photoshop's resources, which IPTC is among")
    payload = with_iptc(jpeg.carried(segments[0], PHOTOSHOP) if segments else b"", iptc)
    return _change(segments, PHOTOSHOP, payload or None, _behind_exif(jpeg), APP13)


def _change(there: list[Segment], name: bytes, block: bytes | None, new_at: int, marker: int) -> Splice:
    start, end = (there[0].start, there[0].end) if there else (new_at, new_at)
    if block is None:
        return Splice(start, end, b"")
    if len(name) + len(block) > PAYLOAD_LIMIT:
        raise too_large("The photo's metadata would be larger than a JPEG segment holds, which is 64 KB")
    return Splice(start, end, segment(marker, name + block))


def _behind_jfif(jpeg: Jpeg) -> int:
    """Behind the segments that say what kind of JPEG it is, where they come first as they should."""
    at = _SOI_BYTES
    for found in jpeg.head:
        if found.marker != APP0:
            break
        at = found.end
    return at


def _behind_exif(jpeg: Jpeg) -> int:
    exif = jpeg.named(APP1, EXIF)
    return exif[-1].end if exif else _behind_jfif(jpeg)


def _joined(parts: list[bytes], size: int) -> bytes | None:
    """The parts at the offsets they name; None unless they make one whole without gap or overlap."""
    at, whole = 0, []
    for offset, content in sorted(
        (int.from_bytes(part[_GUID_BYTES + 4 : _EXTENDED_HEAD_BYTES], "big"), part[_EXTENDED_HEAD_BYTES:])
        for part in parts
    ):
        if offset != at:
            return None
        whole.append(content)
        at += len(content)
    return b"".join(whole) if at == size else None
