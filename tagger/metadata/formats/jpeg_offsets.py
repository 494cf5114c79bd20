"""What would be wrong in a JPEG file after bytes are inserted before the image: offsets, the multi-picture index, and the trailer.

Offsets in an EXIF block count from its header. Some cameras store previews after the image, outside of the block, and
point to them from their undocumented maker notes. A file that may hold such an offset is refused.

The multi-picture index (CIPA DC-007, in an APP2 segment) has the offset and the size of each image. Offsets count from the
index's own header, so bytes inserted between the header and an image change them. The size of the first image changes with
every byte inserted into it.

A trailer may move if it consists of recognised kinds, which are found from the end of the file or by a signature, and hold
relative offsets only: the videos of motion photos, the notes of Samsung, Canon, Photo Mechanic and FotoStation, and padding.
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tagger.metadata.formats.ifd import (
    Ifd,
    IfdEntry,
    TiffHeader,
    child_offsets,
    directories,
    integers,
    read_directory,
    read_header,
)
from tagger.metadata.formats.jpeg_segments import APP1, APP2, EXIF, MPF, Jpeg
from tagger.metadata.splices import Splice, fixed_offsets

_FOOTER_BYTES = 64
_CANON_NAME = b"CANON OPTIONAL DATA\0"
_CANON_HEADER_BYTES = 28
_MOVABLE_LIMIT = 16


def _is_movable(trailer: bytes) -> bool:
    """Whether the whole trailer consists of recognised kinds, which may move."""
    rest = trailer
    for _ in range(_MOVABLE_LIMIT):
        if b"ftyp" in rest.lstrip(b"\0")[:8]:
            return True
        size = _recognised_bytes(rest)
        # Padding may follow a recognised kind, but some kinds end in zeros themselves.
        rest = rest[: len(rest) - size] if size else rest.rstrip(b"\0")
        if not rest:
            return True
        if not size and not _recognised_bytes(rest):
            return False
    return False


def _counts_from_file_start(data: bytes) -> bool:
    """Whether a file ends in notes with absolute offsets (AFCP), so that nothing may be inserted before them."""
    return data[-12:-9] == b"AXS" and data[-9:-8] in (b"!", b"*")


def _recognised_bytes(data: bytes) -> int:
    """The size of the recognised kind at the end; 0 if it claims more bytes than there are."""
    size = max(parse(data) for parse in _PARSERS)
    return size if size <= len(data) else 0


def _samsung(trailer: bytes) -> int:
    """The size of Samsung's notes: their directory (SEFH) states how far before it each block starts."""
    size = int.from_bytes(trailer[-8:-4], "little")
    start = len(trailer) - 8 - size
    if trailer[-4:] != b"SEFT" or start < 0 or trailer[start : start + 4] != b"SEFH":
        return 0
    count = int.from_bytes(trailer[start + 8 : start + 12], "little")
    entries = range(start + 12, min(start + 12 + 12 * count, len(trailer) - 12), 12)
    farthest = max((int.from_bytes(trailer[at + 4 : at + 8], "little") for at in entries), default=0)
    return len(trailer) - start + farthest


def _canon(trailer: bytes) -> int:
    footer = trailer[-_FOOTER_BYTES:]
    if not footer.startswith(_CANON_NAME):
        return 0
    return int.from_bytes(footer[20:24], "big") + _CANON_HEADER_BYTES + _FOOTER_BYTES


def _photo_mechanic(trailer: bytes) -> int:
    return int.from_bytes(trailer[-12:-8], "big") + 12 if trailer[-8:] == b"cbipcbbl" else 0


def _foto_station(trailer: bytes) -> int:
    return int.from_bytes(trailer[-8:-4], "big") if trailer[-4:] == b"\xa1\xb2\xc3\xd4" else 0


_PARSERS = (_samsung, _canon, _photo_mechanic, _foto_station)


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
    if len(segments) > 1 or header is None or entries is None:
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
    splices = (Splice(at, at + 4, index.header.packed(number)) for at, number in numbers)
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


_MAKER_NOTE = 0x927C
_DATA_WITH_SIZE = ((0x0201, 0x0202), (0x0111, 0x0117))
_MAKER_HEADER_BYTES = (0, 6, 8, 10, 12, 18, 26)
_MAKER_ENTRY_LIMIT = 512


