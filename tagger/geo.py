"""Distances on the ground, and the parts of the world, by which landmarks without positions are known."""

import math
import re
from collections.abc import Mapping

from tagger.texts.names import digest_slug, slug_of_name

EARTH_RADIUS_KM = 6371.0088


def distance_km(
    latitude: float, longitude: float, other_latitude: float, other_longitude: float
) -> float:
    """The great-circle distance between two positions in degrees (haversine formula)."""
    phi, other_phi = math.radians(latitude), math.radians(other_latitude)
    half_delta_phi = (other_phi - phi) / 2
    half_delta_lambda = math.radians(other_longitude - longitude) / 2
    haversine = (
        math.sin(half_delta_phi) ** 2
        + math.cos(phi) * math.cos(other_phi) * math.sin(half_delta_lambda) ** 2
    )
    return 2 * EARTH_RADIUS_KM * math.asin(math.sqrt(min(1.0, haversine)))


def is_on_earth(latitude: float | None, longitude: float | None) -> bool:
    if latitude is None or longitude is None:
        return False
    return abs(latitude) <= 90 and abs(longitude) <= 180  # false for NaN


# South, west, north, east, in degrees.
Box = tuple[float, float, float, float]
# Parts of the world, each as a few boxes, which overlap at borders: places there are in both.
WORLD_REGIONS: Mapping[str, tuple[Box, ...]] = {
    "africa": ((-40, -26, 38, 36), (-40, 30, 31, 44), (-40, 40, 16, 64)),
    "asia": (
        (-11, 25, 43, 150),
        (36, 44, 82, 180),
        (29, 44, 36, 150),
        (60, -180, 72, -168),
    ),
    "europe": (
        (34, -12, 82, 45),
        (27, -32, 45, -6),
        (41, 40, 82, 69),
        (59, -26, 67, -12),
    ),
    "north-america": (
        (7, -140, 84, -50),
        (18, -180, 72, -130),
        (59, -75, 84, -10),
        (7, -93, 28, -58),
    ),
    "oceania": ((-56, 110, 0, 180), (-56, -180, 29, -105), (0, 130, 29, 180)),
    "south-america": ((-57, -93, 13, -28),),
}
MAX_NAME_SLUG = 80


def world_region_in(text: str) -> str | None:
    """The part that a text has the name of: `landmarks_north_america` → `north-america`."""
    plain = re.sub(r"[^a-z]+", "-", text.lower())
    return next((region for region in WORLD_REGIONS if region in plain), None)


def is_in_region(region: str, latitude: float, longitude: float) -> bool:
    """Whether a place is in a part, or near its border."""
    return any(
        south <= latitude <= north and west <= longitude <= east
        for south, west, north, east in WORLD_REGIONS[region]
    )


def regional_slug(name: str, region: str) -> str:
    """The slug of a landmark that is known by its name and its part: `eiffel-tower-europe`."""
    slug = slug_of_name(name) or digest_slug("landmark", name)
    short = (
        slug if len(slug) <= MAX_NAME_SLUG else digest_slug(slug[:60].strip("-"), slug)
    )
    return f"{short}-{region}"


def region_of_slug(slug: str, name: str) -> str | None:
    """The part of a landmark whose slug `regional_slug` made of this name."""
    region = next(
        (region for region in WORLD_REGIONS if slug.endswith(f"-{region}")), None
    )
    return region if region and slug == regional_slug(name, region) else None
