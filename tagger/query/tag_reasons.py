"""Why a tag is accepted, or not, although its score says otherwise: the photo's position, in words."""

from typing import Any

from sqlalchemy import Row

from tagger.database.enums import PositionSource

_SOURCES = {PositionSource.CAMERA: "GPS", PositionSource.TRACK: "track"}


def tag_reason(tag: Row[Any], source: str | None) -> str | None:
    """The reason of an effective tag, for a photo whose position has this source; None: its score, or a verdict."""
    if tag.position_odds is None or tag.verdict is not None:
        return None
    state = "accepted" if tag.accepted else "not accepted"
    if source in _SOURCES:
        return f"{state}: {distance_text(tag.distance_m)} from the photo's position ({_SOURCES[PositionSource(source)]})"
    return f"{state}: {distance_text(tag.distance_m)} from the position of a copy"


def distance_text(metres: float) -> str:
    """`210 m`, `9,560 km`."""
    if metres < 995:
        return f"{metres:.0f} m"
    return f"{metres / 1000:.1f} km" if metres < 9950 else f"{metres / 1000:,.0f} km"
