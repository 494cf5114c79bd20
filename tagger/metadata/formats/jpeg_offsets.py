"""Offsets in a JPEG file that would be wrong after bytes are inserted before the image.

Offsets in an EXIF block count from its header. Some cameras store previews after the image, outside of the block, and
point to them from their undocumented maker notes. A file that may hold such an offset is refused.
"""

import struct
from collections.abc import Iterator

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
from tagger.metadata.formats.jpeg_segments import APP1, EXIF, Jpeg
from tagger.metadata.formats.jpeg_trailers import counts_from_file_start, is_movable
from tagger.metadata.formats.mpf import Index
from tagger.metadata.formats.refusals import fixed_offsets

_MAKER_NOTE = 0x927C
_DATA_WITH_SIZE = ((0x0201, 0x0202), (0x0111, 0x0117))
_MAKER_HEADER_BYTES = (0, 6, 8, 10, 12, 18, 26)
_MAKER_ENTRY_LIMIT = 512


def require_movable(jpeg: Jpeg, index: Index | None) -> None:
    """Check that bytes can be inserted before the image.

    Raises:
        WriteRefused: an offset to other data would become wrong.
    """
    if counts_from_file_start(jpeg.data):
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
    if not is_movable(_unindexed(jpeg, index)):
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
            directory = read_directory(note, TiffHeader(order, big=False, first=at + 1), at + 1)
            if directory and len(directory.entries) <= _MAKER_ENTRY_LIMIT and _is_plausible(directory):
                yield from (entry.start for entry in directory.entries if entry.size > 4)


def _is_plausible(directory: Ifd) -> bool:
    return all(entry.size or entry.count == 0 for entry in directory.entries)


def _note_holds_offset(jpeg: Jpeg, base: int, note: IfdEntry, image_start: int) -> bool:
    """Whether the maker note contains the offset of an image, counted from any likely origin."""
    end = base + note.start + note.size
    return any(
        jpeg.data.find(struct.pack(order + "I", image_start - origin), base + note.start, end) >= 0
        for origin in (0, base, base + note.start)
        for order in "<>"
        if 0 <= image_start - origin < 2**32
    )
