"""Cities by name or coordinates, to say where a new landmark is. Offline."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from fastapi import Query

from tagger.errors import QueryInvalid
from tagger.library.positions.cities import City, find_cities, nearest_cities
from tagger.library.query.options import parse_position
from tagger.web.api.routes import api_router

router = api_router("landmarks")


@dataclass(frozen=True)
class Place:
    """Where a landmark is. The coordinates are null if only the city is known, the city is null far from every city."""

    city: str | None
    region: str | None
    country: str | None
    latitude: float | None
    longitude: float | None


@router.get("/cities")
def cities(
    q: Annotated[
        str,
        Query(
            min_length=1,
            max_length=200,
            description="The start of a city's name, with its region or country after a comma, or LAT,LON in degrees.",
        ),
    ],
    limit: Annotated[int, Query(ge=1, le=100, description="Most cities.")] = 10,
) -> list[Place]:
    """List the cities with a name, the largest first, or the city of coordinates, which then are its `latitude` and `longitude`."""
    if not q.strip(" ,"):
        return []
    try:
        latitude, longitude = parse_position(q, "q")
    except QueryInvalid:
        return [_place(city, None, None) for city in find_cities(q, limit)]
    (city,) = nearest_cities(np.array([latitude]), np.array([longitude]))
    return [_place(city, latitude, longitude)]


def _place(city: City | None, latitude: float | None, longitude: float | None) -> Place:
    if city is None:
        return Place(None, None, None, latitude, longitude)
    return Place(city.name, city.region, city.country, latitude, longitude)
