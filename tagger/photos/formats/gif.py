"""GIF: a header, a table of colours, and blocks up to the first image."""

from collections.abc import Iterator
from typing import cast

from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile

from tagger.photos.formats.reader import DecoderMemory, FormatReader, opened

_EXTENSION, _IMAGE = 0x21, 0x2C
_DISPOSES = 2


def _blocks(data: bytes) -> Iterator[int]:
    """Yield the positions of the blocks before the first image: extensions, their sub-blocks, and junk."""
    colours = 3 * 2 ** ((data[10] & 7) + 1) if len(data) > 10 and data[10] & 0x80 else 0
    at, in_extension = 13 + colours, False
    while at < len(data) and (in_extension or data[at] != _IMAGE):
        yield at
        if in_extension:
            in_extension = data[at] != 0
            at += 1 + data[at]
        else:
            in_extension = data[at] == _EXTENSION
            at += 2 if in_extension else 1


def _memory(image: ImageFile, _data: bytes, _full_size: tuple[int, int]) -> DecoderMemory:
    """What the next frame would be drawn on."""
    disposes = cast("GifImageFile", image).disposal_method >= _DISPOSES
    return DecoderMemory(image.width * image.height * disposes)


READER = FormatReader(
    lambda data, max_pixels: opened(GifImageFile, data, max_pixels, _blocks(data)), memory=_memory
)
