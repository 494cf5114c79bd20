"""Camera RAW files: their embedded JPEG previews, the image data of the sensor, EXIF and XMP.

Sensor data are never developed to pixels: the largest preview is what is shown. All parsing is bounded, follows no loops and
never raises on bad input. Knows nothing of pixels or of how metadata is written.
"""

from tagger.photos.raw.detection import is_raw
from tagger.photos.raw.file import RawFile, read_raw
from tagger.photos.raw.previews import Preview

__all__ = ["Preview", "RawFile", "is_raw", "read_raw"]
