"""Photos whose date is not that of a running clock neither get nor give a position by time."""

from datetime import datetime, timedelta
from itertools import count

import pytest
from sqlalchemy import insert, select
from support.ledgers import LedgerBuilder

from tagger.database.connection import Database
from tagger.database.tables import cameras, photos, positions
from tagger.library.catalog.contents import record_photos
from tagger.library.positions.update import update_positions

PARIS = {"latitude": 48.8584, "longitude": 2.2945}


class Camera:
    def __init__(self, database: Database, **clock: object) -> None:
        self.database = database
        self._root_id = LedgerBuilder(database).root_id
        self._numbers = count()
        with database.write() as connection:
            camera = insert(cameras).values(key="Canon", name="Canon", **clock).returning(cameras.c.id)
            self._id = connection.execute(camera).scalar_one()

    def shot(self, taken_at: datetime, **columns: object) -> int:
        row = {
            "root_id": self._root_id,
            "path": f"{next(self._numbers)}.jpg",
            "path_bytes": b"",
            "size_bytes": 1,
        }
        row |= {"mtime_ns": 1, "camera_id": self._id, "taken_at": taken_at}
        with self.database.write() as connection:
            photo_id = int(
                connection.execute(insert(photos).values(row | columns).returning(photos.c.id)).scalar_one()
            )
            record_photos(connection, [photo_id])
        return photo_id

    def located(self) -> dict[int, str]:
        """The sources of positions by photo."""
        update_positions(self.database)
        with self.database.read() as connection:
            query = select(positions.c.photo_id, positions.c.source)
            return {row.photo_id: row.source for row in connection.execute(query)}


@pytest.mark.parametrize(
    ("text", "is_clock"),
    [
        ("2019-07-14T21:58:03", True),
        ("2099-07-14T21:58:03", True),
        ("2000-01-01T00:05:00", False),
        ("1970-02-03T00:05:00", False),
    ],
)
def test_photos_are_estimated_by_times_of_a_running_clock(
    database: Database, text: str, is_clock: bool
) -> None:
    camera = Camera(database)
    anchor = camera.shot(datetime.fromisoformat(text), **PARIS)
    near = camera.shot(datetime.fromisoformat(text) + timedelta(minutes=3))
    assert camera.located() == {anchor: "camera"} | ({near: "neighbour"} if is_clock else {})


@pytest.mark.postgresql
def test_a_clock_that_a_person_knows_is_a_clock(database: Database) -> None:
    twenty_years = timedelta(days=-7305).total_seconds()
    camera = Camera(database, clock_offset_s=int(twenty_years), clock_source="given")
    first = datetime(2000, 1, 1, 0, 5)  # noqa: DTZ001 - the camera's local time
    anchor, near = camera.shot(first, **PARIS), camera.shot(first + timedelta(minutes=3))
    assert camera.located() == {anchor: "camera", near: "neighbour"}
