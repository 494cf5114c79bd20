"""Why a tag is accepted, or not, although its score says otherwise, in words. And why a guess is refused."""

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Row

from tagger.database.enums import Doubt, PositionSource
from tagger.library.catalog.landmarks import Landmark, farthest_km
from tagger.photos.origin import PhotoOrigin
from tagger.system.geo import distance_km

_OTHERS = {Doubt.CONFIRMED_OTHER: "confirmed", Doubt.TAUGHT_OTHER: "taught"}
"""What another landmark of the image is that makes a tag doubtful."""
DAMAGED = "a part of the image is missing"
_TOO_FAST = "from where the camera's GPS was before or after; nobody travels that fast"
_SOURCES = {PositionSource.CAMERA: "GPS", PositionSource.TRACK: "track"}


def tag_reason(tag: Row[Any], source: str | None, accepted: Iterable[str]) -> str | None:
    """The reason of an effective tag, for a photo whose position has this source, with these accepted landmarks; None: its score, or a verdict."""
    if tag.doubtful in _OTHERS:
        names = sorted(accepted)
        return f"doubtful: {' and '.join(names)} {'is' if len(names) == 1 else 'are'} {_OTHERS[tag.doubtful]}"
    if tag.doubtful == Doubt.DAMAGED:
        return f"doubtful: {DAMAGED}"
    if tag.position_odds is None or tag.verdict is not None:
        return None
    if tag.doubtful == Doubt.SPEED:
        return f"doubtful: {distance_text(tag.distance_m)} {_TOO_FAST}"
    state = "accepted" if tag.accepted else "doubtful"
    if source in _SOURCES:
        return f"{state}: {distance_text(tag.distance_m)} from the photo's position ({_SOURCES[PositionSource(source)]})"
    return f"{state}: {distance_text(tag.distance_m)} from the position of a copy"


def guess_refusal(tag: Row[Any], landmark: Landmark, photo: Row[Any], uses_positions: bool) -> str | None:
    """Why the best prediction for a photo is no guess: it is damaged, or was taken elsewhere, by what a GPS receiver measured. None: it is one.

    `uses_positions`: whether positions count when tags are accepted. A screenshot was not taken where it shows.
    """
    if photo.damaged:
        return DAMAGED
    if tag.position_odds is not None:
        return _refusal_of_tag(tag, photo)
    if not uses_positions or photo.origin == PhotoOrigin.SCREENSHOT or photo.source not in _SOURCES:
        return None
    if landmark.latitude is None or landmark.longitude is None:
        return None
    distance = distance_km(photo.latitude, photo.longitude, landmark.latitude, landmark.longitude)
    if distance - photo.error_m / 1000 <= farthest_km(landmark.extent):
        return None
    return f"{distance_text(distance * 1000)} away by {_SOURCES[PositionSource(photo.source)]}"


def _refusal_of_tag(tag: Row[Any], photo: Row[Any]) -> str:
    """The same for a tag that where the camera was has made doubtful."""
    if tag.doubtful == Doubt.SPEED:
        return f"{distance_text(tag.distance_m)} {_TOO_FAST}"
    by = _SOURCES[PositionSource(photo.source)] if photo.source in _SOURCES else "the position of a copy"
    return f"{distance_text(tag.distance_m)} away by {by}"


def distance_text(metres: float) -> str:
    """`210 m`, `9,560 km`."""
    if metres < 995:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 9950 else f"{metres / 1000:,.0f} km"
