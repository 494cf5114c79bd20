"""A library of drawn photos with tags in the database, as a model would have stored them."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from blake3 import blake3
from PIL import Image
from sqlalchemy import insert, select

from bench.photos import QUALITY, draw_image
from bench.processes import tagger_environment
from tagger.catalog.registered_models import resolve_model
from tagger.database.connection import Database, open_database
from tagger.database.enums import Outcome
from tagger.database.schema import upgrade_database
from tagger.database.tables import contents, landmarks, photos, roots, tags
from tagger.photos.digest import digest_photo

OWNERS_KEYWORD = "family"
PER_FOLDER = 1000
_SIZE = (160, 120)
_XMP = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>{OWNERS_KEYWORD}</rdf:li></rdf:Bag>
</dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>""".encode()


@dataclass(frozen=True)
class DrawnPhoto:
    """`path` is relative to the library's folder; the digests are those of the file and of its image data."""

    path: str
    file_digest: str
    image_digest: str
    has_xmp: bool


@dataclass(frozen=True)
class Library:
    """`data` is the tagger's data folder, `folder` that of the photos."""

    data: Path
    folder: Path
    photos: tuple[DrawnPhoto, ...]

    @property
    def environment(self) -> dict[str, str]:
        return tagger_environment(self.data)

    def opened(self) -> closing[Database]:
        return closing(open_database(self.url))

    def database_bytes(self) -> int:
        """Return the size of the database, including what the write-ahead log contained."""
        with closing(sqlite3.connect(self._file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._file.stat().st_size

    def bytes_of(self, photo: DrawnPhoto) -> bytes:
        return (self.folder / photo.path).read_bytes()

    def changed(self) -> list[DrawnPhoto]:
        """Return the photos whose files differ from the drawn ones."""
        return [photo for photo in self.photos if _file_digest(self.bytes_of(photo)) != photo.file_digest]

    @property
    def url(self) -> str:
        return f"sqlite:///{self._file}"

    @property
    def _file(self) -> Path:
        return self.data / "tagger.sqlite"


def make_library(data: Path, count: int) -> Library:
    """Draw so many different photos with EXIF data; every other one has XMP with the owner's keyword."""
    folder = data / "photos"
    library = Library(data, folder, tuple(_draw(folder, number) for number in range(count)))
    upgrade_database(library.url)
    with library.opened() as database:
        _store(database, library)
    return library


def _file_digest(data: bytes) -> str:
    return blake3(data).hexdigest()


def _draw(folder: Path, number: int) -> DrawnPhoto:
    path = f"{number // PER_FOLDER:04}/{number:07}.jpg"
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    has_xmp = number % 2 == 1
    exif = Image.Exif()
    exif[271], exif[306] = "a camera", "2019:07:14 21:58:03"
    metadata: dict[str, Any] = {"exif": exif, "xmp": _XMP} if has_xmp else {"exif": exif}
    draw_image(number, _SIZE).save(file, quality=QUALITY, **metadata)
    data = file.read_bytes()
    return DrawnPhoto(path, _file_digest(data), digest_photo(data), has_xmp)


def _store(database: Database, library: Library) -> None:
    model = resolve_model(database, None)
    classified = {"model_id": model.id, "top_k": 5, "threshold": 0.5, "classified_at": datetime.now(UTC)}
    with database.write() as connection:
        root = {"name": "photos", "location": str(library.folder.resolve()), "location_bytes": b""}
        root_id = connection.execute(insert(roots).values(root).returning(roots.c.id)).scalar_one()
        landmark_ids = connection.scalars(select(landmarks.c.id).order_by(landmarks.c.id)).all()
        size = dict(zip(("width", "height"), _SIZE, strict=True))
        content_rows = (
            {"digest": photo.image_digest, "outcome": Outcome.TAGGED, **size, **classified}
            for photo in library.photos
        )
        connection.execute(insert(contents), _numbered(content_rows))
        connection.execute(insert(photos), _numbered(_photo_rows(library, root_id)))
        connection.execute(
            insert(tags),
            [
                {
                    "content_id": number + 1,
                    "rank": 1,
                    "landmark_id": landmark_ids[number % len(landmark_ids)],
                    "score": 0.9,
                    "accepted": True,
                    "model_id": model.id,
                }
                for number in range(len(library.photos))
            ],
        )


def _photo_rows(library: Library, root_id: int) -> Iterable[dict[str, Any]]:
    for number, photo in enumerate(library.photos, start=1):
        status = (library.folder / photo.path).stat()
        state = {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        classified = {f"classified_{name}": value for name, value in state.items()}
        path = {"root_id": root_id, "path": photo.path, "path_bytes": b""}
        yield {**path, **state, **classified, "content_id": number}


def _numbered(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": number, **row} for number, row in enumerate(rows, start=1)]
