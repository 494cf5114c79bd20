"""JPEG files: XMP and EXIF have segments of their own, IPTC is one of Photoshop's resources, which also hold a digest of it.

A write replaces whole segments before the image. Offsets across them are adjusted, or the write is refused (see jpeg_offsets).
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from tagger.metadata.formats.jpeg_offsets import offset_patches, read_index, require_movable
from tagger.metadata.formats.jpeg_segments import (
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
    pack_segment,
    read_jpeg,
)
from tagger.metadata.splices import (
    Blocks,
    Splice,
    ambiguous_blocks,
    broken_structure,
    in_order,
    signed_file,
    too_large,
)

_GUID_BYTES = 32
_EXTENDED_HEAD_BYTES = _GUID_BYTES + 8
_EXTENDED_LIMIT = 16 * 2**20
_ODD_XMP = b"adobe:ns:meta"
_SOI_BYTES = 2
IPTC, IPTC_DIGEST = 0x0404, 0x0425
_SIGNATURES = {b"8BIM", b"PHUT", b"DCSR", b"AgHg", b"MeSa"}
_RESOURCE_LIMIT = 4096
_NEW_HEAD = b"8BIM" + IPTC.to_bytes(2, "big") + b"\0\0"


def read_blocks(data: bytes) -> Blocks:
    """Read the first XMP and EXIF segments, and the IPTC datasets."""
    jpeg = read_jpeg(data)
    xmp, exif = jpeg.segments_named(APP1, XMP), jpeg.segments_named(APP1, EXIF)
    iptc = [
        resource.value
        for segment in jpeg.segments_named(APP13, PHOTOSHOP)
        for resource in _read(jpeg.content(segment, PHOTOSHOP), strict=False)
        if resource.number == IPTC
    ]
    return Blocks(
        xmp=jpeg.content(xmp[0], XMP) if xmp else None,
        exif=jpeg.content(exif[0], EXIF) if exif else None,
        iptc=iptc[0] if iptc else None,
    )


def replace_blocks(data: bytes, new: Blocks) -> tuple[Splice, ...]:
    """Return the splices that give the file these blocks."""
    jpeg = read_jpeg(data)
    changes = _changes(jpeg, read_blocks(data), new)
    if changes and any(
        b"c2pa" in jpeg.content(segment, b"")[:128] for segment in jpeg.segments_named(APP11, b"JP")
    ):
        raise signed_file()
    if all(len(change.replacement) == change.end - change.start for change in changes):
        return tuple(changes)
    index = read_index(jpeg)
    require_movable(jpeg, index)
    if index:
        changes += offset_patches(jpeg, index, partial(_shifted, tuple(changes)))
    return tuple(sorted(changes, key=lambda change: change.start))


def extended_xmp(data: bytes) -> bytes | None:
    """The part of the XMP in extension segments, joined; None if there is none, or if parts of it are missing."""
    jpeg = read_jpeg(data)
    parts = [jpeg.content(segment, EXTENDED_XMP) for segment in jpeg.segments_named(APP1, EXTENDED_XMP)]
    parts = [part for part in parts if len(part) >= _EXTENDED_HEAD_BYTES]
    if not parts:
        return None
    guid = parts[0][:_GUID_BYTES]
    own_parts = [part for part in parts if part[:_GUID_BYTES] == guid]
    size = int.from_bytes(own_parts[0][_GUID_BYTES : _GUID_BYTES + 4], "big")
    return _joined(own_parts, size) if size <= _EXTENDED_LIMIT and len(own_parts) == len(parts) else None


def _shifted(splices: Sequence[Splice], position: int) -> int:
    """The offset after the splices of the byte at `position`; an insertion at this offset comes before it."""
    return position + sum(splice.growth for splice in splices if splice.end <= position)


def _changes(jpeg: Jpeg, current: Blocks, new: Blocks) -> list[Splice]:
    changes = []
    if new.exif != current.exif:
        changes.append(_exif_change(jpeg, new.exif))
    if new.xmp != current.xmp:
        changes.append(_xmp_change(jpeg, new.xmp))
    if new.iptc != current.iptc:
        changes.append(_iptc_change(jpeg, new.iptc))
    return in_order(changes)


def _exif_change(jpeg: Jpeg, exif: bytes | None) -> Splice:
    existing = jpeg.segments_named(APP1, EXIF)
    if len(existing) > 1:
        raise ambiguous_blocks("It has several EXIF segments")
    if len(existing) < len(jpeg.segments_named(APP1, EXIF[:5])):
        raise broken_structure("an EXIF segment has an invalid name")
    return _change(existing, EXIF, exif, _after_jfif(jpeg), APP1)


def _xmp_change(jpeg: Jpeg, xmp: bytes | None) -> Splice:
    existing = jpeg.segments_named(APP1, XMP)
    if len(existing) > 1:
        raise ambiguous_blocks("It has several XMP segments")
    others = [segment for segment in jpeg.head if segment.marker == APP1 and segment not in existing]
    if any(_is_odd_xmp(jpeg.content(segment, b"")) for segment in others):
        raise broken_structure("an XMP segment has an invalid name")
    return _change(existing, XMP, xmp, _after_exif(jpeg), APP1)


def _is_odd_xmp(payload: bytes) -> bool:
    if payload.startswith((EXIF, EXTENDED_XMP)):
        return False
    return payload.startswith(XMP[:-1]) or _ODD_XMP in payload


def _iptc_change(jpeg: Jpeg, iptc: bytes | None) -> Splice:
    segments = jpeg.segments_named(APP13, PHOTOSHOP)
    if len(segments) > 1:
        raise ambiguous_blocks("It has several segments of Photoshop resources, which hold IPTC")
    payload = _replace_iptc(jpeg.content(segments[0], PHOTOSHOP) if segments else b"", iptc)
    return _change(segments, PHOTOSHOP, payload or None, _after_exif(jpeg), APP13)


def _change(existing: list[Segment], name: bytes, block: bytes | None, new_at: int, marker: int) -> Splice:
    start, end = (existing[0].start, existing[0].end) if existing else (new_at, new_at)
    if block is None:
        return Splice(start, end, b"")
    if len(name) + len(block) > PAYLOAD_LIMIT:
        raise too_large("The photo's metadata would exceed the 64 KB of a JPEG segment")
    return Splice(start, end, pack_segment(marker, name + block))


def _after_jfif(jpeg: Jpeg) -> int:
    """The offset after the APP0 segments at the start of the file."""
    at = _SOI_BYTES
    for segment in jpeg.head:
        if segment.marker != APP0:
            break
        at = segment.end
    return at


def _after_exif(jpeg: Jpeg) -> int:
    exif = jpeg.segments_named(APP1, EXIF)
    return exif[-1].end if exif else _after_jfif(jpeg)


def _joined(parts: list[bytes], size: int) -> bytes | None:
    """Join the parts at the offsets that they state; None if there is a gap or an overlap."""
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


@dataclass(frozen=True)
class Resource:
    """One resource. `raw` is all of it, padding included; `head` is its signature, number and name."""

    number: int
    raw: bytes
    head: bytes
    value: bytes


def _replace_iptc(payload: bytes, iptc: bytes | None) -> bytes:
    """Return the resources with these IPTC datasets; all other resources stay unchanged.

    A digest that was correct is updated. A wrong digest means that a program changed IPTC but not XMP, and readers use it
    to decide which of the two to trust, so it stays wrong.

    Raises:
        WriteRefused: the resources cannot be read, or hold IPTC twice.
    """
    resources = list(_read(payload, strict=True))
    if sum(resource.number == IPTC for resource in resources) > 1:
        raise ambiguous_blocks("It has IPTC datasets twice")
    digest_before = next(
        (_digest(resource.value) for resource in resources if resource.number == IPTC), _digest(b"")
    )
    packed: list[bytes] = []
    for resource in resources:
        if resource.number == IPTC:
            packed += [_pack(resource.head, iptc)] if iptc is not None else []
        elif resource.number == IPTC_DIGEST:
            was_correct = resource.value == digest_before
            packed += [_pack(resource.head, _digest(iptc or b""))] if was_correct else [resource.raw]
        else:
            packed.append(resource.raw)
    if iptc is not None and all(resource.number != IPTC for resource in resources):
        packed.append(_pack(_NEW_HEAD, iptc))
    rest = payload[sum(len(resource.raw) for resource in resources) :]
    return b"".join((*packed, rest))


def _read(payload: bytes, *, strict: bool) -> Iterator[Resource]:
    at = 0
    for _ in range(_RESOURCE_LIMIT):
        if not payload[at:].strip(b"\0"):
            return
        name_bytes = payload[at + 6] + 1 if at + 12 <= len(payload) else 0
        head = at + 6 + name_bytes + name_bytes % 2
        size = int.from_bytes(payload[head : head + 4], "big")
        if payload[at : at + 4] not in _SIGNATURES or head + 4 + size > len(payload):
            break
        end = head + 4 + size + size % 2
        number = int.from_bytes(payload[at + 4 : at + 6], "big")
        # The last resource may lack its padding, which is needed once another one follows.
        raw = payload[at:end] + b"\0" * (end - len(payload))
        yield Resource(number, raw, payload[at:head], payload[head + 4 : head + 4 + size])
        at = end
    if strict:
        raise broken_structure("the Photoshop resources, which hold IPTC, cannot be read")


def _pack(head: bytes, value: bytes) -> bytes:
    return head + len(value).to_bytes(4, "big") + value + b"\0" * (len(value) % 2)


def _digest(iptc: bytes) -> bytes:
    return hashlib.md5(iptc, usedforsecurity=False).digest()
