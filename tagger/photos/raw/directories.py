"""The directories of RAW files that are TIFFs: the chain and the directories that its members point to."""

from collections import deque
from collections.abc import Iterator

from tagger.photos.tiff import TiffBlock, TiffDirectory

SUBFILE_TYPE, PHOTOMETRIC = 254, 262
COMPRESSION, _SUB_DIRECTORIES = 259, 330
_SENSOR_PHOTOMETRICS = {32803, 34892}
"""A colour filter array, and linear sensor data."""
_MAKERS_COMPRESSIONS = {32767, 32769, 32770, 32772, 32867, 34713, 65000, 65535}
"""Of Sony, Epson, Samsung (two), Kodak, Nikon, Kodak and Pentax."""


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
