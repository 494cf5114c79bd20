"""The values that this program adds to a photo's metadata, derived from its accepted tags.

Knows nothing of how fields are stored (see xmp, exif, iptc).
"""

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from tagger.geo import distance_km
from tagger.metadata.gps import OUR_METHOD
from tagger.texts.names import name_in_language

HIERARCHY_ROOT, ROOT_OF_THINGS = "Places", "Things"
_APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u02bb\u2032\u00b4`\uff07", "'"))
_MAX_NORMALISED = 1_000
POINT = "point"
# The assumed distance between camera and landmark. Most photos are taken from nearer.
POSITION_ERROR_M = 1000.0
# Landmarks farther apart than this cannot be in one photo, so the camera's position is unknown.
MAX_DISTANCE_KM = 5.0


def keyword_key(text: str) -> str:
    """The key by which texts count as the same keyword, whatever their case, blanks, apostrophes and form."""
    # Normalisation takes quadratic time for hostile texts, and no keyword is this long.
    composed = text if len(text) > _MAX_NORMALISED else unicodedata.normalize("NFC", text)
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
        """The landmark with its name in a language, if it has one."""
        return replace(self, name=name_in_language(self.name, self.names, language))


@dataclass(frozen=True)
class PositionEstimate:
    """An estimate of the camera's position in degrees, with an error of `error_m` metres.

    `source` names what it was estimated from: a landmark, a track or photos nearby in time. None: it is that
    of a tagged landmark.
    """

    latitude: float
    longitude: float
    error_m: float
    source: str | None = None

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
        landmarks = (replace(landmark, latitude=None, longitude=None) for landmark in self.landmarks)
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
    names = (*(landmark.name for landmark in landmarks), *(path[-1] for path in things))
    places = (
        (HIERARCHY_ROOT, *filter(None, (landmark.country, landmark.city)), landmark.name)
        for landmark in landmarks  # Places, France, Paris, Eiffel Tower
    )
    describes = description and bool(landmarks)
    return TagFields(
        landmarks=tuple(landmarks),
        keywords=tuple(dict.fromkeys(names)),
        paths=(*places, *((ROOT_OF_THINGS, *path) for path in things)),
        position=estimate or (_position(landmarks) if gps and landmarks else None),
        description="; ".join(_description(landmark) for landmark in landmarks) if describes else None,
    )


def _description(landmark: NamedLandmark) -> str:
    return ", ".join(part for part in (landmark.name, landmark.city, landmark.country) if part)


def _position(landmarks: Sequence[NamedLandmark]) -> PositionEstimate | None:
    """The best landmark's position, if it is a single point and no other tag contradicts it."""
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
