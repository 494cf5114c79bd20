"""Photos of a trip with files, for tests of pages."""

from datetime import datetime, timedelta

from sqlalchemy import insert
from support.library_photos import EIFFEL, LibraryPhotos, picture

from tagger.database.tables import cameras
from tagger.positions.update import update_positions
from tagger.tags.contents import record_photos

TRIP = "2019-05-03-paris"
PARIS = (48.86, 2.33)


FIRST = datetime(2019, 5, 3, 10)  # noqa: DTZ001 - local time


def add_trip(library: LibraryPhotos, first: datetime = FIRST) -> list[int]:
    """Three days in Paris: eight photos with GPS, and one of the Eiffel Tower. Returns their ids in order."""
    ids = []
    with library.database.write() as connection:
        camera_id = connection.execute(
            insert(cameras).values(key=f"camera|{first}", name=f"{first}").returning(cameras.c.id)
        ).scalar_one()
    for number in range(9):
        columns = {"camera_id": camera_id, "taken_at": first + timedelta(hours=6 * number)}
        name = f"trip-{first:%Y%m%d-%H}-{number}.jpg"
        data = picture((20 * number, 99 + first.hour, first.day))
        if number == 4:
            ids.append(library.file(name, (EIFFEL, 0.9, True), data=data, **columns))
        else:
            latitude, longitude = PARIS[0] + number / 200, PARIS[1] + number / 100
            ids.append(library.file(name, data=data, latitude=latitude, longitude=longitude, **columns))
    with library.database.write() as connection:
        record_photos(connection, ids)
    update_positions(library.database)
    return ids
