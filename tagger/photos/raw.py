"""Camera RAW files: their embedded previews, the image data of the sensor, EXIF and XMP.

A layout says where a file states that its parts are. Most RAW files are TIFFs: DNG, CR2, NEF, ARW, ORF, RW2,
PEF, SRW, 3FR, IIQ and similar ones. To other readers they are plain TIFFs, so their directories decide.
Previews that can be shown are JPEGs: images of a single strip, or what the tags of EXIF thumbnails refer to,
in any directory; Olympus, Nikon and Pentax also keep one in the maker note, and Panasonic in a tag. Canon's
CR3 are ISO base media boxes, where each image is a track and EXIF is in several TIFF blocks; their structure
is that of <https://github.com/lclevy/canon_cr3>. Those of Fujifilm and Minolta are a header.

A layout is not checked: its offsets may lie outside the file. All parsing is bounded, follows no loops and
never raises on bad input. Sensor data are not developed here (see decoding). Knows nothing of
pixels or of how metadata is written.
"""

import struct
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from tagger.photos.containers import (
    EXIF_POINTER,
    GPS_POINTER,
    MAKER_NOTE,
    StoredValue,
    TiffBlock,
    TiffDirectory,
    TiffTag,
    append_directory,
    jpeg_exif,
    jpeg_frame,
    open_tiff,
    tiff_in,
)


@dataclass(frozen=True)
class ByteRange:
    start: int
    size_bytes: int


@dataclass(frozen=True)
class RawLayout:
    """`jpegs` may be previews or anything else. `images` are stored images with their strips or tiles: that
    of the sensor, previews and thumbnails. `exif` is a TIFF block, which may lack the facts of the capture;
    `xmp` is a packet. `is_cut_off`: the file ends before what states where its parts are.
    """

    jpegs: tuple[ByteRange, ...] = ()
    images: tuple[tuple[ByteRange, ...], ...] = ()
    exif: bytes | None = None
    has_capture_facts: bool = True
    xmp: bytes | None = None
    is_cut_off: bool = False


@dataclass(frozen=True)
class Preview:
    """An embedded JPEG, not copied, with its place in the file and the size that its frame states."""

    span: ByteRange
    data: memoryview
    width: int
    height: int

    @property
    def pixels(self) -> int:
        return self.width * self.height


# Sensor data are the larger part of a RAW file. With less than this part, the directories are
# damaged.
_LEAST_SHARE = 8
_JPEG_AT, _SENSOR_AT = 84, 100
_BLOCK_LIMIT = 100


@dataclass(frozen=True)
class RawFile:
    """`previews` are JPEGs, largest first. `image` is the data of the sensor, empty if they are not found.

    `exif` is a TIFF block, `xmp` a packet. `is_truncated`: a part of the file lies behind its end.
    """

    previews: tuple[Preview, ...]
    image: tuple[memoryview, ...]
    exif: bytes | None
    xmp: bytes | None
    is_truncated: bool


def read_raw(data: bytes) -> RawFile:
    """Find the parts of a RAW file (see `is_raw`), as far as it is valid."""
    if data.startswith(FUJIFILM_SIGNATURE):
        layout = _raf_layout(data)
    elif data.startswith(MINOLTA_SIGNATURE):
        layout = _mrw_layout(data)
    else:
        is_cr3 = data[8:12] == CANON_BRAND
        layout = cr3_layout(data) if is_cr3 else tiff_layout(data)
    previews = find_previews(data, layout.jpegs)
    exif_of_previews = (
        exif for preview in previews if (exif := jpeg_exif(preview.data))
    )
    spans = (*layout.jpegs, *(span for image in layout.images for span in image))
    return RawFile(
        previews,
        _sensor_image(data, layout.images, previews),
        layout.exif
        if layout.has_capture_facts
        else next(exif_of_previews, layout.exif),
        layout.xmp,
        is_truncated=layout.is_cut_off
        or any(span.start + span.size_bytes > len(data) for span in spans),
    )


