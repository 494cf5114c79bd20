"""What in a JPEG file is found by its distance from something else, so that writing in between would lose it.

An EXIF block counts from its own header. Cameras have it point behind the picture all the same: to previews of their
maker notes, which lie where no standard says. Whatever may be such a thing is refused rather than guessed.
"""

import struct
from collections.abc import Iterator

from tagger.metadata.formats.ifd import (
    Directory,
    Field,
    Header,
    below,
    directories,
    integers,
    read_directory,
    read_header,
)
from tagger.metadata.formats.mpf import Index
from tagger.metadata.formats.refusing import fixed_offsets
from tagger.metadata.formats.segments import APP1, EXIF, Jpeg
from tagger.metadata.formats.trailers import counts_from_file_start, is_movable

_MAKER_NOTE = 0x927C
_DATA_WITH_SIZE = ((0x0201, 0x0202), (0x0111, 0x0117))
_MAKER_HEADER_BYTES = (0, 6, 8, 10, 12, 18, 26)
_MAKER_ENTRY_LIMIT = 512


def require_movable(jpeg: Jpeg, index: Index | None) -> None:
    """Raise WriteRefused if bytes written ahead of the picture would part something from what refers to it."""
    if counts_from_file_start(jpeg.data):
        raise fixed_offsets("It ends in AFCP notes, which are found by their position in the file")
    exif = jpeg.named(APP1, EXIF)
    if not exif:
        return
    base = exif[0].payload + len(EXIF)
    block = jpeg.data[base : exif[0].end]
    header = read_header(block)
    found = list(directories(block, header)) if header else []
    if header and any(
        _points_outside(block, header, directory, len(jpeg.data) - base) for directory in found
    ):
        raise fixed_offsets("Its EXIF points to data that lies outside of it")
    notes = [note for directory in found if (note := directory.of(_MAKER_NOTE))]
    if notes or not found:
        _require_notes_movable(jpeg, index, base, notes)


def _require_notes_movable(jpeg: Jpeg, index: Index | None, base: int, notes: list[Field]) -> None:
    images = index.images if index else ()
    if not is_movable(_unindexed(jpeg, index)):
        raise fixed_offsets("Behind its picture is something that the camera's maker notes may point to")
    if len(jpeg.data) > jpeg.end and any(_note_points_behind(jpeg, base, note) for note in notes):
        raise fixed_offsets("The camera's maker notes point to a preview behind the picture")
    starts = [image.start for image in images if image.start < len(jpeg.data)]
    if any(_note_names(jpeg, base, note, start) for note in notes for start in starts):
        raise fixed_offsets("The camera's maker notes point to an image behind the picture")


def _unindexed(jpeg: Jpeg, index: Index | None) -> bytes:
    """The trailer without the images that the index of images accounts for."""
    rest, at = [], jpeg.end
    for image in sorted(index.images if index else (), key=lambda image: image.start):
        rest.append(jpeg.data[at : max(at, image.start)])
        at = max(at, image.end)
    tail = jpeg.data[at:]
    between = b"".join(rest)
    return tail if not between.strip(b"\0") else between + tail


def _points_outside(block: bytes, header: Header, directory: Directory, reach: int) -> bool:
    """Whether something it refers to lies behind the block and in the file: what lies behind the file is lost already."""
    spans = [(field.start, field.size) for field in directory.fields]
    spans += [(at, 1) for at in below(block, header, directory)]
    spans.append((directory.following, 1))
    for data_tag, size_tag in _DATA_WITH_SIZE:
        starts, sizes = (integers(block, header, directory.of(tag)) for tag in (data_tag, size_tag))
        spans += zip(starts, sizes, strict=False)
    return any(size and start + size > len(block) and start < reach for start, size in spans)


def _note_points_behind(jpeg: Jpeg, base: int, note: Field) -> bool:
    """Whether the maker note, read as the directory that most are, has a value that lies behind the picture."""
    return any(
        jpeg.end <= start + origin < len(jpeg.data)
        for start in _note_offsets(jpeg.data, base + note.start, base + note.start + note.size)
        for origin in (0, base, base + note.start)
    )


def _note_offsets(data: bytes, start: int, end: int) -> Iterator[int]:
    # A byte ahead, as no directory is at 0; the offsets that count are those that are stored.
    note = b"\0" + data[start:end]
    for at in _MAKER_HEADER_BYTES:
        for order in "<>":
            directory = read_directory(note, Header(order, big=False, first=at + 1), at + 1)
            if directory and len(directory.fields) <= _MAKER_ENTRY_LIMIT and _is_plausible(directory):
                yield from (field.start for field in directory.fields if field.size > 4)


def _is_plausible(directory: Directory) -> bool:
    return all(field.size or field.count == 0 for field in directory.fields)


def _note_names(jpeg: Jpeg, base: int, note: Field, image_start: int) -> bool:
    """Whether the maker note holds the very number that is the start of an image, from wherever it may count."""
    end = base + note.start + note.size
    return any(
        jpeg.data.find(struct.pack(order + "I", image_start - origin), base + note.start, end) >= 0
        for origin in (0, base, base + note.start)
        for order in "<>"
        if 0 <= image_start - origin < 2**32
    )
