"""How many photos were taken in which city, and the circle around them; reads only."""

from dataclasses import dataclass

from sqlalchemy import func, select

from tagger.database.connection import Database
from tagger.database.tables import photos, positions
from tagger.library.query.position_cells import PositionCell


@dataclass(frozen=True)
class CityCount:
    """A city with photos. The circle around its position, in degrees and kilometres, has all of them."""

    city: str
    region: str | None
    country: str
    latitude: float
    longitude: float
    radius_km: float
    photos: int


def city_counts(database: Database) -> list[CityCount]:
    """The cities of photos, most photos first, except photos whose file is gone. Reads all positions."""
    place = positions.c.country, positions.c.region, positions.c.city
    latitude, longitude = positions.c.latitude, positions.c.longitude
    query = (
        select(
            *place,
            func.count().label("photos"),
            func.min(latitude).label("south"),
            func.max(latitude).label("north"),
            func.min(longitude).label("west"),
            func.max(longitude).label("east"),
        )
        .join(photos, photos.c.id == positions.c.photo_id)
        .where(photos.c.gone_since.is_(None), positions.c.city.is_not(None), positions.c.country.is_not(None))
        .group_by(*place)
    )
    with database.read() as connection:
        found = []
        for row in connection.execute(query):
            box = PositionCell(
                "any", row.photos, row.south, row.north, row.west, row.east, row.city, row.country
            )
            centre = round(box.latitude, 5), round(box.longitude, 5)
            found.append(CityCount(row.city, row.region, row.country, *centre, box.radius_km, row.photos))
    return sorted(found, key=lambda count: (-count.photos, count.city, count.country, count.region or ""))