def _sensor_image(
    data: bytes, images: Sequence[Sequence[ByteRange]], previews: Sequence[Preview]
) -> tuple[memoryview, ...]:
    # The largest stored image that is no preview; empty if it is too small or partly outside the file.
    previewed = {preview.span for preview in previews}
    others = [image for image in images if len(image) != 1 or image[0] not in previewed]
    largest = max(
        others,
        key=lambda image: sum(span.size_bytes for span in image),
        default=(),
    )
    size_bytes = sum(span.size_bytes for span in largest)
    # More bytes than the file: strips overlap, which could make a small file as expensive as a large one.
    if not len(data) / _LEAST_SHARE <= size_bytes <= len(data) or not all(
        lies_in(data, s) for s in largest
    ):
        return ()
    return tuple(
        memoryview(data)[span.start : span.start + span.size_bytes] for span in largest
    )


def _raf_layout(data: bytes) -> RawLayout:
    # Read the layout; empty if the header is cut off.
    if len(data) < _SENSOR_AT + 8:
        return RawLayout(is_cut_off=True)
    jpeg, sensor = (
        ByteRange(*struct.unpack_from(">II", data, at)) for at in (_JPEG_AT, _SENSOR_AT)
    )
    exif = jpeg_exif(memoryview(data)[jpeg.start : jpeg.start + jpeg.size_bytes])
    return RawLayout((jpeg,), images=((sensor,),), exif=exif)


def _mrw_layout(data: bytes) -> RawLayout:
    end = 8 + int.from_bytes(data[4:8], "big")
    sensor = ByteRange(end, len(data) - end)
    at, exif = 8, None
    for _ in range(_BLOCK_LIMIT):
        if at + 8 > min(end, len(data)):
            break
        kind, size_bytes = struct.unpack_from(">4sI", data, at)
        at += 8
        if kind == b"\0TTW":
            exif = data[at : min(at + size_bytes, end)]
        at += size_bytes
    return RawLayout(images=((sensor,),), exif=exif)


# Baseline, extended and progressive. Sensor data are often lossless JPEGs.
_DISPLAYABLE_CODINGS = {0xC0, 0xC1, 0xC2}
_SPAN_LIMIT = 64
# The frame comes after EXIF and a colour profile, of at most 64 KB each in all files of cameras.
_HEAD_BYTES = 2**20


def find_previews(data: bytes, spans: Iterable[ByteRange]) -> tuple[Preview, ...]:
    whole = dict.fromkeys(span for span in spans if lies_in(data, span))
    previews = []
    for span in list(whole)[:_SPAN_LIMIT]:
        view = memoryview(data)[span.start : span.start + span.size_bytes]
        is_jpeg = bytes(view[:3]) == b"\xff\xd8\xff"
        frame = jpeg_frame(view[:_HEAD_BYTES]) if is_jpeg else None
        if frame is None or frame.bits != 8 or frame.coding not in _DISPLAYABLE_CODINGS:
            continue
        if frame.components in (1, 3) and frame.width > 0 and frame.height > 0:
            previews.append(Preview(span, view, frame.width, frame.height))
    return tuple(
        sorted(previews, key=lambda preview: (-preview.pixels, -len(preview.data)))
    )


def lies_in(data: bytes, span: ByteRange) -> bool:
    return (
        span.start > 0
        and span.size_bytes > 0
        and span.start + span.size_bytes <= len(data)
    )


CANON_BRAND = b"crx "
FUJIFILM_SIGNATURE = b"FUJIFILMCCD-RAW"
PANASONIC_SIGNATURE = b"IIU\0"
MINOLTA_SIGNATURE = b"\0MRM"
_SIGNATURES = (
    *(FUJIFILM_SIGNATURE, PANASONIC_SIGNATURE, MINOLTA_SIGNATURE),
    # Olympus.
    *(b"IIRO", b"IIRS", b"MMOR"),
    # Canon (CRW) and Sigma. No parts of these files are found; they can be developed.
    *(b"II\x1a\0\0\0HEAPCCDR", b"FOVb"),
)
_DETECTION_LIMIT = 8
_DNG_VERSION = 50706
SUBFILE_TYPE, PHOTOMETRIC = 254, 262
COMPRESSION, _SUB_DIRECTORIES = 259, 330
# A colour filter array, and linear sensor data.
_SENSOR_PHOTOMETRICS = {32803, 34892}
# The compressions of Sony, Epson, Samsung (two), Kodak, Nikon, Kodak and Pentax, in this order.
_MAKERS_COMPRESSIONS = {32767, 32769, 32770, 32772, 32867, 34713, 65000, 65535}


