"""Camera RAW files: their embedded previews, the image data of the sensor, EXIF and XMP.

Sensor data are not developed here (see decoding.raw_development). All parsing is bounded, follows no loops and
never raises on bad input. Knows nothing of pixels or of how metadata is written.
"""

from tagger.photos.raw.file import RawFile, read_raw
from tagger.photos.raw.layout import Preview, is_raw

__all__ = ["Preview", "RawFile", "is_raw", "read_raw"]
