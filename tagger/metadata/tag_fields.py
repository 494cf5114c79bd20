"""The values that this program adds to a photo's metadata, derived from its accepted tags.

Knows nothing of how fields are stored (see xmp, exif, iptc).
"""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Self

from tagger.geo import distance_km
from tagger.photos import LARGEST_ERROR_M, PhotoFacts
from tagger.photos.containers import TiffBlock, TiffDirectory
from tagger.texts.names import name_in_language

HIERARCHY_ROOT, ROOT_OF_THINGS = "Places", "Things"
_APOSTROPHES = str.maketrans(
    dict.fromkeys("\u2019\u2018\u02bc\u02bb\u2032\u00b4`\uff07", "'")
)
_MAX_NORMALISED = 1_000
POINT = "point"
# The assumed distance between camera and landmark. Most photos are taken from nearer.
POSITION_ERROR_M = 1000.0
# Landmarks farther apart than this cannot be in one photo, so the camera's position is unknown.
MAX_DISTANCE_KM = 5.0


def keyword_key(text: str) -> str:
    """The key by which texts count as the same keyword, whatever their case, blanks, apostrophes and form."""
    # Normalisation takes quadratic time for hostile texts, and no keyword is this long.
    composed = (
        text if len(text) > _MAX_NORMALISED else unicodedata.normalize("NFC", text)
    )
    return " ".join(composed.translate(_APOSTROPHES).split()).casefold()


@dataclass(frozen=True)
class NamedLandmark:
    """An accepted tag with its landmark. `score` and `model` are None if only a verdict names it.

    `latitude` and `longitude` are degrees (WGS 84). `extent` is point, line, area, multi, or None if unknown.
    """

    slug: str
    name: str
    country: str | None = None
    region: str | None = None
    city: str | None = None
    latitude: float | None = None
    longitude: float | None = None
    extent: str | None = None
    score: float | None = None
    model: str | None = None
    verdict: str | None = None
    names: Mapping[str, str] = field(default_factory=dict, compare=False)

    def in_language(self, language: str | None) -> Self:
        return replace(self, name=name_in_language(self.name, self.names, language))


@dataclass(frozen=True)
class PositionEstimate:
    """An estimate of the camera's position in degrees, with an error of `error_m` metres.

    `source` names what it was estimated from: a landmark, a track or photos nearby in time. None: it is that
    of a tagged landmark. `sight`: where that is.
    """

    latitude: float
    longitude: float
    error_m: float
    source: str | None = None
    sight: NamedLandmark | None = None

    @property
    def method(self) -> str:
        """The processing method in the metadata, which shows that the position is not a measurement."""
        return OUR_METHOD if self.source is None else f"{OUR_METHOD} {self.source}"


@dataclass(frozen=True)
class TagFields:
    """The values to add to one photo's metadata. Empty: all of our values are removed.

    `keywords` are flat. `paths` are hierarchical keywords, outermost name first. `position` and `description`
    are written only where the photo has none.
    """

    landmarks: tuple[NamedLandmark, ...] = ()
    keywords: tuple[str, ...] = ()
    paths: tuple[tuple[str, ...], ...] = ()
    position: PositionEstimate | None = None
    description: str | None = None

    def __bool__(self) -> bool:
        return bool(self.keywords) or self.position is not None

    def without_landmark_coordinates(self) -> Self:
        """The same values, where the landmarks say nothing of where they are. The position stays."""
        landmarks = (
            replace(landmark, latitude=None, longitude=None)
            for landmark in self.landmarks
        )
        return replace(self, landmarks=tuple(landmarks))


def make_tag_fields(
    landmarks: Sequence[NamedLandmark],
    *,
    things: Sequence[tuple[str, ...]] = (),
    gps: bool = False,
    estimate: PositionEstimate | None = None,
    description: bool = False,
) -> TagFields:
    """Derive the values from a photo's accepted tags, best first.

    The position is the `estimate`, else with `gps` that of a landmark. `things`: what else it shows, as the
    names of what that is a kind of, and its own.
    """
    places = [*landmarks, *([estimate.sight] if estimate and estimate.sight else [])]
    names = (*(place.name for place in places), *(path[-1] for path in things))
    paths = (
        (
            HIERARCHY_ROOT,
            *filter(None, (place.country, place.city)),
            place.name,
        )
        for place in places  # Places, France, Paris, Eiffel Tower
    )
    describes = description and bool(landmarks)
    return TagFields(
        landmarks=tuple(landmarks),
        keywords=tuple(dict.fromkeys(names)),
        paths=(
            *dict.fromkeys(paths),
            *((ROOT_OF_THINGS, *path) for path in things),
        ),
        position=estimate or (_position(landmarks) if gps and landmarks else None),
        description="; ".join(_description(landmark) for landmark in landmarks)
        if describes
        else None,
    )


def _description(landmark: NamedLandmark) -> str:
    return ", ".join(
        part for part in (landmark.name, landmark.city, landmark.country) if part
    )


