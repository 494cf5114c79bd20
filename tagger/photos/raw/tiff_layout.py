"""The layout of RAW files that are TIFFs: DNG, CR2, NEF, ARW, ORF, RW2, PEF, SRW, 3FR, IIQ and similar ones.

Previews are images of a single strip, or what the tags of EXIF thumbnails refer to, in any directory; Olympus, Nikon and
Pentax also keep one in the maker note, and Panasonic in a tag.
"""

import struct
from collections.abc import Iterable, Iterator

from tagger.photos.raw.layout import (
    PANASONIC_SIGNATURE,
    PHOTOMETRIC,
    SUBFILE_TYPE,
    ByteRange,
    RawLayout,
    directories_of,
    is_phase_one,
    is_sensor_image,
)
from tagger.photos.tiff import TiffBlock, TiffDirectory, TiffTag, open_tiff

_DIRECTORY_LIMIT = 32
"""A DNG with masks has about ten."""
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 273, 279, 324, 325
_JPEG_START, _JPEG_SIZE = 513, 514
_XMP, _DATE_OF_CAPTURE = 700, 36867
_MASK_TYPES = 4 | 8
"""Masks and depth maps."""
_MASK_PHOTOMETRICS = {4, 51177, 52527}
_PANASONIC_JPEGS, _PANASONIC_SENSOR_START = (0x2E, 0x127), 0x118
EXIF_POINTER = 0x8769
_MAKER_NOTE = 0x927C
_NIKON_PREVIEW, _NIKON_START, _NIKON_SIZE = 0x11, 513, 514
_OLYMPUS_SETTINGS, _OLYMPUS_START, _OLYMPUS_SIZE = 0x2020, 0x101, 0x102
_OLYMPUS_OLD_START, _OLYMPUS_OLD_SIZE = 0x88, 0x89
_PENTAX_START, _PENTAX_SIZE = 4, 3
_SUB_DIRECTORY_KINDS = (4, 13)
"""Types of tags that hold the offset of a directory. In older files of Olympus, the tag's value is the directory itself."""
_PHASE_ONE_START = 8
"""Offsets in the directory of Phase One count from its header."""
_PHASE_ONE_ORDERS = {b"IIII": "<", b"MMMM": ">"}
_PHASE_ONE_ENTRIES = 1000
_PHASE_ONE_SENSOR = 0x10F


def tiff_layout(data: bytes) -> RawLayout:
    """Read the layout; empty if the first directory cannot be read."""
    block = open_tiff(data)
    main = block.directory(block.first) if block else None
    if block is None or main is None:
        return RawLayout()
    directories = tuple(directories_of(block, _DIRECTORY_LIMIT))
    if data.startswith(PANASONIC_SIGNATURE):
        jpegs, images = tuple(_panasonic_jpegs(main)), tuple(_panasonic_sensor(block, main))
    else:
        stored = (span for directory in directories for span in _jpegs(block, directory))
        jpegs, images = (*stored, *_maker_note_previews(block, main)), _images(data, block, directories)
    xmp = main.tags.get(_XMP)
    has_exif = EXIF_POINTER in main.tags or _DATE_OF_CAPTURE in main.tags
    return RawLayout(jpegs, images, data, has_exif, bytes(xmp.raw) if xmp else None)


def _jpegs(block: TiffBlock, directory: TiffDirectory) -> Iterator[ByteRange]:
    if is_sensor_image(block, directory) or _is_mask(block, directory):
        return
    yield from _span_in(block, directory, _JPEG_START, _JPEG_SIZE)
    strips = _strips(block, directory)
    if len(strips) == 1:
        yield strips[0]


def _images(
    data: bytes, block: TiffBlock, directories: Iterable[TiffDirectory]
) -> tuple[tuple[ByteRange, ...], ...]:
    """The images that may be the sensor's. Canon and older files of Olympus do not say which it is."""
    if is_phase_one(data):
        return tuple(_phase_one_sensor(data))
    stored = [(directory, strips) for directory in directories if (strips := _strips(block, directory))]
    of_sensor = [strips for directory, strips in stored if is_sensor_image(block, directory)]
    return tuple(of_sensor or (strips for directory, strips in stored if not _is_reduced(block, directory)))


def _strips(block: TiffBlock, directory: TiffDirectory) -> tuple[ByteRange, ...]:
    """The strips or tiles of a directory's image; none if their numbers contradict each other."""
    read = {
        tag: block.integers(directory.tags.get(tag)) for tag in (_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES)
    }
    # Sony writes both: the tiles are right, the strip is a repetition.
    starts, sizes = (read[_TILES], read[_TILE_SIZES]) if read[_TILES] else (read[_STRIPS], read[_STRIP_SIZES])
    if len(starts) != len(sizes):
        return ()
    return tuple(ByteRange(start, size) for start, size in zip(starts, sizes, strict=True))


def _is_reduced(block: TiffBlock, directory: TiffDirectory) -> bool:
    return any(value & 1 for value in block.integers(directory.tags.get(SUBFILE_TYPE))[:1])


def _is_mask(block: TiffBlock, directory: TiffDirectory) -> bool:
    subfile_type = block.integers(directory.tags.get(SUBFILE_TYPE))[:1]
    photometric = block.integers(directory.tags.get(PHOTOMETRIC))[:1]
    return any(value & _MASK_TYPES for value in subfile_type) or not _MASK_PHOTOMETRICS.isdisjoint(
        photometric
    )


