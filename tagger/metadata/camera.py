"""Capture time and position from a photo's EXIF.

These fields often hold invalid values, which are returned as None. Knows nothing of writing.
"""

import re
from dataclasses import dataclass
from datetime import datetime

from tagger.metadata.formats.heif import read_heif_blocks
from tagger.photos.containers import exif_of
from tagger.photos.tiff import TiffBlock, TiffDirectory, open_tiff

DERIVED = b"ASCII\0\0\0landmark-tagger"
"""The GPSProcessingMethod of a landmark's position that this program wrote."""


@dataclass(frozen=True)
class CameraFacts:
    """`taken_at` is the camera's local time without a zone, as in EXIF. `latitude` and `longitude` are degrees."""

    taken_at: datetime | None = None
    latitude: float | None = None
    longitude: float | None = None


def camera_facts(data: bytes) -> CameraFacts:
    """Read the valid fields of a photo's EXIF; never raises. A position that this program wrote is ignored."""
    block = open_tiff(exif_of(data) or read_heif_blocks(data).exif or b"")
    main = block.directory(block.first) if block else None
    if block is None or main is None:
        return CameraFacts()
    gps = _child_directory(block, main, _GPS_POINTER)
    latitude, longitude = (None, None) if _is_derived(gps) else _position(block, gps)
    return CameraFacts(_taken_at(main, _child_directory(block, main, _EXIF_POINTER)), latitude, longitude)


def exif_position(block: TiffBlock) -> tuple[float, float] | tuple[None, None]:
    """The position in an EXIF block in degrees, whether written by a camera or by this program."""
    main = block.directory(block.first)
    return _position(block, _child_directory(block, main, _GPS_POINTER)) if main else (None, None)


_EXIF_POINTER, _GPS_POINTER = 0x8769, 0x8825
_PROCESSING_METHOD = 27
_DATE_TIME, _DATE_TIME_ORIGINAL, _DATE_TIME_DIGITIZED = 306, 36867, 36868
_TIME = re.compile(rb"(\d{4})[:/.-](\d\d)[:/.-](\d\d)[ T]+(\d\d):(\d\d):(\d\d)")
_TIME_BYTES = 32


@dataclass(frozen=True)
class _Axis:
    """The tags of a coordinate's hemisphere and value, the valid hemispheres (positive first), and the largest value."""

    ref_tag: int
    tag: int
    refs: bytes
    limit: int


_LATITUDE = _Axis(1, 2, b"NS", 90)
_LONGITUDE = _Axis(3, 4, b"EW", 180)


def _child_directory(block: TiffBlock, main: TiffDirectory, pointer: int) -> TiffDirectory | None:
    offsets = block.integers(main.tags.get(pointer))
    return block.directory(offsets[0]) if len(offsets) == 1 else None


def _taken_at(main: TiffDirectory, exif: TiffDirectory | None) -> datetime | None:
    """The time of capture, else of digitisation, else of the last change, which is the only time that some phones write."""
    exif_tags = exif.tags if exif else {}
    for entry in (
        exif_tags.get(_DATE_TIME_ORIGINAL),
        exif_tags.get(_DATE_TIME_DIGITIZED),
        main.tags.get(_DATE_TIME),
    ):
        taken_at = _time(bytes(entry.raw[:_TIME_BYTES])) if entry else None
        if taken_at:
            return taken_at
    return None


def _time(raw: bytes) -> datetime | None:
    match = _TIME.match(raw)
    if match is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001 - EXIF has no zone
    except ValueError:
        return None


def _is_derived(gps: TiffDirectory | None) -> bool:
    method = gps.tags.get(_PROCESSING_METHOD) if gps else None
    return method is not None and bytes(method.raw[: len(DERIVED)]) == DERIVED


def _position(block: TiffBlock, gps: TiffDirectory | None) -> tuple[float, float] | tuple[None, None]:
    latitude = _degrees(block, gps, _LATITUDE) if gps else None
    longitude = _degrees(block, gps, _LONGITUDE) if gps else None
    # Cameras without a GPS fix write zeros. There is no landmark at exactly 0, 0, which is in the Gulf of Guinea.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(block: TiffBlock, gps: TiffDirectory, axis: _Axis) -> float | None:
    """Degrees, minutes and seconds with their hemisphere as decimal degrees; None without a valid hemisphere."""
    ref = gps.tags.get(axis.ref_tag)
    hemisphere = bytes(ref.raw[:1]).upper() if ref else b""
    parts = block.fractions(gps.tags.get(axis.tag))
    if not hemisphere or hemisphere not in axis.refs or not 1 <= len(parts) <= 3 or parts[0][1] == 0:
        return None
    degrees = 0.0
    for (numerator, denominator), unit in zip(parts, (1, 60, 3600), strict=False):
        if denominator == 0 and numerator != 0:
            return None
        degrees += numerator / (denominator or 1) / unit
    if not 0 <= degrees <= axis.limit:
        return None
    return -degrees if hemisphere == axis.refs[1:] else degrees
