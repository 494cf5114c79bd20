"""A large library for the page: the rows of `tests.rig.large_library`, and real files for its first photos.

The very first files are as large as camera photos, so that their thumbnails cost as much; the others are small.
"""

import io
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image
from sqlalchemy import Row, bindparam, select, update

from bench.page.server import Server, running_server
from bench.photos import QUALITY, draw_image, evenly_spread, photos_in
from bench.processes import tagger_environment
from tagger.database.connection import Database, open_database
from tagger.database.tables import contents, photos
from tagger.photos.digest import digest_photo
from tagger.query.landmark_counts import LandmarkCount, landmark_counts
from tests.rig.large_library import ROOT
from tests.rig.large_library import make_library as make_rows

SMALL, LARGE = (320, 240), (1600, 1200)
_FILE_STATE = ("size_bytes", "mtime_ns")


@dataclass(frozen=True)
class Library:
    """`url` is the database, `root` the folder of the photos; `large` and `small` are ids of photos with a file."""

    url: str
    root: Path
    photos: int
    large: tuple[int, ...]
    small: tuple[int, ...]
    counts: tuple[LandmarkCount, ...]

    def environment(self, data: Path, **settings: str) -> dict[str, str]:
        """Return the environment of a user of this library with an empty data folder."""
        roots = json.dumps({ROOT.name: str(self.root)})
        return tagger_environment(data, database_url=self.url, roots=roots, **settings)

    def opened(self) -> closing[Database]:
        return closing(open_database(self.url))

    @contextmanager
    def new_server(self, settings: dict[str, str]) -> Iterator[Server]:
        """Start a server with an empty data folder, which has received no request."""
        with TemporaryDirectory(prefix="tagger-bench-") as name:
            data = Path(name)
            with running_server(self.environment(data, **settings), data) as server:
                yield server


def make_library(folder: Path, count: int, files: int, large_photos: list[Path]) -> Library:
    """Create a library of `count` photos, of which about `files` have a file; the first are copies of `large_photos`."""
    url, root = f"sqlite:///{folder / 'tagger.sqlite'}", folder / "photos"
    with closing(make_rows(url, count)) as database:
        ids = _write_files(database, root, files, large_photos)
        counts = tuple(landmark_counts(database))
    large = tuple(number for number in ids if number <= len(large_photos))
    return Library(url, root, count, large, tuple(ids[len(large) :]), counts)


def prepare_uploads(source: Path | None, count: int, folder: Path) -> list[Path]:
    """Write `count` files with different images to a new folder: photos of `source`, or drawn ones."""
    folder.mkdir()
    uploads = _distinct_photos(source, count) if source else [_jpeg(10**9 + n, LARGE) for n in range(count)]
    files = [folder / f"{number:04}.jpg" for number in range(len(uploads))]
    for file, data in zip(files, uploads, strict=True):
        file.write_bytes(data)
    return files


def _distinct_photos(source: Path, count: int) -> list[bytes]:
    files = evenly_spread(photos_in(source), 2 * count)
    by_digest = {digest_photo(data): data for data in (file.read_bytes() for file in files)}
    if len(by_digest) < count:
        raise SystemExit(f"{source} has {len(by_digest)} different photos; add photos, or reduce --uploads")
    return list(by_digest.values())[:count]


def _write_files(database: Database, root: Path, count: int, large_photos: list[Path]) -> list[int]:
    """Write the files, and to the database what a scan and a model would store; return the ids of photos that are no copies."""
    with database.read() as connection:
        rows = connection.execute(
            select(photos.c.id, photos.c.path, photos.c.content_id).where(
                photos.c.id <= count, photos.c.gone_since.is_(None), photos.c.content_id.is_not(None)
            )
        ).all()
    values = [_write_file(row, root / row.path, large_photos) for row in rows]
    originals = [each for each in values if each["photo"] == each["content"]]
    states: dict[str, Any] = {
        f"{prefix}{name}": bindparam(name) for prefix in ("", "classified_") for name in _FILE_STATE
    }
    image: dict[str, Any] = {
        "digest": bindparam("image"),
        "width": bindparam("wide"),
        "height": bindparam("high"),
    }
    with database.write() as connection:
        connection.execute(update(photos).where(photos.c.id == bindparam("photo")).values(states), values)
        connection.execute(
            update(contents).where(contents.c.id == bindparam("content")).values(image), originals
        )
    return [each["photo"] for each in originals]


def _write_file(row: Row[Any, Any, Any], file: Path, large_photos: list[Path]) -> dict[str, Any]:
    number = row.content_id
    data = large_photos[number - 1].read_bytes() if number <= len(large_photos) else _jpeg(number, SMALL)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    status = file.stat()
    with Image.open(io.BytesIO(data)) as image:
        wide, high = image.size
    values = {"photo": row.id, "content": number, "image": digest_photo(data), "wide": wide, "high": high}
    return {**values, "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _jpeg(seed: int, size: tuple[int, int]) -> bytes:
    output = io.BytesIO()
    draw_image(seed, size).save(output, "JPEG", quality=QUALITY)
    return output.getvalue()
