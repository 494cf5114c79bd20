"""Photos of cameras at times after a noon, for tests of positions."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Self

from sqlalchemy import insert, select, update
from support.databases import read_rows
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.tables import cameras, positions
from tagger.kept.update import update_kept
from tagger.tags import record_photos

NOON = datetime(2024, 5, 3, 12)  # noqa: DTZ001 - the camera's local time


class PositionLibrary(StoredPhotos):
    """Photos of cameras, each `minutes` after noon."""

    @classmethod
    def with_camera(cls, database: Database, folder: Path) -> Self:
        library = cls.with_tiny_model(database, folder)
        library.camera()
        return library

    def camera(self, key: str = "Canon", **clock: Any) -> int:
        with self.database.write() as connection:
            values = {"key": key, "name": key, **clock}
            return int(
                connection.execute(insert(cameras).values(values).returning(cameras.c.id)).scalar_one()
            )

    def set_companions(self, *camera_ids: int) -> None:
        with self.database.write() as connection:
            group = update(cameras).where(cameras.c.id.in_(camera_ids))
            connection.execute(group.values(companions_id=min(camera_ids)))

    def shot(
        self,
        minutes: float | None,
        *predictions: tuple[str, float, bool],
        camera: int | None = 1,
        gps: tuple[float, float] | None = None,
        **columns: Any,
    ) -> int:
        number = self.newest_id() or 0
        latitude, longitude = gps or (None, None)
        self.photo(
            f"{number}.jpg",
            *predictions,
            taken_at=None if minutes is None else NOON + timedelta(minutes=minutes),
            **{"camera_id": camera, "latitude": latitude, "longitude": longitude, **columns},
        )
        photo_id = self.newest_id()
        with self.database.write() as connection:
            record_photos(connection, [photo_id])
        return photo_id

    def update(self) -> int:
        return update_kept(self.database)

    def found(self) -> dict[int, tuple[str, float, float]]:
        return {
            row.photo_id: (row.source, round(row.latitude, 4), round(row.longitude, 4))
            for row in read_rows(self.database, select(positions))
        }

    def evidence(self, photo_id: int) -> dict[str, Any]:
        with self.database.read() as connection:
            query = select(positions.c.evidence).where(positions.c.photo_id == photo_id)
            return dict(connection.execute(query).scalar_one())
