"""Where the photos of a trip were taken, in order of time, for its map. Reads only."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from tagger.database.connection import Database
from tagger.database.enums import PositionSource
from tagger.database.tables import photos, positions
from tagger.library.trips.find import is_of_trip
from tagger.library.trips.grouping import Trip

_MEASURED = (PositionSource.CAMERA, PositionSource.TRACK)


@dataclass(frozen=True, slots=True)
class PathPoint:
    """The position of a photo in degrees, and where it comes from."""

    photo_id: int
    camera_id: int
    taken_at: datetime
    latitude: float
    longitude: float
    city: str | None
    country: str | None
    source: str

    @property
    def is_measured(self) -> bool:
        """Whether a GPS receiver knows it, of the camera or of a track; others are estimated."""
        return self.source in _MEASURED


def trip_path(database: Database, trip: Trip) -> Iterator[PathPoint]:
    """The photos with positions, camera by camera."""
    query = (
        select(photos.c.id, photos.c.camera_id, photos.c.taken_at, positions)
        .join(positions, positions.c.photo_id == photos.c.id)
        .where(is_of_trip(trip), photos.c.gone_since.is_(None))
        .order_by(photos.c.camera_id, photos.c.taken_at, photos.c.id)
    )
    with database.read() as connection:
        for row in connection.execute(query):
            where = row.latitude, row.longitude, row.city, row.country, row.source
            yield PathPoint(row.id, row.camera_id, row.taken_at, *where)
