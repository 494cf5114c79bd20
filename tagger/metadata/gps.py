"""The GPS directory of EXIF: where and when a camera's receiver measured, not when the photo was taken.

`GPSStatus` is not read. By the text of the specification (EXIF 2.3, 4.6.6), "V" means "Measurement
Interoperability", a slip for interrupted or void. DJI's drones write it with correct positions, and cameras
that have no position (Leica, Panasonic) also write zeros or degrees in the millions, which are invalid
anyway. Most phones do not write it.
"""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from tagger.photos.facts import LARGEST_ERROR_M, PhotoFacts
from tagger.photos.tiff import TiffBlock, TiffDirectory

GPS_POINTER = 0x8825
# The GPSProcessingMethod of positions that this program wrote; the source of an estimate follows
# it.
OUR_METHOD = "landmark-tagger"


@dataclass(frozen=True, kw_only=True)
class GpsFix(PhotoFacts):
    """Where the receiver was, and when, in UTC: `on` is the date, and `at` the time, if it states one."""

    on: date | None = None
    at: datetime | None = None


def read_gps(block: TiffBlock, gps: TiffDirectory | None) -> GpsFix:
    """Read the valid fields of the GPS directory. What this program wrote is ignored."""
    if gps is None or _is_derived(gps):
        return GpsFix()
    latitude, longitude = _position(block, gps)
    error_m = None if latitude is None else _error_m(block, gps)
    on = _date(gps)
    at = None if on is None else _at(block, gps, on)
    return GpsFix(latitude=latitude, longitude=longitude, gps_error_m=error_m, on=on, at=at)


def exif_position(block: TiffBlock) -> tuple[float, float] | tuple[None, None]:
    """The position in an EXIF block in degrees, whether written by a camera or by this program."""
    main = block.directory(block.first)
    gps = block.child(main.tags.get(GPS_POINTER)) if main else None
    return _position(block, gps) if gps else (None, None)


_TIME_STAMP, _PROCESSING_METHOD, _DATE_STAMP, _POSITIONING_ERROR = 7, 27, 29, 31
_DATE = re.compile(rb"(\d{4})[:/.-](\d\d)[:/.-](\d\d)")
_DATE_BYTES = 10
_METHOD_BYTES = 256
# Receivers without a fix write the start of their own time, 1980, or of Unix time, 1970.
_FIRST_YEAR = 1990


@dataclass(frozen=True)
class _Axis:
    """Tags of hemisphere and value, the valid hemispheres (positive first), and the largest value."""

    ref_tag: int
    tag: int
    refs: bytes
    limit: int


_LATITUDE = _Axis(1, 2, b"NS", 90)
_LONGITUDE = _Axis(3, 4, b"EW", 180)


def _is_derived(gps: TiffDirectory) -> bool:
    """Whether this program wrote the position. Another one may have rewritten our method in another code."""
    method = gps.tags.get(_PROCESSING_METHOD)
    return method is not None and OUR_METHOD.encode() in bytes(method.raw[:_METHOD_BYTES]).replace(b"\0", b"")


def _position(block: TiffBlock, gps: TiffDirectory) -> tuple[float, float] | tuple[None, None]:
    latitude = _degrees(block, gps, _LATITUDE)
    longitude = _degrees(block, gps, _LONGITUDE)
    # Cameras without a GPS fix write zeros. There is no landmark at exactly 0, 0, in the Gulf of Guinea.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(block: TiffBlock, gps: TiffDirectory, axis: _Axis) -> float | None:
    """Degrees, minutes and seconds as decimal degrees; None without a valid hemisphere."""
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


def _error_m(block: TiffBlock, gps: TiffDirectory) -> float | None:
    parts = block.fractions(gps.tags.get(_POSITIONING_ERROR))
    if len(parts) != 1 or parts[0][1] == 0:
        return None
    error_m = parts[0][0] / parts[0][1]
    return error_m if 0 <= error_m <= LARGEST_ERROR_M else None


def _date(gps: TiffDirectory) -> date | None:
    entry = gps.tags.get(_DATE_STAMP)
    match = _DATE.match(bytes(entry.raw[:_DATE_BYTES])) if entry else None
    if match is None:
        return None
    year, month, day = (int(part) for part in match.groups())
    try:
        return date(year, month, day) if year >= _FIRST_YEAR else None
    except ValueError:
        return None


def _at(block: TiffBlock, gps: TiffDirectory, on: date) -> datetime | None:
    """The time stamp on a date, in UTC without a zone."""
    parts = block.fractions(gps.tags.get(_TIME_STAMP))
    if len(parts) != 3 or any(denominator == 0 for _, denominator in parts):
        return None
    hours, minutes, seconds = (numerator / denominator for numerator, denominator in parts)
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds <= 60):
        return None
    midnight = datetime(on.year, on.month, on.day)  # noqa: DTZ001 - local times have no zone
    try:
        return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:  # the last second of the year 9999
        return None
