"""What this program adds to a photo's metadata: from accepted tags to the values of each field.

Nothing else that is in a file is ever ours. Knows nothing of how fields are stored (see xmp, exif, iptc).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tagger.globe import distance_km

HIERARCHY_ROOT = "Places"
POINT = "point"
POSITION_ERROR_M = 1000.0
"""A landmark is photographed from where it can be seen; most are from nearer than this."""
TOGETHER_KM = 5.0
"""Landmarks farther apart than this are not in one photo, so where it was taken cannot be told."""


@dataclass(frozen=True)
class NamedLandmark:
    """An accepted tag with the place it stands for. `score` and `model` are absent where only a person said it.

    `latitude` and `longitude` are degrees (WGS 84); `extent` is point, line, area, multi, or not known.
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


@dataclass(frozen=True)
class Position:
    """Where a landmark is, taken for where the camera stood: derived, so never without `error_m` around it."""

    latitude: float
    longitude: float
    error_m: float


@dataclass(frozen=True)
class Additions:
    """Everything one photo's metadata is to hold of ours. Empty: nothing of ours is to be left.

    `keywords` are flat; `paths` hierarchical, from the outermost place inwards. `position` and `description` are for
    fields that are empty only.
    """

    landmarks: tuple[NamedLandmark, ...] = ()
    keywords: tuple[str, ...] = ()
    paths: tuple[tuple[str, ...], ...] = ()
    position: Position | None = None
    description: str | None = None

    def __bool__(self) -> bool:
        return bool(self.landmarks)


def additions_for(
    landmarks: Sequence[NamedLandmark], *, gps: bool = False, description: bool = False
) -> Additions:
    """What a photo with these accepted tags, best first, is to hold."""
    if not landmarks:
        return Additions()
    return Additions(
        landmarks=tuple(landmarks),
        keywords=tuple(dict.fromkeys(landmark.name for landmark in landmarks)),
        paths=tuple(_path(landmark) for landmark in landmarks),
        position=_position(landmarks) if gps else None,
        description="; ".join(_in_words(landmark) for landmark in landmarks) if description else None,
    )


def _path(landmark: NamedLandmark) -> tuple[str, ...]:
    """From the outside in: Places, France, Paris, Eiffel Tower."""
    places = (landmark.country, landmark.city)
    return (HIERARCHY_ROOT, *(place for place in places if place), landmark.name)


def _in_words(landmark: NamedLandmark) -> str:
    return ", ".join(part for part in (landmark.name, landmark.city, landmark.country) if part)


def _position(landmarks: Sequence[NamedLandmark]) -> Position | None:
    """The best landmark's place, if it is one point on the map and no other tag contradicts it."""
    places = [
        (landmark.latitude, landmark.longitude)
        for landmark in landmarks
        if landmark.latitude is not None and landmark.longitude is not None
    ]
    best = landmarks[0]
    if best.extent != POINT or best.latitude is None or best.longitude is None:
        return None
    here = (best.latitude, best.longitude)
    if any(distance_km(*here, *place) > TOGETHER_KM for place in places):
        return None
    return Position(*here, POSITION_ERROR_M)
