"""How far from its coordinates a landmark is photographed. Positions are weighed by it, and guesses refused."""

from collections.abc import Mapping

REACHES_KM: Mapping[str, tuple[float, float, float, float]] = {
    "point": (1.0, 3.0, 100.0, 400.0),
    "area": (5.0, 15.0, 300.0, 6000.0),
    "line": (5.0, 15.0, 1000.0, 10_000.0),
    "multi": (5.0, 15.0, 1000.0, 10_000.0),
}
"""By extent: up to the first distance, a photo is at the landmark; between the second and the third one, it may still show it: a tower, or a
mountain, is seen from afar, coordinates of what is no point are those of its centre, and it may be large. From the fourth one on, it is
elsewhere."""
UNKNOWN_EXTENT = "area"
"""An unknown extent counts as this."""


def farthest_km(extent: str | None) -> float:
    """How far away a photo may still show a landmark of this extent."""
    return REACHES_KM.get(extent or UNKNOWN_EXTENT, REACHES_KM[UNKNOWN_EXTENT])[2]
