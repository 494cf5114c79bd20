"""Drawn photos in a folder, and a database in which each of them is tagged: as if a model had classified them."""

import io
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from blake3 import blake3
from PIL import Image
from sqlalchemy import insert, select

from bench.processes import tagger_environment
from tagger.catalog.registered_models import resolve_model
from tagger.database.connection import Database, open_database
from tagger.database.schema import upgrade_database
from tagger.database.tables import Outcome, contents, landmarks, photos, roots, tags
from tagger.photos import digest_photo

OWNERS_KEYWORD = "family"
PER_FOLDER = 1000
_SIZE = (160, 120)
_XMP = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:subject><rdf:Bag><rdf:li>{OWNERS_KEYWORD}</rdf:li></rdf:Bag>
</dc:subject></rdf:Description></rdf:RDF></x:xmpmeta>""".encode()


@dataclass(frozen=True)
class DrawnPhoto:
    """Digests of the file and of its picture, by which both are known again. `path` is relative to the library."""

    path: str
    file_digest: str
    picture: str
    has_xmp: bool


@dataclass(frozen=True)
class Library:
    """`data` is the tagger's data folder, `folder` where the photos are."""

    data: Path
    folder: Path
    photos: tuple[DrawnPhoto, ...]

    @property
    def environment(self) -> dict[str, str]:
        return tagger_environment(self.data)

    def opened(self) -> Database:
        return open_database(f"sqlite:///{self._file}")

    def database_bytes(self) -> int:
        """With what was still in the log."""
        with closing(sqlite3.connect(self._file)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return self._file.stat().st_size

    def bytes_of(self, photo: DrawnPhoto) -> bytes:
        return (self.folder / photo.path).read_bytes()

    def changed(self) -> list[DrawnPhoto]:
        """Photos whose files are not what they were at the beginning."""
        return [photo for photo in self.photos if digest_file(self.bytes_of(photo)) != photo.file_digest]

    @property
    def _file(self) -> Path:
        return self.data / "tagger.sqlite"


def make_library(data: Path, count: int) -> Library:
    """So many photos, all of different pictures with EXIF; every other one has XMP with a keyword of its owner."""
    folder = data / "photos"
    library = Library(data, folder, tuple(_drawn(folder, number) for number in range(count)))
    upgrade_database(f"sqlite:///{data / 'tagger.sqlite'}")
    with closing(library.opened()) as database:
        _record(database, library)
    return library


def digest_file(data: bytes) -> str:
    return blake3(data).hexdigest()


def _drawn(folder: Path, number: int) -> DrawnPhoto:
    path = f"{number // PER_FOLDER:04}/{number:07}.jpg"
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    xmp = number % 2 == 1
    data = _photo(number, xmp=xmp)
    file.write_bytes(data)
    return DrawnPhoto(path, digest_file(data), digest_photo(data), xmp)


def _photo(number: int, *, xmp: bool) -> bytes:
    width, height = _SIZE
    pixels = np.random.default_rng(number).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels.repeat(8, axis=0).repeat(8, axis=1))
    exif = Image.Exif()
    exif[271], exif[306] = "a camera", "2019:07:14 21:58:03"
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=85, exif=exif, **({"xmp": _XMP} if xmp else {}))
    return file.getvalue()


def _record(database: Database, library: Library) -> None:
    model = resolve_model(database, None)
    classified = {"model_id": model.id, "top_k": 5, "threshold": 0.5, "classified_at": datetime.now(UTC)}
    with database.write() as connection:
        root = {"name": "photos", "location": str(library.folder.resolve()), "location_bytes": b""}
        root_id = connection.execute(insert(roots).values(root).returning(roots.c.id)).scalar_one()
        known = connection.scalars(select(landmarks.c.id).order_by(landmarks.c.id)).all()
        connection.execute(insert(contents), _numbered(map(_content(classified), library.photos)))
        connection.execute(insert(photos), _numbered(_photo_rows(library, root_id)))
        connection.execute(
            insert(tags),
            [
                {
                    "content_id": number + 1,
                    "rank": 1,
                    "landmark_id": known[number % len(known)],
                    "score": 0.9,
                    "accepted": True,
                    "model_id": model.id,
                }
                for number in range(len(library.photos))
            ],
        )


def _content(classified: Mapping[str, Any]) -> Any:
    size = dict(zip(("width", "height"), _SIZE, strict=True))
    return lambda photo: {"digest": photo.picture, "outcome": Outcome.TAGGED, **size, **classified}


def _photo_rows(library: Library, root_id: int) -> Iterable[dict[str, Any]]:
    for number, photo in enumerate(library.photos, start=1):
        status = (library.folder / photo.path).stat()
        state = {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
        classified = {f"classified_{name}": value for name, value in state.items()}
        path = {"root_id": root_id, "path": photo.path, "path_bytes": b""}
        yield {**path, **state, **classified, "content_id": number}


def _numbered(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"id": number, **row} for number, row in enumerate(rows, start=1)]
