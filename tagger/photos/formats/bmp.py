"""BMP, which may be coded in run lengths."""

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile

from tagger.photos.formats.reader import DecoderMemory, FormatReader, opened

# Pillow decodes run lengths in Python: to a growing array, which is copied.
_RUN_LENGTHS, _RUN_LENGTH_BYTES = (1, 2), 2.25


def _memory(image: ImageFile, _data: bytes, _full_size: tuple[int, int]) -> DecoderMemory:
    is_coded = image.info.get("compression") in _RUN_LENGTHS
    return DecoderMemory(0, int(image.width * image.height * _RUN_LENGTH_BYTES) * is_coded)


READER = FormatReader(lambda data, max_pixels: opened(BmpImageFile, data, max_pixels), memory=_memory)
