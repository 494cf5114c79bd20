"""Whether a file ends before what it says it holds: then it was cut off, and copying it again helps."""

from tagger.photos.tiff import open_tiff

_BOX_LIMIT = 10_000


def ends_early(data: bytes) -> bool:
    """Whether the rest of a PNG, WebP, TIFF, HEIC or AVIF file is missing. False for others, and where it cannot be told."""
    return any(known(data) for known in (_png_ends, _riff_ends, _boxes_end, _tiff_ends))


def _png_ends(data: bytes) -> bool:
    return data.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" not in data[-(2**16) :]


def _riff_ends(data: bytes) -> bool:
    return data[:4] == b"RIFF" and 8 + int.from_bytes(data[4:8], "little") > len(data)


def _boxes_end(data: bytes) -> bool:
    at = 0
    if data[4:8] != b"ftyp":
        return False
    for _ in range(_BOX_LIMIT):
        if at >= len(data):
            break
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0: up to the end, wherever that is
            return False
        at += length
    return at > len(data)


def _tiff_ends(data: bytes) -> bool:
    block = open_tiff(data)
    if block is None:
        return False
    directory = block.directory(block.first)
    if directory is None:
        return block.first + 2 > len(data)
    starts = block.integers(directory.entries.get(273)) or block.integers(directory.entries.get(324))
    sizes = block.integers(directory.entries.get(279)) or block.integers(directory.entries.get(325))
    return any(start + size > len(data) for start, size in zip(starts, sizes, strict=False))
