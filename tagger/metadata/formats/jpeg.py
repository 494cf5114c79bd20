"""JPEG files: XMP and EXIF have segments of their own, IPTC is one of Photoshop's resources.

A write replaces whole segments before the image. Offsets across them are adjusted, or the write is refused:
those of the multi-picture index (CIPA DC-007) count from its own header. Cameras point from their maker notes
to previews after the image. Programs append notes there, of which only the kinds below may move.
"""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from tagger.metadata.formats.jpeg_segments import (
    APP0,
    APP1,
    APP2,
    APP11,
    APP13,
    EXTENDED_XMP,
    MPF,
    PAYLOAD_LIMIT,
    PHOTOSHOP,
    Jpeg,
    Segment,
    pack_segment,
    read_jpeg,
    replace_iptc,
)
from tagger.metadata.splices import (
    Splice,
    ambiguous_blocks,
    broken_structure,
    fixed_offsets,
    in_order,
    signed_file,
    too_large,
)
from tagger.photos.formats.reader import Blocks
from tagger.photos.jpeg import EXIF, XMP, iptc_in
from tagger.photos.tiff import TiffBlock, open_tiff

# An identifier, the size of the whole, and the offset of the part.
_EXTENDED_HEAD_BYTES = 40
_ODD_XMP = b"adobe:ns:meta"
_SOI_BYTES = 2


