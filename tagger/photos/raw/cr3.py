"""The layout of Canon's CR3: ISO base media boxes. Each image is a track; EXIF is in several TIFF blocks.

The structure is that of <https://github.com/lclevy/canon_cr3>.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

from tagger.photos.raw.layout import ByteRange, RawLayout
from tagger.photos.tiff import (
    StoredValue,
    TiffBlock,
    TiffDirectory,
    TiffTag,
    append_directory,
    open_tiff,
)

_BOX_LIMIT = 1000
# A track has one image, in files of bursts a few hundred.
_SAMPLE_LIMIT = 1000
_METADATA = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_PREVIEW = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")
_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_SAMPLE_TABLE = (b"mdia", b"minf", b"stbl")
# Sizes and flags precede a preview in its box.
_JPEG_START, _JPEG_HEAD_BYTES = b"\xff\xd8\xff", 64
_EXIF_POINTER, _GPS_POINTER = 0x8769, 0x8825
# Longer values, such as maker notes, are left out: thousands of tags may share the same bytes.
_VALUE_BYTES, _DIRECTORY_BYTES = 4096, 2**17
_LONG = 4


@dataclass(frozen=True)
class _Box:
    """A box's type (of a `uuid` box, its identifier), and the range of its content.

    `stated_end` lies behind `end` if the box is cut off.
    """

    kind: bytes
    start: int
    end: int
    stated_end: int


def cr3_layout(data: bytes) -> RawLayout:
    """Read the layout, as far as the boxes are valid."""
    top = list(_boxes(data, 0, len(data)))
    movie = [inner for box in top if box.kind == b"moov" for inner in _children(data, box)]
    tables = [_sample_table(data, box) for box in movie if box.kind == b"trak"]
    tracks = [_samples(data, table) for table in tables]
    metadata = [inner for box in movie if box.kind == _METADATA for inner in _children(data, box)]
    previews = [box for box in top if box.kind == _PREVIEW] + [box for box in metadata if box.kind == b"THMB"]
    jpegs = [span for box in previews for span in _jpeg_in(data, box)]
    jpegs += [samples[0] for samples in tracks if samples]
    blocks = {box.kind: data[box.start : box.end] for box in metadata}
    return RawLayout(
        tuple(jpegs),
        images=tuple(samples for samples in tracks if samples),
        exif=_merged_exif(blocks.get(b"CMT1"), exif=blocks.get(b"CMT2"), gps=blocks.get(b"CMT4")),
        xmp=next((data[box.start : box.end] for box in top if box.kind == _XMP), None),
    )


def _boxes(data: bytes, start: int, end: int) -> Iterator[_Box]:
    """Yield the boxes in a range. The last one may be cut off."""
    at = start
    for _ in range(_BOX_LIMIT):
        if at + 8 > end:
            return
        (size, kind), head = struct.unpack_from(">I4s", data, at), 8
        if size == 1 and at + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        if size == 0:
            size = end - at
        if size < head:
            return
        content = at + head
        if kind == b"uuid":
            kind, content = data[content : content + 16], content + 16
        yield _Box(kind, min(content, end), min(at + size, end), at + size)
        at += size


def _children(data: bytes, box: _Box) -> Iterator[_Box]:
    return _boxes(data, box.start, box.end)


def _jpeg_in(data: bytes, box: _Box) -> Iterator[ByteRange]:
    start = data.find(_JPEG_START, box.start, min(box.start + _JPEG_HEAD_BYTES, box.end))
    if start >= 0:
        yield ByteRange(start, box.stated_end - start)


def _sample_table(data: bytes, track: _Box) -> dict[bytes, _Box]:
    """The boxes that describe the images of a track."""
    boxes = [track]
    for kind in _SAMPLE_TABLE:
        boxes = [inner for box in boxes[:1] for inner in _children(data, box) if inner.kind == kind]
    return {inner.kind: inner for box in boxes[:1] for inner in _children(data, box)}


def _samples(data: bytes, table: Mapping[bytes, _Box]) -> tuple[ByteRange, ...]:
    """The images of a track; none if its tables contradict each other."""
    sizes = _sizes(data, table.get(b"stsz"))
    chunks = _numbers(data, table.get(b"co64"), "Q") or _numbers(data, table.get(b"stco"), "I")
    if len(chunks) == 1:
        chunks = tuple(accumulate(sizes[:-1], initial=chunks[0]))
    if len(chunks) != len(sizes):
        return ()
    return tuple(ByteRange(start, size) for start, size in zip(chunks, sizes, strict=True))


def _sizes(data: bytes, box: _Box | None) -> tuple[int, ...]:
    """The sizes of a track's samples: one for all, or a table."""
    if box is None or box.end - box.start < 12:
        return ()
    common, count = struct.unpack_from(">II", data, box.start + 4)
    if not common:
        return _numbers(data, replace(box, start=box.start + 4), "I")
    return (common,) * count if count <= _SAMPLE_LIMIT else ()


def _numbers(data: bytes, box: _Box | None, letter: str) -> tuple[int, ...]:
    """A table of numbers after its version and their count."""
    if box is None or box.end - box.start < 8:
        return ()
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    if count > _SAMPLE_LIMIT or box.start + 8 + count * struct.calcsize(letter) > box.end:
        return ()
    return struct.unpack_from(f">{count}{letter}", data, box.start + 8)


def _merged_exif(main: bytes | None, *, exif: bytes | None, gps: bytes | None) -> bytes | None:
    """A block with the directory of `main`, which points to the others; None if `main` has none."""
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
    pointers = dict.fromkeys(children, (_LONG, 1, bytes(4)))
    slots = append_directory(merged, order, _short_values(directory.tags) | pointers)
    for pointer, tags in children.items():
        struct.pack_into(order + "I", merged, slots[pointer], len(merged))
        append_directory(merged, order, _short_values(tags))
    return bytes(merged)


def _first(block: TiffBlock | None) -> TiffDirectory | None:
    return block.directory(block.first) if block else None


def _short_values(tags: Mapping[int, TiffTag]) -> dict[int, StoredValue]:
    """The values of a directory without its pointers, and without values beyond the limits."""
    values = {}
    size_bytes = 0
    for tag, entry in tags.items():
        size_bytes += len(entry.raw)
        is_short = len(entry.raw) <= _VALUE_BYTES and size_bytes <= _DIRECTORY_BYTES
        if is_short and tag not in (_EXIF_POINTER, _GPS_POINTER):
            values[tag] = (entry.kind, entry.count, bytes(entry.raw))
    return values