def is_raw(head: bytes) -> bool:
    """Whether a file that begins with `head` is a RAW file, as far as directories in `head` say so."""
    if head.startswith(_SIGNATURES) or (
        head[4:8] == b"ftyp" and head[8:12] == CANON_BRAND
    ):
        return True
    block = open_tiff(head)
    if block is None:
        return False
    if head[8:11] == b"CR\2" or is_phase_one(head):
        return True
    return any(
        _DNG_VERSION in directory.tags or is_sensor_image(block, directory)
        for directory in directories_of(block, _DETECTION_LIMIT)
    )


def is_phase_one(head: bytes) -> bool:
    """Whether a TIFF is an IIQ file."""
    return (head[8:12], head[13:16]) == (b"IIII", b"waR") or (
        head[8:12],
        head[12:15],
    ) == (
        b"MMMM",
        b"Raw",
    )


def directories_of(block: TiffBlock, limit: int) -> Iterator[TiffDirectory]:
    """At most `limit` directories, each once: the chain from the first, and what each points to."""
    offsets = deque([block.first])
    seen: set[int] = set()
    while offsets and len(seen) < limit:
        offset = offsets.popleft()
        directory = None if offset in seen else block.directory(offset)
        seen.add(offset)
        if directory is not None:
            yield directory
            offsets.extend(block.integers(directory.tags.get(_SUB_DIRECTORIES))[:limit])
            offsets.append(directory.following)


def is_sensor_image(block: TiffBlock, directory: TiffDirectory) -> bool:
    photometric = block.integers(directory.tags.get(PHOTOMETRIC))[:1]
    compression = block.integers(directory.tags.get(COMPRESSION))[:1]
    return not (
        _SENSOR_PHOTOMETRICS.isdisjoint(photometric)
        and _MAKERS_COMPRESSIONS.isdisjoint(compression)
    )


# A DNG with masks has about ten.
_DIRECTORY_LIMIT = 32
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 273, 279, 324, 325
_JPEG_START, _JPEG_SIZE = 513, 514
_XMP, _DATE_OF_CAPTURE = 700, 36867
# Masks and depth maps.
_MASK_TYPES = 4 | 8
_MASK_PHOTOMETRICS = {4, 51177, 52527}
_PANASONIC_JPEGS, _PANASONIC_SENSOR_START = (0x2E, 0x127), 0x118
_NIKON_PREVIEW = 0x11
_OLYMPUS_SETTINGS, _OLYMPUS_START, _OLYMPUS_SIZE = 0x2020, 0x101, 0x102
_OLYMPUS_OLD_START, _OLYMPUS_OLD_SIZE = 0x88, 0x89
_PENTAX_START, _PENTAX_SIZE = 4, 3
_PENTAX_SIGNATURES = (b"AOC\0", b"PENTAX \0")
# How maker notes begin, where they state their byte order and their directory begins, and whether offsets
# count from the note. Older notes of Olympus state no order: no letters of one are where they begin.
_MAKER_NOTES = (
    (b"OLYMPUS\0", 8, 12, True),
    (b"OM SYSTEM\0", 12, 16, True),
    (b"OLYMP\0", 0, 8, False),
    (b"AOC\0", 4, 6, False),
    (b"PENTAX \0", 8, 10, True),
)
# Types of tags with a directory's offset. In older files of Olympus, the value is the directory.
_SUB_DIRECTORY_KINDS = (4, 13)
# Offsets in the directory of Phase One count from its header.
_PHASE_ONE_START = 8
_PHASE_ONE_ORDERS = {b"IIII": "<", b"MMMM": ">"}
_PHASE_ONE_ENTRIES = 1000
_PHASE_ONE_SENSOR = 0x10F


