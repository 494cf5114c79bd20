"""RAW files of cameras: shown by their largest preview, or developed (see decoding.raw_development)."""

from PIL.ImageFile import ImageFile

from tagger.photos.formats.reader import FormatReader
from tagger.photos.jpeg import Part
from tagger.photos.raw import read_raw


def _open(_data: bytes, _max_pixels: int) -> ImageFile:
    raise ValueError("a RAW file is not opened itself, but its preview")


def _parts(data: bytes) -> tuple[Part, ...] | None:
    """The data of the sensor, whatever the previews are."""
    image = read_raw(data).image
    return tuple(part for strip in image for part in (len(strip).to_bytes(8, "little"), strip)) or None


READER = FormatReader(_open, image_parts=_parts, exif=lambda data: read_raw(data).exif)
