"""Cities by name or coordinates, to say where a new landmark is. Offline."""

from typing import Annotated, Any

import numpy as np
from fastapi import Query

from tagger.errors import QueryInvalid
from tagger.library.positions.cities import City, find_cities, nearest_cities
from tagger.library.query.options import parse_position
from tagger.web.api import schemas
from tagger.web.api.routes import api_router

router = api_router("landmarks")


@router.get("/cities", response_model=list[schemas.Place])
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
) -> list[dict[str, Any]]:
    """List the cities with a name, the largest first, or the city of coordinates, which then are its `latitude` and `longitude`."""
    if not q.strip(" ,"):
        return []
    try:
        latitude, longitude = parse_position(q, "q")
    except QueryInvalid:
        return [_document(city, None, None) for city in find_cities(q, limit)]
    (city,) = nearest_cities(np.array([latitude]), np.array([longitude]))
    return [_document(city, latitude, longitude)]


def _document(city: City | None, latitude: float | None, longitude: float | None) -> dict[str, Any]:
    return {
        "city": city and city.name,
        "region": city and city.region,
        "country": city and city.country,
        "latitude": latitude,
        "longitude": longitude,
    }