def tiff_layout(data: bytes) -> RawLayout:
    block = tiff_in(data)
    main = block.directory(block.first)
    if main is None:
        return RawLayout(is_cut_off=0 < len(data) <= block.first)
    directories = tuple(directories_of(block, _DIRECTORY_LIMIT))
    if data.startswith(PANASONIC_SIGNATURE):
        stored = [main.tags[tag] for tag in _PANASONIC_JPEGS if tag in main.tags]
        jpegs = tuple(ByteRange(entry.start, len(entry.raw)) for entry in stored)
        # The sensor data extend to the end of the file.
        starts = block.integers(main.tags.get(_PANASONIC_SENSOR_START))[:1]
        images: tuple[tuple[ByteRange, ...], ...] = tuple(
            (ByteRange(start, max(0, len(data) - start)),) for start in starts
        )
    else:
        previews = (
            span for directory in directories for span in _jpegs(block, directory)
        )
        jpegs = (*previews, *_maker_note_previews(block))
        images = _images(data, block, directories)
    xmp = main.tags.get(_XMP)
    has_exif = EXIF_POINTER in main.tags or _DATE_OF_CAPTURE in main.tags
    return RawLayout(
        jpegs,
        images,
        data,
        has_exif,
        bytes(xmp.raw) if xmp else None,
    )


def _jpegs(block: TiffBlock, directory: TiffDirectory) -> Iterator[ByteRange]:
    subfile_type = block.integers(directory.tags.get(SUBFILE_TYPE))[:1]
    photometric = block.integers(directory.tags.get(PHOTOMETRIC))[:1]
    is_mask = any(value & _MASK_TYPES for value in subfile_type) or any(
        value in _MASK_PHOTOMETRICS for value in photometric
    )
    if is_mask or is_sensor_image(block, directory):
        return
    yield from _span_in(block, directory.tags, _JPEG_START, _JPEG_SIZE)
    strips = _strips(block, directory)
    if len(strips) == 1:
        yield strips[0]


def _images(
    data: bytes, block: TiffBlock, directories: Iterable[TiffDirectory]
) -> tuple[tuple[ByteRange, ...], ...]:
    # The images that may be the sensor's. Canon and older files of Olympus do not say which it is.
    if is_phase_one(data):
        return tuple(_phase_one_sensor(data))
    stored = [
        (directory, strips)
        for directory in directories
        if (strips := _strips(block, directory))
    ]
    of_sensor = [
        strips for directory, strips in stored if is_sensor_image(block, directory)
    ]
    if of_sensor:
        return tuple(of_sensor)
    subfile_types = (
        block.integers(directory.tags.get(SUBFILE_TYPE))[:1] for directory, _ in stored
    )
    return tuple(
        strips
        for (_, strips), types in zip(stored, subfile_types, strict=True)
        if not any(value & 1 for value in types)  # no reduced image
    )


def _strips(block: TiffBlock, directory: TiffDirectory) -> tuple[ByteRange, ...]:
    # The strips or tiles of a directory's image; none if their numbers contradict each other.
    read = {
        tag: block.integers(directory.tags.get(tag))
        for tag in (_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES)
    }
    # Sony writes both: the tiles are right, the strip is a repetition.
    starts, sizes = (
        (read[_TILES], read[_TILE_SIZES])
        if read[_TILES]
        else (read[_STRIPS], read[_STRIP_SIZES])
    )
    if len(starts) != len(sizes):
        return ()
    return tuple(
        ByteRange(start, size) for start, size in zip(starts, sizes, strict=True)
    )


def _maker_note_previews(block: TiffBlock) -> Iterator[ByteRange]:
    note = block.tags_behind(EXIF_POINTER).get(MAKER_NOTE)
    if note is None:
        return
    head = bytes(note.raw[:16])
    if head.startswith(b"Nikon\0\2"):
        yield from _nikon(block, note.start + 10)
    for signature, order_at, entries_at, is_relative in _MAKER_NOTES:
        if not head.startswith(signature):
            continue
        # The block whose first directory is the maker note's.
        base = note.start if is_relative else 0
        order = {b"II": "<", b"MM": ">"}.get(head[order_at : order_at + 2], block.order)
        inner = TiffBlock(
            memoryview(block.data)[base:],
            order,
            big=False,
            first=note.start + entries_at - base,
        )
        if signature in _PENTAX_SIGNATURES:
            yield from _span_in(inner, inner.tags, _PENTAX_START, _PENTAX_SIZE, base)
        else:
            yield from _olympus(inner, base)
        return


