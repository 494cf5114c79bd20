"""Distances on the ground."""

import math

EARTH_RADIUS_KM = 6371.0088


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """The great-circle distance of two places given in degrees (haversine)."""
    here, there = math.radians(latitude), math.radians(other_latitude)
    across = math.sin(math.radians(other_longitude - longitude) / 2) ** 2
    chord = math.sin((there - here) / 2) ** 2 + math.cos(here) * math.cos(there) * across
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, chord)))
