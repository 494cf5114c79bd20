"""Distances on the ground."""

import math

EARTH_RADIUS_KM = 6371.0088


def distance_km(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    """The great-circle distance between two positions in degrees (haversine formula)."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_delta_phi = (other_phi - phi) / 2
    half_delta_lambda = math.radians(other_longitude - longitude) / 2
    haversine = (
        math.sin(half_delta_phi) ** 2 + math.cos(phi) * math.cos(other_phi) * math.sin(half_delta_lambda) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))