def require_movable(jpeg: Jpeg, index: Index | None) -> None:
    """Check that bytes can be inserted before the image.

    Raises:
        WriteRefused: an offset to other data would become wrong.
    """
    if _counts_from_file_start(jpeg.data):
        raise fixed_offsets("It ends in AFCP notes, which are found by their position in the file")
    exif = jpeg.segments_named(APP1, EXIF)
    if not exif:
        return
    base = exif[0].payload + len(EXIF)
    block = jpeg.data[base : exif[0].end]
    header = read_header(block)
    reachable = list(directories(block, header)) if header else []
    if header and any(
        _points_outside(block, header, directory, len(jpeg.data) - base) for directory in reachable
    ):
        raise fixed_offsets("Its EXIF points to data outside of the EXIF")
    notes = [note for directory in reachable if (note := directory.entry(_MAKER_NOTE))]
    if notes or not reachable:
        _require_notes_movable(jpeg, index, base, notes)


def _require_notes_movable(jpeg: Jpeg, index: Index | None, base: int, notes: list[IfdEntry]) -> None:
    images = index.images if index else ()
    if not _is_movable(_unindexed(jpeg, index)):
        raise fixed_offsets("It holds data after the image that the camera's maker notes may point to")
    if len(jpeg.data) > jpeg.end and any(_note_points_after_image(jpeg, base, note) for note in notes):
        raise fixed_offsets("The camera's maker notes point to a preview after the image")
    starts = [image.start for image in images if image.start < len(jpeg.data)]
    if any(_note_holds_offset(jpeg, base, note, start) for note in notes for start in starts):
        raise fixed_offsets("The camera's maker notes point to another image after the image")


def _unindexed(jpeg: Jpeg, index: Index | None) -> bytes:
    """The trailer without the images in the index."""
    rest, at = [], jpeg.end
    for image in sorted(index.images if index else (), key=lambda image: image.start):
        rest.append(jpeg.data[at : max(at, image.start)])
        at = max(at, image.end)
    tail = jpeg.data[at:]
    between = b"".join(rest)
    return tail if not between.strip(b"\0") else between + tail


def _points_outside(block: bytes, header: TiffHeader, directory: Ifd, reach: int) -> bool:
    """Whether the directory refers to data after the block and inside of the file. Data past the file's end is lost already."""
    spans = [(entry.start, entry.size) for entry in directory.entries]
    spans += [(at, 1) for at in child_offsets(block, header, directory)]
    spans.append((directory.next_offset, 1))
    for data_tag, size_tag in _DATA_WITH_SIZE:
        starts, sizes = (integers(block, header, directory.entry(tag)) for tag in (data_tag, size_tag))
        spans += zip(starts, sizes, strict=False)
    return any(size and start + size > len(block) and start < reach for start, size in spans)


def _note_points_after_image(jpeg: Jpeg, base: int, note: IfdEntry) -> bool:
    """Whether the maker note, parsed as a TIFF directory as most are, has a value after the image."""
    return any(
        jpeg.end <= start + origin < len(jpeg.data)
        for start in _note_offsets(jpeg.data, base + note.start, base + note.start + note.size)
        for origin in (0, base, base + note.start)
    )


def _note_offsets(data: bytes, start: int, end: int) -> Iterator[int]:
    # One byte is prepended because no directory can be at offset 0. Stored offsets are used unchanged.
    note = b"\0" + data[start:end]
    for at in _MAKER_HEADER_BYTES:
        for order in "<>":
            directory = read_directory(note, TiffHeader(order, at + 1), at + 1)
            if directory is None or len(directory.entries) > _MAKER_ENTRY_LIMIT:
                continue
            if all(entry.size or entry.count == 0 for entry in directory.entries):  # else it is no directory
                yield from (entry.start for entry in directory.entries if entry.size > 4)


def _note_holds_offset(jpeg: Jpeg, base: int, note: IfdEntry, image_start: int) -> bool:
    """Whether the maker note contains the offset of an image, counted from any likely origin."""
    end = base + note.start + note.size
    return any(
        jpeg.data.find(struct.pack(order + "I", image_start - origin), base + note.start, end) >= 0
        for origin in (0, base, base + note.start)
        for order in "<>"
        if 0 <= image_start - origin < 2**32
    )
