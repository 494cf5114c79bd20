"""Comparing two TIFF files: every tag of every directory with its values, XMP aside, and every byte at its offset.

Notes of cameras and programs point anywhere in a TIFF file, so no byte may move or change, even if no known tag refers
to it.
"""

from collections.abc import Iterator

from tagger.photos.tiff import TiffBlock, TiffDirectory, open_tiff

_XMP = 700
_POINTERS = (0x014A, 0x8769, 0x8825, 0xA005)
_DIRECTORY_LIMIT = 256


def tiff_difference(before: bytes, after: bytes) -> str | None:
    """Return the first difference in a few words; None if there is none."""
    old, new = open_tiff(before), open_tiff(after)
    if old is None or new is None or (old.order, old.big) != (new.order, new.big):
        return "the TIFF header"
    old_entries, new_entries = _main_entries(old), _main_entries(new)
    if (
        old_entries is None
        or new_entries is None
        or _other_entries(old, old_entries) != _other_entries(new, new_entries)
    ):
        return "the entries of the first TIFF directory"
    if not _unchanged_outside(
        before, after, [_header_span(old), *_xmp_spans(old, old_entries), *_xmp_spans(new, new_entries)]
    ):
        return "bytes outside of the XMP"
    return _directories_difference(old, new)


def _unchanged_outside(before: bytes, after: bytes, spans: list[tuple[int, int]]) -> bool:
    """Whether the bytes at all common offsets are the same outside of the spans."""
    at, end = 0, min(len(before), len(after))
    for start, stop in sorted(spans):
        if before[at : min(start, end)] != after[at : min(start, end)]:
            return False
        at = max(at, stop)
    return before[at:end] == after[at:end]


def _header_span(block: TiffBlock) -> tuple[int, int]:
    return (8, 16) if block.big else (4, 8)


def _main_entries(block: TiffBlock) -> range | None:
    """The offsets of the first directory's entries; None if it is not completely inside of the file."""
    head, step, slot = (8, 20, 8) if block.big else (2, 12, 4)
    start = block.first + head
    end = start + _number(block, block.first, head) * step
    return range(start, end, step) if block.first > 0 and end + slot <= len(block.data) else None


def _other_entries(block: TiffBlock, entries: range) -> list[bytes]:
    """The raw entries other than XMP."""
    return [bytes(block.data[at : at + entries.step]) for at in entries if _number(block, at, 2) != _XMP]


def _xmp_spans(block: TiffBlock, entries: range) -> list[tuple[int, int]]:
    return [(at, at + entries.step) for at in entries if _number(block, at, 2) == _XMP]


def _number(block: TiffBlock, at: int, size: int) -> int:
    return int.from_bytes(block.data[at : at + size], "little" if block.order == "<" else "big")


def _directories_difference(old: TiffBlock, new: TiffBlock) -> str | None:
    """The first difference in tags and values. Image data has not moved, so it is the same if these are."""
    budget = 2 * len(old.data)
    for number, (old_directory, new_directory) in enumerate(
        zip(_directories(old), _directories(new), strict=False)
    ):
        if old_directory is None or new_directory is None:
            return (
                None if old_directory is new_directory else f"the number of TIFF directories, after {number}"
            )
        ignored = {_XMP} if number == 0 else set()
        tags = old_directory.tags.keys() - ignored
        if old_directory.following != new_directory.following or tags != new_directory.tags.keys() - ignored:
            return f"the tags of TIFF directory {number}"
        for tag in tags:
            old_value, new_value = old_directory.tags[tag], new_directory.tags[tag]
            budget -= len(old_value.raw)
            if budget < 0:
                return "more values than the TIFF has bytes"
            if (old_value.kind, old_value.count) != (new_value.kind, new_value.count) or bytes(
                old_value.raw
            ) != bytes(new_value.raw):
                return f"the TIFF tag {tag}"
    return None


def _directories(block: TiffBlock) -> Iterator[TiffDirectory | None]:
    """Each directory that can be reached from the first, then None without end."""
    pending, visited = [block.first], set[int]()
    while pending and len(visited) < _DIRECTORY_LIMIT:
        at = pending.pop(0)
        directory = block.directory(at) if at not in visited else None
        visited.add(at)
        if directory:
            yield directory
            for pointer in _POINTERS:
                pending += block.integers(directory.tags.get(pointer))[:_DIRECTORY_LIMIT]
            pending.append(directory.following)
    while True:
        yield None
