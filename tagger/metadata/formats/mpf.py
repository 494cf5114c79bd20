"""The index of a file of several images (CIPA DC-007, in an APP2 segment): where they begin, and how long they are.

Its offsets count from its own header, so whatever is written between the header and an image changes them, and the size
of the first image changes with everything that is written into it.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tagger.metadata.formats.ifd import Header, read_directory, read_header
from tagger.metadata.formats.refusing import fixed_offsets
from tagger.metadata.formats.segments import APP2, MPF, Jpeg
from tagger.metadata.splices import Splice

_ENTRIES, _UNDEFINED = 0xB002, 7
_ENTRY_BYTES = 16
_SIZE_AT, _OFFSET_AT = 4, 8
_IMAGE_START = b"\xff\xd8\xff"
_LARGEST = 2**32 - 1


@dataclass(frozen=True)
class IndexedImage:
    """An image of the index: where its entry stands, where the image begins, and how many bytes it is said to have."""

    entry_at: int
    start: int
    size: int

    @property
    def end(self) -> int:
        return self.start + self.size


@dataclass(frozen=True)
class Index:
    """`base` is where offsets count from; `images` are those after the first."""

    header: Header
    base: int
    first: IndexedImage | None
    images: tuple[IndexedImage, ...]

    def packed(self, number: int) -> bytes:
        return self.header.packed(number)


def read_index(jpeg: Jpeg) -> Index | None:
    """The index of a file, if it has one; raises WriteRefused where nobody can say what it means."""
    segments = jpeg.named(APP2, MPF)
    if not segments:
        return None
    base = segments[0].payload + len(MPF)
    block = jpeg.data[base : segments[0].end]
    header = read_header(block)
    directory = read_directory(block, header, header.first) if header else None
    entries = directory.of(_ENTRIES) if directory else None
    if len(segments) > 1 or header is None or header.big or entries is None:
        raise _unreadable()
    whole = entries.size and not entries.size % _ENTRY_BYTES and entries.start + entries.size <= len(block)
    if entries.kind != _UNDEFINED or not whole:
        raise _unreadable()
    images = [
        _image(jpeg, header, base, base + entries.start + at) for at in range(0, entries.size, _ENTRY_BYTES)
    ]
    first = images[0] if images and images[0].start == base else None
    # An entry without a place or a size is one that is not used.
    others = tuple(image for image in images if image.start != base and image.size)
    return Index(header, base, first, others)


def patches(jpeg: Jpeg, index: Index, moved: Callable[[int], int]) -> list[Splice]:
    """The numbers of the index that change where `moved` says where each byte of the file comes to stand."""
    base = moved(index.base)
    numbers = [(image.entry_at + _OFFSET_AT, moved(image.start) - base) for image in index.images]
    first = index.first
    # Some writers say anything here. Whatever reaches over the image's end covers what is written into it.
    if first and jpeg.end <= first.size <= len(jpeg.data):
        numbers.append((first.entry_at + _SIZE_AT, first.size + moved(jpeg.end) - jpeg.end))
    if any(not 0 < number <= _LARGEST for _, number in numbers):
        raise fixed_offsets("Its index of images has no room for larger numbers")
    splices = (Splice(at, at + 4, index.packed(number)) for at, number in numbers)
    return [splice for splice in splices if jpeg.data[splice.start : splice.end] != splice.put]


def _image(jpeg: Jpeg, header: Header, base: int, entry_at: int) -> IndexedImage:
    size, offset = (
        int.from_bytes(
            jpeg.data[entry_at + at : entry_at + at + 4], "little" if header.order == "<" else "big"
        )
        for at in (_SIZE_AT, _OFFSET_AT)
    )
    image = IndexedImage(entry_at, base + offset, size)
    # An index outlives its images where a program dropped them: then it points behind the file, and goes on doing so.
    inside = offset and size and image.start < len(jpeg.data)
    if inside and (image.start < jpeg.end or not jpeg.data.startswith(_IMAGE_START, image.start)):
        raise fixed_offsets("Its index of images points to something that is no image")
    return image


def _unreadable() -> Exception:
    return fixed_offsets("It holds several images whose index cannot be read")
