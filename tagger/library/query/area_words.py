"""The areas of queries in words: how large they are, and where."""

from math import cos, radians

from tagger.library.query.options import BoundingBox, Near
from tagger.system.geo import EARTH_RADIUS_KM
from tagger.system.number_format import number_text

_SPOT_KM = 0.01
"""A box that is smaller is a spot."""


def near_text(near: Near) -> str:
    """`within 5 km of 48.86, 2.29`."""
    return f"within {_km_text(near.radius_km)} km of {_position_text(near.latitude, near.longitude)}"


def box_text(box: BoundingBox) -> str:
    """`area of 12 by 8 km around 48.86, 2.29`, from west to east and from south to north; of a spot, `at 48.86, 2.29`."""
    degrees = box.east - box.west + (360 if box.east < box.west else 0)
    latitude, longitude = (box.south + box.north) / 2, (box.west + degrees / 2 + 180) % 360 - 180
    km_per_degree = EARTH_RADIUS_KM * radians(1)
    width_km = degrees * km_per_degree * cos(radians(latitude))
    height_km = (box.north - box.south) * km_per_degree
    centre = _position_text(latitude, longitude)
    if max(width_km, height_km) < _SPOT_KM:
        return f"at {centre}"
    return f"area of {_km_text(width_km)} by {_km_text(height_km)} km around {centre}"


def _position_text(latitude: float, longitude: float) -> str:
    return f"{round(latitude, 3):g}, {round(longitude, 3):g}"


def _km_text(km: float) -> str:
    return f"{km:.2g}" if km < 10 else number_text(round(km))