def _span_in(
    block: TiffBlock,
    tags: Mapping[int, TiffTag],
    start_tag: int,
    size_tag: int,
    base: int = 0,
) -> Iterator[ByteRange]:
    # Yield the span that two tags state, if they do. Offsets count from `base`.
    starts, sizes = (block.integers(tags.get(tag)) for tag in (start_tag, size_tag))
    if len(starts) == len(sizes) == 1:
        yield ByteRange(base + starts[0], sizes[0])


def _nikon(block: TiffBlock, base: int) -> Iterator[ByteRange]:
    # The maker note contains a TIFF block.
    inner = tiff_in(memoryview(block.data)[base:])
    preview = inner.tags_behind(_NIKON_PREVIEW)
    yield from _span_in(inner, preview, _JPEG_START, _JPEG_SIZE, base)


def _olympus(block: TiffBlock, base: int) -> Iterator[ByteRange]:
    yield from _span_in(block, block.tags, _OLYMPUS_OLD_START, _OLYMPUS_OLD_SIZE, base)
    settings = block.tags.get(_OLYMPUS_SETTINGS)
    if settings is None:
        return
    is_pointer = settings.kind in _SUB_DIRECTORY_KINDS
    directory = block.child(settings) if is_pointer else block.directory(settings.start)
    if directory is not None:
        yield from _span_in(block, directory.tags, _OLYMPUS_START, _OLYMPUS_SIZE, base)


def _phase_one_sensor(data: bytes) -> Iterator[tuple[ByteRange, ...]]:
    order = _PHASE_ONE_ORDERS[data[_PHASE_ONE_START : _PHASE_ONE_START + 4]]
    entry = struct.Struct(order + "IIII")
    at = _PHASE_ONE_START + int.from_bytes(
        data[_PHASE_ONE_START + 8 : _PHASE_ONE_START + 12],
        "little" if order == "<" else "big",
    )
    if at + 8 > len(data):
        return
    (count,) = struct.unpack_from(order + "I", data, at)
    end = at + 8 + min(count, _PHASE_ONE_ENTRIES) * entry.size
    for entry_at in range(
        at + 8,
        min(end, len(data) - entry.size + 1),
        entry.size,
    ):
        tag, _, size_bytes, start = entry.unpack_from(data, entry_at)
        if tag == _PHASE_ONE_SENSOR:
            yield (ByteRange(_PHASE_ONE_START + start, size_bytes),)


_BOX_LIMIT = 1000
# A track has one image, in files of bursts a few hundred.
_SAMPLE_LIMIT = 1000
_METADATA = bytes.fromhex("85c0b687820f11e08111f4ce462b6a48")
_PREVIEW = bytes.fromhex("eaf42b5e1c984b88b9fbb7dc406e4d16")
_XMP_BOX = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_SAMPLE_TABLE = (b"mdia", b"minf", b"stbl")
# Sizes and flags precede a preview in its box.
_PREVIEW_START, _PREVIEW_HEAD_BYTES = b"\xff\xd8\xff", 64
# Longer values, such as maker notes, are left out: thousands of tags may share the same bytes.
_VALUE_BYTES, _DIRECTORY_BYTES = 4096, 2**17
_LONG = 4


@dataclass(frozen=True)
class _Box:
    # A box's type (of a `uuid` box, its identifier), and the range of its content.
    # `stated_end` lies behind `end` if the box is cut off.
    kind: bytes
    start: int
    end: int
    stated_end: int


