"""The previews in maker notes. Their offsets count from the maker note or from the file, which differs by maker.

Signatures and tags are those that ExifTool documents (<https://exiftool.org/TagNames/>).
"""

from collections.abc import Iterator

from tagger.photos.raw.layout import Span
from tagger.photos.tiff import TiffBlock, TiffDirectory, TiffTag, open_tiff

EXIF_POINTER = 0x8769
_MAKER_NOTE = 0x927C
_NIKON_PREVIEW, _NIKON_START, _NIKON_SIZE = 0x11, 513, 514
_OLYMPUS_SETTINGS, _OLYMPUS_START, _OLYMPUS_SIZE = 0x2020, 0x101, 0x102
_OLYMPUS_OLD_START, _OLYMPUS_OLD_SIZE = 0x88, 0x89
_PENTAX_START, _PENTAX_SIZE = 4, 3
_SUB_DIRECTORY_KINDS = (4, 13)
"""Types of tags that hold the offset of a directory. In older files of Olympus, the tag's value is the directory itself."""


def maker_note_previews(block: TiffBlock, main: TiffDirectory) -> Iterator[Span]:
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


def span_in(
    block: TiffBlock, directory: TiffDirectory | None, start_tag: int, size_tag: int, base: int = 0
) -> Iterator[Span]:
    """Yield the span that two tags state, if they do. Offsets count from `base`."""
    if directory is None:
        return
    starts, sizes = (block.integers(directory.tags.get(tag)) for tag in (start_tag, size_tag))
    if len(starts) == len(sizes) == 1:
        yield Span(base + starts[0], sizes[0])


def _nikon(block: TiffBlock, base: int) -> Iterator[Span]:
    """The maker note contains a TIFF block."""
    inner = open_tiff(memoryview(block.data)[base:])
    main = inner.directory(inner.first) if inner else None
    if inner is None or main is None:
        return
    preview = inner.child(main.tags.get(_NIKON_PREVIEW))
    yield from span_in(inner, preview, _NIKON_START, _NIKON_SIZE, base)


def _olympus(
    block: TiffBlock, note: TiffTag, order: bytes, *, entries_at: int, is_relative: bool
) -> Iterator[Span]:
    inner, base = _inner_block(block, note, order, entries_at, is_relative=is_relative)
    main = inner.directory(inner.first)
    if main is None:
        return
    yield from span_in(inner, main, _OLYMPUS_OLD_START, _OLYMPUS_OLD_SIZE, base)
    settings = main.tags.get(_OLYMPUS_SETTINGS)
    if settings is None:
        return
    is_pointer = settings.kind in _SUB_DIRECTORY_KINDS
    directory = inner.child(settings) if is_pointer else inner.directory(settings.start)
    yield from span_in(inner, directory, _OLYMPUS_START, _OLYMPUS_SIZE, base)


def _pentax(
    block: TiffBlock, note: TiffTag, order: bytes, *, entries_at: int, is_relative: bool
) -> Iterator[Span]:
    inner, base = _inner_block(block, note, order, entries_at, is_relative=is_relative)
    yield from span_in(inner, inner.directory(inner.first), _PENTAX_START, _PENTAX_SIZE, base)


def _inner_block(
    block: TiffBlock, note: TiffTag, order: bytes, entries_at: int, *, is_relative: bool
) -> tuple[TiffBlock, int]:
    """The block whose first directory is the maker note's, and the offset in the file from which its offsets count."""
    base = note.start if is_relative else 0
    letter = {b"II": "<", b"MM": ">"}.get(order, block.order)
    return TiffBlock(
        memoryview(block.data)[base:], letter, big=False, first=note.start + entries_at - base
    ), base
