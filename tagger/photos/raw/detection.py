"""Detects RAW files by their content. Most are TIFFs to every other reader, so their directories decide."""

from collections import deque
from collections.abc import Iterator

from tagger.photos.tiff import TiffBlock, TiffDirectory, open_tiff

CANON_BRAND = b"crx "
FUJIFILM_SIGNATURE = b"FUJIFILMCCD-RAW"
PANASONIC_SIGNATURE = b"IIU\0"
_OLYMPUS_SIGNATURES = (b"IIRO", b"IIRS", b"MMOR")
MINOLTA_SIGNATURE = b"\0MRM"
_UNPARSED_SIGNATURES = (b"II\x1a\0\0\0HEAPCCDR", b"FOVb")
"""Of Canon (CRW) and Sigma. No parts of these files are found; they can be developed."""
_SIGNATURES = (
    *(FUJIFILM_SIGNATURE, PANASONIC_SIGNATURE, MINOLTA_SIGNATURE),
    *_OLYMPUS_SIGNATURES,
    *_UNPARSED_SIGNATURES,
)
_DIRECTORY_LIMIT = 8
_DNG_VERSION = 50706
SUBFILE_TYPE, PHOTOMETRIC = 254, 262
COMPRESSION, _SUB_DIRECTORIES = 259, 330
_SENSOR_PHOTOMETRICS = {32803, 34892}
"""A colour filter array, and linear sensor data."""
_MAKERS_COMPRESSIONS = {32767, 32769, 32770, 32772, 32867, 34713, 65000, 65535}
"""Of Sony, Epson, Samsung (two), Kodak, Nikon, Kodak and Pentax."""


def is_raw(head: bytes) -> bool:
    """Whether a file that begins with `head` is a RAW file. False if the directories that say so lie behind `head`."""
    if head.startswith(_SIGNATURES) or (head[4:8] == b"ftyp" and head[8:12] == CANON_BRAND):
        return True
    block = open_tiff(head)
    if block is None:
        return False
    if head[8:11] == b"CR\2" or is_phase_one(head):
        return True
    return any(
        _DNG_VERSION in directory.tags or is_sensor_image(block, directory)
        for directory in directories_of(block, _DIRECTORY_LIMIT)
    )


def is_phase_one(head: bytes) -> bool:
    """Whether a TIFF is an IIQ file."""
    return (head[8:12], head[13:16]) == (b"IIII", b"waR") or (head[8:12], head[12:15]) == (b"MMMM", b"Raw")


def directories_of(block: TiffBlock, limit: int) -> Iterator[TiffDirectory]:
    """Yield at most `limit` directories, each once: the chain from the first, and what each of them points to."""
    offsets = deque([block.first])
    seen: set[int] = set()
    while offsets and len(seen) < limit:
        offset = offsets.popleft()
        directory = None if offset in seen else block.directory(offset)
        seen.add(offset)
        if directory is not None:
            yield directory
            offsets.extend(block.integers(directory.tags.get(_SUB_DIRECTORIES))[:limit])
            offsets.append(directory.following)


def is_sensor_image(block: TiffBlock, directory: TiffDirectory) -> bool:
    """Whether a directory's image consists of sensor data."""
    photometric = block.integers(directory.tags.get(PHOTOMETRIC))[:1]
    compression = block.integers(directory.tags.get(COMPRESSION))[:1]
    return not (_SENSOR_PHOTOMETRICS.isdisjoint(photometric) and _MAKERS_COMPRESSIONS.isdisjoint(compression))