def cr3_layout(data: bytes) -> RawLayout:
    top = list(boxes_in(data, 0, len(data)))
    movie = [
        inner for box in top if box.kind == b"moov" for inner in _children(data, box)
    ]
    tracks = [_samples(data, box) for box in movie if box.kind == b"trak"]
    metadata = [
        inner
        for box in movie
        if box.kind == _METADATA
        for inner in _children(data, box)
    ]
    previews = [box for box in top if box.kind == _PREVIEW] + [
        box for box in metadata if box.kind == b"THMB"
    ]
    jpegs = [samples[0] for samples in tracks if samples]
    for box in previews:
        head_end = min(box.start + _PREVIEW_HEAD_BYTES, box.end)
        start = data.find(_PREVIEW_START, box.start, head_end)
        if start >= 0:
            jpegs.append(ByteRange(start, box.stated_end - start))
    blocks = {box.kind: data[box.start : box.end] for box in metadata}
    return RawLayout(
        tuple(jpegs),
        images=tuple(samples for samples in tracks if samples),
        exif=_merged_exif(
            blocks.get(b"CMT1"),
            exif=blocks.get(b"CMT2"),
            gps=blocks.get(b"CMT4"),
        ),
        xmp=next(
            (data[box.start : box.end] for box in top if box.kind == _XMP_BOX), None
        ),
    )


def boxes_in(data: bytes, start: int, end: int) -> Iterator[_Box]:
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
    return boxes_in(data, box.start, box.end)


def _samples(data: bytes, track: _Box) -> tuple[ByteRange, ...]:
    # The images of a track; none if its tables contradict each other.
    boxes = [track]
    for kind in _SAMPLE_TABLE:
        boxes = [
            inner
            for box in boxes[:1]
            for inner in _children(data, box)
            if inner.kind == kind
        ]
    table = {inner.kind: inner for box in boxes[:1] for inner in _children(data, box)}
    sizes = _sizes(data, table.get(b"stsz"))
    chunks = _numbers(data, table.get(b"co64"), "Q") or _numbers(
        data,
        table.get(b"stco"),
        "I",
    )
    if len(chunks) == 1:
        chunks = tuple(accumulate(sizes[:-1], initial=chunks[0]))
    if len(chunks) != len(sizes):
        return ()
    return tuple(
        ByteRange(start, size) for start, size in zip(chunks, sizes, strict=True)
    )


def _sizes(data: bytes, box: _Box | None) -> tuple[int, ...]:
    # The sizes of a track's samples: one for all, or a table.
    if box is None or box.end - box.start < 12:
        return ()
    common, count = struct.unpack_from(">II", data, box.start + 4)
    if not common:
        return _numbers(data, replace(box, start=box.start + 4), "I")
    return (common,) * count if count <= _SAMPLE_LIMIT else ()


def _numbers(data: bytes, box: _Box | None, letter: str) -> tuple[int, ...]:
    # A table of numbers after its version and their count.
    if box is None or box.end - box.start < 8:
        return ()
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    if (
        count > _SAMPLE_LIMIT
        or box.start + 8 + count * struct.calcsize(letter) > box.end
    ):
        return ()
    return struct.unpack_from(f">{count}{letter}", data, box.start + 8)


def _merged_exif(
    main: bytes | None, *, exif: bytes | None, gps: bytes | None
) -> bytes | None:
    # A block with the directory of `main`, which points to the others; None if `main` has none.
    block = tiff_in(main)
    if not block.tags:
        return None
    order = block.order
    merged = bytearray(
        struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8)
    )
    children = {}
    for pointer, other in (
        (EXIF_POINTER, tiff_in(exif)),
        (GPS_POINTER, tiff_in(gps)),
    ):
        if other.tags and other.order == order:
            children[pointer] = other.tags
    pointers = dict.fromkeys(children, (_LONG, 1, bytes(4)))
    slots = append_directory(
        merged,
        order,
        _short_values(block.tags) | pointers,
    )
    for pointer, tags in children.items():
        struct.pack_into(order + "I", merged, slots[pointer], len(merged))
        append_directory(merged, order, _short_values(tags))
    return bytes(merged)


def _short_values(tags: Mapping[int, TiffTag]) -> dict[int, StoredValue]:
    # The values of a directory without its pointers, and without values beyond the limits.
    values = {}
    size_bytes = 0
    for tag, entry in tags.items():
        size_bytes += len(entry.raw)
        is_short = len(entry.raw) <= _VALUE_BYTES and size_bytes <= _DIRECTORY_BYTES
        if is_short and tag not in (EXIF_POINTER, GPS_POINTER):
            values[tag] = (entry.kind, entry.count, bytes(entry.raw))
    return values
