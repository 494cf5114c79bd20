"""The layout of RAW files that are TIFFs: DNG, CR2, NEF, ARW, ORF, RW2, PEF, SRW, 3FR, IIQ and their kin.

Previews are images of a single strip, or what the tags of EXIF thumbnails refer to, in any directory; Olympus, Nikon and
Pentax also keep one in the maker note, and Panasonic in a tag. Some older ones are RGB without compression.
"""

from collections.abc import Iterable, Iterator

from tagger.photos.raw.detection import PANASONIC_SIGNATURE
from tagger.photos.raw.directories import (
    COMPRESSION,
    PHOTOMETRIC,
    SUBFILE_TYPE,
    directories_of,
    is_sensor_image,
)
from tagger.photos.raw.layout import RawLayout, Span, StoredBitmap
from tagger.photos.raw.maker_notes import EXIF_POINTER, maker_note_previews, span_in
from tagger.photos.raw.phase_one import is_phase_one, phase_one_sensor
from tagger.photos.tiff import TiffBlock, TiffDirectory, open_tiff

_DIRECTORY_LIMIT = 32
"""A DNG with masks has about ten."""
_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES = 273, 279, 324, 325
_WIDTH, _HEIGHT, _PLANES = 256, 257, 284
_PLAIN_RGB = {258: (8, 8, 8), COMPRESSION: (1,), PHOTOMETRIC: (2,), 277: (3,)}
"""The tags of 8-bit RGB without compression."""
_BITMAP_STRIPS = 4096
"""A preview has no more rows. Many directories may refer to the same strips."""
_JPEG_START, _JPEG_SIZE = 513, 514
_XMP, _DATE_OF_CAPTURE = 700, 36867
_MASK_TYPES = 4 | 8
"""Masks and depth maps."""
_MASK_PHOTOMETRICS = {4, 51177, 52527}
_PANASONIC_JPEGS, _PANASONIC_SENSOR_START = (0x2E, 0x127), 0x118


def tiff_layout(data: bytes) -> RawLayout:
    """Read the layout; empty if the first directory cannot be read."""
    block = open_tiff(data)
    main = block.directory(block.first) if block else None
    if block is None or main is None:
        return RawLayout()
    directories = tuple(directories_of(block, _DIRECTORY_LIMIT))
    if data.startswith(PANASONIC_SIGNATURE):
        jpegs, images = tuple(_panasonic_jpegs(main)), tuple(_panasonic_sensor(block, main))
        bitmaps: tuple[StoredBitmap, ...] = ()
    else:
        stored = (span for directory in directories for span in _jpegs(block, directory))
        jpegs, images = (*stored, *maker_note_previews(block, main)), _images(data, block, directories)
        bitmaps = tuple(bitmap for directory in directories for bitmap in _bitmaps(block, directory))
    xmp = main.tags.get(_XMP)
    has_exif = EXIF_POINTER in main.tags or _DATE_OF_CAPTURE in main.tags
    return RawLayout(jpegs, bitmaps, images, data, has_exif, bytes(xmp.raw) if xmp else None)


def _jpegs(block: TiffBlock, directory: TiffDirectory) -> Iterator[Span]:
    if is_sensor_image(block, directory) or _is_mask(block, directory):
        return
    yield from span_in(block, directory, _JPEG_START, _JPEG_SIZE)
    strips = _strips(block, directory)
    if len(strips) == 1:
        yield strips[0]


def _bitmaps(block: TiffBlock, directory: TiffDirectory) -> Iterator[StoredBitmap]:
    def values(tag: int) -> tuple[int, ...]:
        return block.integers(directory.tags.get(tag))

    is_plain = all(values(tag) == expected for tag, expected in _PLAIN_RGB.items())
    if not is_plain or values(_PLANES)[:1] not in ((), (1,)) or _is_mask(block, directory):
        return
    starts = directory.tags.get(_STRIPS)
    if starts is None or starts.count > _BITMAP_STRIPS or _TILES in directory.tags:
        return
    width, height, strips = values(_WIDTH), values(_HEIGHT), _strips(block, directory)
    if strips and len(width) == len(height) == 1:
        yield StoredBitmap(strips, width[0], height[0])


def _images(
    data: bytes, block: TiffBlock, directories: Iterable[TiffDirectory]
) -> tuple[tuple[Span, ...], ...]:
    """The images that may be the sensor's. Canon and older files of Olympus do not say which it is."""
    if is_phase_one(data):
        return tuple(phase_one_sensor(data))
    stored = [(directory, strips) for directory in directories if (strips := _strips(block, directory))]
    of_sensor = [strips for directory, strips in stored if is_sensor_image(block, directory)]
    return tuple(of_sensor or (strips for directory, strips in stored if not _is_reduced(block, directory)))


def _strips(block: TiffBlock, directory: TiffDirectory) -> tuple[Span, ...]:
    """The strips or tiles of a directory's image; none if their numbers contradict each other."""
    read = {
        tag: block.integers(directory.tags.get(tag)) for tag in (_STRIPS, _STRIP_SIZES, _TILES, _TILE_SIZES)
    }
    # Sony writes both: the tiles are right, the strip is a repetition.
    starts, sizes = (read[_TILES], read[_TILE_SIZES]) if read[_TILES] else (read[_STRIPS], read[_STRIP_SIZES])
    if len(starts) != len(sizes):
        return ()
    return tuple(Span(start, size) for start, size in zip(starts, sizes, strict=True))


def _is_reduced(block: TiffBlock, directory: TiffDirectory) -> bool:
    return any(value & 1 for value in block.integers(directory.tags.get(SUBFILE_TYPE))[:1])


def _is_mask(block: TiffBlock, directory: TiffDirectory) -> bool:
    subfile_type = block.integers(directory.tags.get(SUBFILE_TYPE))[:1]
    photometric = block.integers(directory.tags.get(PHOTOMETRIC))[:1]
    return any(value & _MASK_TYPES for value in subfile_type) or not _MASK_PHOTOMETRICS.isdisjoint(
        photometric
    )


def _panasonic_jpegs(main: TiffDirectory) -> Iterator[Span]:
    for tag in _PANASONIC_JPEGS:
        if entry := main.tags.get(tag):
            yield Span(entry.start, len(entry.raw))


def _panasonic_sensor(block: TiffBlock, main: TiffDirectory) -> Iterator[tuple[Span, ...]]:
    """The sensor data, which extend to the end of the file."""
    for start in block.integers(main.tags.get(_PANASONIC_SENSOR_START))[:1]:
        yield (Span(start, max(0, len(block.data) - start)),)
