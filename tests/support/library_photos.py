"""A library with real files, and rows as a job stores them."""

import io
import os
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from PIL import Image
from sqlalchemy import insert
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.tables import cameras
from tagger.kept.update import update_kept
from tagger.photos.formats import digest_photo
from tagger.registry import add_model
from tagger.settings import Settings
from tagger.tags import record_photos

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"


class LibraryPhotos(StoredPhotos):
    """Photos with files below `root`."""

    def __init__(self, database: Database, settings: Settings, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        super().__init__(database, root, add_model(database, Path(str(settings.model))))

    def file(
        self,
        path: str | bytes,
        *predictions: tuple[str, float, bool],
        data: bytes | None = None,
        **columns: Any,
    ) -> int:
        file = self.root / os.fsdecode(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        data = picture() if data is None else data
        file.write_bytes(data)
        return self.number(
            path, *predictions, **{"digest": digest_photo(data), **self.state(file), **columns}
        )

    def number(self, path: str | bytes, *predictions: tuple[str, float, bool], **columns: Any) -> int:
        self.photo(path, *predictions, **columns)
        return self.newest_id()

    @staticmethod
    def state(file: Path) -> dict[str, int]:
        status = file.stat()
        return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def picture(
    colour: tuple[int, int, int] = (200, 60, 60), size: tuple[int, int] = (96, 64), kind: str = "JPEG"
) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, kind)
    return out.getvalue()


def decoded(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


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
    update_kept(library.database)
    return ids