def _position(landmarks: Sequence[NamedLandmark]) -> PositionEstimate | None:
    # The best landmark's position, if it is a single point and no other tag contradicts it.
    coordinates = [
        (landmark.latitude, landmark.longitude)
        for landmark in landmarks
        if landmark.latitude is not None and landmark.longitude is not None
    ]
    best = landmarks[0]
    if best.extent != POINT or best.latitude is None or best.longitude is None:
        return None
    position = (best.latitude, best.longitude)
    if any(distance_km(*position, *other) > MAX_DISTANCE_KM for other in coordinates):
        return None
    return PositionEstimate(*position, POSITION_ERROR_M)


# The GPS directory of EXIF: where and when a camera's receiver measured, not when the photo was
# taken.
#
# `GPSStatus` is not read. By the text of the specification (EXIF 2.3, 4.6.6), "V" means
# "Measurement Interoperability", a slip for interrupted or void. DJI's drones write it with correct
# positions, and programs that add positions later leave it as the camera wrote it. Cameras without
# a fix (Leica, Panasonic) also write zeros, or degrees in the millions, which are invalid anyway.

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
    method = gps.tags.get(_PROCESSING_METHOD) if gps else None
    # Another program may have rewritten our method in another code.
    stated_method = bytes(method.raw[:_METHOD_BYTES]) if method else b""
    if gps is None or OUR_METHOD.encode() in stated_method.replace(b"\0", b""):
        return GpsFix()
    latitude, longitude = _stated_position(block, gps)
    error_m = None if latitude is None else _error_m(block, gps)
    on = _date(gps)
    at = None if on is None else _at(block, gps, on)
    return GpsFix(
        latitude=latitude, longitude=longitude, gps_error_m=error_m, on=on, at=at
    )


def exif_position(block: TiffBlock) -> tuple[float, float] | tuple[None, None]:
    """The position in an EXIF block in degrees, whether written by a camera or by this program."""
    main = block.directory(block.first)
    gps = block.child(main.tags.get(GPS_POINTER)) if main else None
    return _stated_position(block, gps) if gps else (None, None)


_TIME_STAMP, _PROCESSING_METHOD, _DATE_STAMP, _POSITIONING_ERROR = 7, 27, 29, 31
_DATE = re.compile(rb"(\d{4})[:/.-](\d\d)[:/.-](\d\d)")
_METHOD_BYTES = 256
# Receivers without a fix write the start of their own time, 1980, or of Unix time, 1970.
_FIRST_YEAR = 1990


def _stated_position(
    block: TiffBlock, gps: TiffDirectory
) -> tuple[float, float] | tuple[None, None]:
    latitude = _degrees(block, gps, tag=2, hemispheres=b"NS", limit=90)
    longitude = _degrees(block, gps, tag=4, hemispheres=b"EW", limit=180)
    # Cameras without a GPS fix write zeros. There is no landmark at exactly 0, 0, in the Gulf of Guinea.
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(
    block: TiffBlock, gps: TiffDirectory, *, tag: int, hemispheres: bytes, limit: int
) -> float | None:
    # Degrees, minutes and seconds as decimal degrees; None without a valid hemisphere, of which the positive
    # one comes first.
    ref = gps.tags.get(tag - 1)
    hemisphere = bytes(ref.raw[:1]).upper() if ref else b""
    parts = block.fractions(gps.tags.get(tag))
    if (
        not hemisphere
        or hemisphere not in hemispheres
        or not 1 <= len(parts) <= 3
        or parts[0][1] == 0
    ):
        return None
    degrees = 0.0
    for (numerator, denominator), unit in zip(parts, (1, 60, 3600), strict=False):
        if denominator == 0 and numerator != 0:
            return None
        degrees += numerator / (denominator or 1) / unit
    if not 0 <= degrees <= limit:
        return None
    return -degrees if hemisphere == hemispheres[1:] else degrees


def _error_m(block: TiffBlock, gps: TiffDirectory) -> float | None:
    parts = block.fractions(gps.tags.get(_POSITIONING_ERROR))
    if len(parts) != 1 or parts[0][1] == 0:
        return None
    error_m = parts[0][0] / parts[0][1]
    return error_m if 0 <= error_m <= LARGEST_ERROR_M else None


def _date(gps: TiffDirectory) -> date | None:
    entry = gps.tags.get(_DATE_STAMP)
    match = _DATE.match(bytes(entry.raw[:10])) if entry else None
    if match is None:
        return None
    year, month, day = (int(part) for part in match.groups())
    try:
        return date(year, month, day) if year >= _FIRST_YEAR else None
    except ValueError:
        return None


def _at(block: TiffBlock, gps: TiffDirectory, on: date) -> datetime | None:
    # The time stamp on a date, in UTC without a zone.
    parts = block.fractions(gps.tags.get(_TIME_STAMP))
    if len(parts) != 3 or any(denominator == 0 for _, denominator in parts):
        return None
    hours, minutes, seconds = (
        numerator / denominator for numerator, denominator in parts
    )
    if not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds <= 60):
        return None
    midnight = datetime(on.year, on.month, on.day)  # noqa: DTZ001 - local times have no zone
    try:
        return midnight + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:  # the last second of the year 9999
        return None