def read_blocks(data: bytes) -> Blocks:
    """Read the first XMP and EXIF segments, and the IPTC datasets."""
    jpeg = read_jpeg(data)
    xmp, exif = jpeg.segments_named(APP1, XMP), jpeg.segments_named(APP1, EXIF)
    resources = (jpeg.content(segment, PHOTOSHOP) for segment in jpeg.segments_named(APP13, PHOTOSHOP))
    return Blocks(
        xmp=jpeg.content(xmp[0], XMP) if xmp else None,
        exif=jpeg.content(exif[0], EXIF) if exif else None,
        iptc=next((iptc for each in resources if (iptc := iptc_in(each)) is not None), None),
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
    index = _read_index(jpeg)
    _require_movable(jpeg, index)
    if index:
        changes += _offset_patches(jpeg, index, partial(_shifted, tuple(changes)))
    return tuple(sorted(changes, key=lambda change: change.start))


def extended_xmp(data: bytes) -> bytes:
    """The part of the XMP in extension segments, in the order of these."""
    jpeg = read_jpeg(data)
    return b"".join(
        jpeg.content(segment, EXTENDED_XMP)[_EXTENDED_HEAD_BYTES:]
        for segment in jpeg.segments_named(APP1, EXTENDED_XMP)
    )


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
    payload = replace_iptc(jpeg.content(segments[0], PHOTOSHOP) if segments else b"", iptc)
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


_ENTRIES, _UNDEFINED = 0xB002, 7
_ENTRY_BYTES, _SIZE_AT, _OFFSET_AT = 16, 4, 8
_IMAGE_START = b"\xff\xd8\xff"
_LARGEST = 2**32 - 1
_EXIF_POINTER, _MAKER_NOTE, _THUMBNAIL = 0x8769, 0x927C, 0x0201
_MOVABLE_LIMIT = 16


@dataclass(frozen=True)
class _IndexedImage:
    """An image in the index: the offset of its entry, and the offset and size that the entry states."""

    entry_at: int
    start: int
    size: int


@dataclass(frozen=True)
class _Index:
    """`base` is the offset that all offsets count from. `images` are the images after the first."""

    order: str
    base: int
    first: _IndexedImage | None
    images: tuple[_IndexedImage, ...]


def _read_index(jpeg: Jpeg) -> _Index | None:
    """Read the index; None if the file has none.

    Raises:
        WriteRefused: the index cannot be interpreted.
    """
    segments = jpeg.segments_named(APP2, MPF)
    if not segments:
        return None
    base = segments[0].payload + len(MPF)
    block = open_tiff(jpeg.data[base : segments[0].end])
    directory = block.directory(block.first) if block else None
    entries = directory.tags.get(_ENTRIES) if directory else None
    is_readable = entries is not None and entries.kind == _UNDEFINED and not entries.count % _ENTRY_BYTES
    if len(segments) > 1 or block is None or entries is None or not is_readable:
        raise fixed_offsets("It holds several images, and their index cannot be read")
    starts = range(base + entries.start, base + entries.start + entries.count, _ENTRY_BYTES)
    images = [_image(jpeg, block.order, base, at) for at in starts]
    first = images[0] if images[0].start == base else None
    # An entry without an offset or a size is unused.
    others = tuple(image for image in images if image.start != base and image.size)
    return _Index(block.order, base, first, others)


def _image(jpeg: Jpeg, order: str, base: int, entry_at: int) -> _IndexedImage:
    size, offset = struct.unpack_from(order + "II", jpeg.data, entry_at + _SIZE_AT)
    image = _IndexedImage(entry_at, base + offset, size)
    # If a program dropped the images but kept the index, it points past the file's end, and continues to.
    is_inside = offset and size and image.start < len(jpeg.data)
    if is_inside and (image.start < jpeg.end or not jpeg.data.startswith(_IMAGE_START, image.start)):
        raise fixed_offsets("Its index of images points to data that is not an image")
    return image


def _offset_patches(jpeg: Jpeg, index: _Index, shift: Callable[[int], int]) -> list[Splice]:
    """The splices that update the index. `shift` maps each offset of the file to its new one.

    Raises:
        WriteRefused: a new number does not fit.
    """
    base = shift(index.base)
    numbers = [(image.entry_at + _OFFSET_AT, shift(image.start) - base) for image in index.images]
    first = index.first
    # Some writers store a wrong size. A size that reaches past the image's end includes the inserted bytes.
    if first and jpeg.end <= first.size <= len(jpeg.data):
        numbers.append((first.entry_at + _SIZE_AT, first.size + shift(jpeg.end) - jpeg.end))
    if any(not 0 < number <= _LARGEST for _, number in numbers):
        raise fixed_offsets("Its index of images cannot hold larger numbers")
    splices = (Splice(at, at + 4, struct.pack(index.order + "I", number)) for at, number in numbers)
    return [splice for splice in splices if jpeg.data[splice.start : splice.end] != splice.replacement]


def _require_movable(jpeg: Jpeg, index: _Index | None) -> None:
    """Check that bytes can be inserted before the image.

    Raises:
        WriteRefused: an offset to other data would become wrong.
    """
    if not _is_movable(_unindexed(jpeg, index)):
        raise fixed_offsets("It holds data after the image that may be found by its position in the file")
    segments = jpeg.segments_named(APP1, EXIF)
    base = segments[0].payload + len(EXIF) if segments else 0
    block = open_tiff(jpeg.data[base : segments[0].end]) if segments else None
    if block is None:
        return
    if _thumbnail_is_outside(block, len(jpeg.data) - base):
        raise fixed_offsets("Its EXIF points to data outside of the EXIF")
    starts = [image.start for image in index.images if image.start < len(jpeg.data)] if index else []
    if starts and any(_note_holds_offset(block, base, start) for start in starts):
        raise fixed_offsets("The camera's maker notes point to another image after the image")


def _unindexed(jpeg: Jpeg, index: _Index | None) -> bytes:
    """The trailer without the images in the index."""
    rest, at = [], jpeg.end
    for image in sorted(index.images if index else (), key=lambda image: image.start):
        rest.append(jpeg.data[at : max(at, image.start)])
        at = max(at, image.start + image.size)
    tail = jpeg.data[at:]
    between = b"".join(rest)
    return tail if not between.strip(b"\0") else between + tail


def _is_movable(trailer: bytes) -> bool:
    """Whether the trailer is padding, videos and Samsung's notes, which hold relative offsets only."""
    rest = trailer
    for _ in range(_MOVABLE_LIMIT):
        if not rest or b"ftyp" in rest.lstrip(b"\0")[:8]:
            return True
        size = _samsung_bytes(rest)
        # Padding may follow notes, which may end in zeros themselves.
        shorter = rest[: len(rest) - size] if size else rest.rstrip(b"\0")
        if shorter == rest:
            return False
        rest = shorter
    return False


def _samsung_bytes(trailer: bytes) -> int:
    """The size of Samsung's notes, whose directory states how far before it each block starts; 0: none."""
    size = int.from_bytes(trailer[-8:-4], "little")
    start = len(trailer) - 8 - size
    if trailer[-4:] != b"SEFT" or start < 0 or trailer[start : start + 4] != b"SEFH":
        return 0
    count = int.from_bytes(trailer[start + 8 : start + 12], "little")
    entries = range(start + 12, min(start + 12 + 12 * count, len(trailer) - 12), 12)
    farthest = max((int.from_bytes(trailer[at + 4 : at + 8], "little") for at in entries), default=0)
    whole = len(trailer) - start + farthest
    return whole if whole <= len(trailer) else 0


def _thumbnail_is_outside(block: TiffBlock, reach: int) -> bool:
    """Whether a thumbnail is after the EXIF and inside of the file. Past its end, it is lost already."""
    starts = (start for each in block.directories() for start in block.integers(each.tags.get(_THUMBNAIL)))
    return any(len(block.data) <= start < reach for start in starts)


def _note_holds_offset(block: TiffBlock, base: int, image_start: int) -> bool:
    """Whether the maker note contains the offset of an image, counted from any likely origin."""
    main = block.directory(block.first)
    exif = block.child(main.tags.get(_EXIF_POINTER)) if main else None
    note = exif.tags.get(_MAKER_NOTE) if exif else None
    if note is None:
        return False
    origins = (origin for origin in (0, base, base + note.start) if 0 <= image_start - origin <= _LARGEST)
    content = bytes(note.raw)
    return any(struct.pack(order + "I", image_start - at) in content for at in origins for order in "<>")