def _panasonic_jpegs(main: TiffDirectory) -> Iterator[ByteRange]:
    for tag in _PANASONIC_JPEGS:
        if entry := main.tags.get(tag):
            yield ByteRange(entry.start, len(entry.raw))


def _panasonic_sensor(block: TiffBlock, main: TiffDirectory) -> Iterator[tuple[ByteRange, ...]]:
    """The sensor data, which extend to the end of the file."""
    for start in block.integers(main.tags.get(_PANASONIC_SENSOR_START))[:1]:
        yield (ByteRange(start, max(0, len(block.data) - start)),)


def _maker_note_previews(block: TiffBlock, main: TiffDirectory) -> Iterator[ByteRange]:
    """Yield the previews of a file's maker note."""
    exif = block.child(main.tags.get(EXIF_POINTER))
    note = exif.tags.get(_MAKER_NOTE) if exif else None
    if note is None:
        return
    head = bytes(note.raw[:16])
    if head.startswith(b"Nikon\0\2"):
        yield from _nikon(block, note.start + 10)
    elif head.startswith(b"OLYMPUS\0"):
        yield from _olympus(block, note, head[8:10], entries_at=12, is_relative=True)
    elif head.startswith(b"OM SYSTEM\0"):
        yield from _olympus(block, note, head[12:14], entries_at=16, is_relative=True)
    elif head.startswith(b"OLYMP\0"):
        yield from _olympus(block, note, b"", entries_at=8, is_relative=False)
    elif head.startswith(b"AOC\0"):
        yield from _pentax(block, note, head[4:6], entries_at=6, is_relative=False)
    elif head.startswith(b"PENTAX \0"):
        yield from _pentax(block, note, head[8:10], entries_at=10, is_relative=True)


def _span_in(
    block: TiffBlock, directory: TiffDirectory | None, start_tag: int, size_tag: int, base: int = 0
) -> Iterator[ByteRange]:
    """Yield the span that two tags state, if they do. Offsets count from `base`."""
    if directory is None:
        return
    starts, sizes = (block.integers(directory.tags.get(tag)) for tag in (start_tag, size_tag))
    if len(starts) == len(sizes) == 1:
        yield ByteRange(base + starts[0], sizes[0])


def _nikon(block: TiffBlock, base: int) -> Iterator[ByteRange]:
    """The maker note contains a TIFF block."""
    inner = open_tiff(memoryview(block.data)[base:])
    main = inner.directory(inner.first) if inner else None
    if inner is None or main is None:
        return
    preview = inner.child(main.tags.get(_NIKON_PREVIEW))
    yield from _span_in(inner, preview, _NIKON_START, _NIKON_SIZE, base)


def _olympus(
    block: TiffBlock, note: TiffTag, order: bytes, *, entries_at: int, is_relative: bool
) -> Iterator[ByteRange]:
    inner, base = _inner_block(block, note, order, entries_at, is_relative=is_relative)
    main = inner.directory(inner.first)
    if main is None:
        return
    yield from _span_in(inner, main, _OLYMPUS_OLD_START, _OLYMPUS_OLD_SIZE, base)
    settings = main.tags.get(_OLYMPUS_SETTINGS)
    if settings is None:
        return
    is_pointer = settings.kind in _SUB_DIRECTORY_KINDS
    directory = inner.child(settings) if is_pointer else inner.directory(settings.start)
    yield from _span_in(inner, directory, _OLYMPUS_START, _OLYMPUS_SIZE, base)


def _pentax(
    block: TiffBlock, note: TiffTag, order: bytes, *, entries_at: int, is_relative: bool
) -> Iterator[ByteRange]:
    inner, base = _inner_block(block, note, order, entries_at, is_relative=is_relative)
    yield from _span_in(inner, inner.directory(inner.first), _PENTAX_START, _PENTAX_SIZE, base)


def _inner_block(
    block: TiffBlock, note: TiffTag, order: bytes, entries_at: int, *, is_relative: bool
) -> tuple[TiffBlock, int]:
    """The block whose first directory is the maker note's, and the offset in the file from which its offsets count."""
    base = note.start if is_relative else 0
    letter = {b"II": "<", b"MM": ">"}.get(order, block.order)
    return TiffBlock(
        memoryview(block.data)[base:], letter, big=False, first=note.start + entries_at - base
    ), base


def _phase_one_sensor(data: bytes) -> Iterator[tuple[ByteRange, ...]]:
    """Yield the sensor data."""
    order = _PHASE_ONE_ORDERS[data[_PHASE_ONE_START : _PHASE_ONE_START + 4]]
    entry = struct.Struct(order + "IIII")
    at = _PHASE_ONE_START + int.from_bytes(
        data[_PHASE_ONE_START + 8 : _PHASE_ONE_START + 12], "little" if order == "<" else "big"
    )
    if at + 8 > len(data):
        return
    (count,) = struct.unpack_from(order + "I", data, at)
    end = at + 8 + min(count, _PHASE_ONE_ENTRIES) * entry.size
    for entry_at in range(at + 8, min(end, len(data) - entry.size + 1), entry.size):
        tag, _, size_bytes, start = entry.unpack_from(data, entry_at)
        if tag == _PHASE_ONE_SENSOR:
            yield (ByteRange(_PHASE_ONE_START + start, size_bytes),)
