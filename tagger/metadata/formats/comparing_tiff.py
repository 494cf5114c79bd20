"""Two TIFF files compared: every tag of every directory with its values, XMP aside, and every byte that
stands where it stood.

Notes of cameras and programs point anywhere in a TIFF file, so nothing in it may move or change, whether a tag that is
known here names it or not.
"""

from collections.abc import Iterator

from tagger.photos.tiff import Directory, TiffBlock, open_tiff

_XMP = 700
_POINTERS = (0x014A, 0x8769, 0x8825, 0xA005)
_DIRECTORY_LIMIT = 256


def tiff_difference(before: bytes, after: bytes) -> str | None:
    """The first difference in a few words, None if there is none."""
    old, new = open_tiff(before), open_tiff(after)
    if old is None or new is None or (old.order, old.big) != (new.order, new.big):
        return "the TIFF header"
    was, now = _main_entries(old), _main_entries(new)
    if was is None or now is None or _others(old, was) != _others(new, now):
        return "the entries of the first TIFF directory"
    if not _stayed(before, after, [_header_span(old), *_xmp_spans(old, was), *_xmp_spans(new, now)]):
        return "bytes outside of the XMP"
    return _directories_difference(old, new)


def _stayed(before: bytes, after: bytes, patched: list[tuple[int, int]]) -> bool:
    """Whether all bytes that both files have are the same, but for those spans."""
    at, end = 0, min(len(before), len(after))
    for start, stop in sorted(patched):
        if before[at : min(start, end)] != after[at : min(start, end)]:
            return False
        at = max(at, stop)
    return before[at:end] == after[at:end]


def _header_span(block: TiffBlock) -> tuple[int, int]:
    return (8, 16) if block.big else (4, 8)


def _main_entries(block: TiffBlock) -> range | None:
    """Where the entries of the first directory stand; None where it does not lie in the file as a whole."""
    head, step, slot = (8, 20, 8) if block.big else (2, 12, 4)
    start = block.first + head
    end = start + _number(block, block.first, head) * step
    return range(start, end, step) if block.first > 0 and end + slot <= len(block.data) else None


def _others(block: TiffBlock, entries: range) -> list[bytes]:
    """The entries that are not XMP's, as they are."""
    return [block.data[at : at + entries.step] for at in entries if _number(block, at, 2) != _XMP]


def _xmp_spans(block: TiffBlock, entries: range) -> list[tuple[int, int]]:
    return [(at, at + entries.step) for at in entries if _number(block, at, 2) == _XMP]


def _number(block: TiffBlock, at: int, size: int) -> int:
    return int.from_bytes(block.data[at : at + size], "little" if block.order == "<" else "big")


def _directories_difference(old: TiffBlock, new: TiffBlock) -> str | None:
    """The first difference in tags and values; image data is where it was, so it is the same where these are."""
    left = 2 * len(old.data)
    for number, (was, now) in enumerate(zip(_directories(old), _directories(new), strict=False)):
        if was is None or now is None:
            return None if was is now else f"the number of TIFF directories, after {number}"
        ignored = {_XMP} if number == 0 else set()
        tags = was.entries.keys() - ignored
        if was.following != now.following or tags != now.entries.keys() - ignored:
            return f"the tags of TIFF directory {number}"
        for tag in tags:
            one, other = was.entries[tag], now.entries[tag]
            left -= len(one.raw)
            if left < 0:
                return "more values than the TIFF has bytes"
            if (one.kind, one.count) != (other.kind, other.count) or bytes(one.raw) != bytes(other.raw):
                return f"the TIFF tag {tag}"
    return None


def _directories(block: TiffBlock) -> Iterator[Directory | None]:
    """Each directory that is reached from the first, then None for ever."""
    waiting, seen = [block.first], set[int]()
    while waiting and len(seen) < _DIRECTORY_LIMIT:
        at = waiting.pop(0)
        directory = block.directory(at) if at not in seen else None
        seen.add(at)
        if directory:
            yield directory
            for pointer in _POINTERS:
                waiting += block.integers(directory.entries.get(pointer))[:_DIRECTORY_LIMIT]
            waiting.append(directory.following)
    while True:
        yield None
