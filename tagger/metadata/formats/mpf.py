"""The multi-picture index of a JPEG file (CIPA DC-007, in an APP2 segment): offset and size of each image.

Offsets count from the index's own header, so bytes inserted between the header and an image change them. The size of
the first image changes with every byte inserted into it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tagger.metadata.formats.ifd import TiffHeader, read_directory, read_header
from tagger.metadata.formats.jpeg_segments import APP2, MPF, Jpeg
from tagger.metadata.formats.refusals import fixed_offsets
from tagger.metadata.splices import Splice

_ENTRIES, _UNDEFINED = 0xB002, 7
_ENTRY_BYTES = 16
_SIZE_AT, _OFFSET_AT = 4, 8
_IMAGE_START = b"\xff\xd8\xff"
_LARGEST = 2**32 - 1


@dataclass(frozen=True)
class IndexedImage:
    """An image in the index: the offset of its entry, and the offset and size that the entry states."""

    entry_at: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Index:
    """`base` is the offset that all offsets count from. `images` are the images after the first."""

    header: TiffHeader
    base: int
    first: IndexedImage | None
    images: tuple[IndexedImage, ...]

    def packed(self, number: int) -> bytes:
        return self.header.packed(number)


def read_index(jpeg: Jpeg) -> Index | None:
    """Read the index; None if the file has none.

    Raises:
        WriteRefused: the index cannot be interpreted.
    """
    segments = jpeg.segments_named(APP2, MPF)
    if not segments:
        return None
    base = segments[0].payload + len(MPF)
    block = jpeg.data[base : segments[0].end]
    header = read_header(block)
    directory = read_directory(block, header, header.first) if header else None
    entries = directory.entry(_ENTRIES) if directory else None
    if len(segments) > 1 or header is None or header.big or entries is None:
        raise _unreadable()
    is_complete = (
        entries.size and not entries.size % _ENTRY_BYTES and entries.start + entries.size <= len(block)
    )
    if entries.kind != _UNDEFINED or not is_complete:
        raise _unreadable()
    images = [
        _image(jpeg, header, base, base + entries.start + at) for at in range(0, entries.size, _ENTRY_BYTES)
    ]
    first = images[0] if images and images[0].start == base else None
    # An entry without an offset or a size is unused.
    others = tuple(image for image in images if image.start != base and image.size)
    return Index(header, base, first, others)


def offset_patches(jpeg: Jpeg, index: Index, shift: Callable[[int], int]) -> list[Splice]:
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
    splices = (Splice(at, at + 4, index.packed(number)) for at, number in numbers)
    return [splice for splice in splices if jpeg.data[splice.start : splice.end] != splice.replacement]


def _image(jpeg: Jpeg, header: TiffHeader, base: int, entry_at: int) -> IndexedImage:
    size, offset = (
        int.from_bytes(
            jpeg.data[entry_at + at : entry_at + at + 4], "little" if header.order == "<" else "big"
        )
        for at in (_SIZE_AT, _OFFSET_AT)
    )
    image = IndexedImage(entry_at, base + offset, size)
    # If a program dropped the images but kept the index, it points past the end of the file, and continues to.
    is_inside = offset and size and image.start < len(jpeg.data)
    if is_inside and (image.start < jpeg.end or not jpeg.data.startswith(_IMAGE_START, image.start)):
        raise fixed_offsets("Its index of images points to data that is not an image")
    return image


def _unreadable() -> Exception:
    return fixed_offsets("It holds several images, and their index cannot be read")
