"""A large library for the page: the rows of `tests.support.large_library`, and real files for the first of its photos.

The very first files are as large as people's, so that their thumbnails cost what thumbnails cost; the others are small.
"""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sqlalchemy import Row, bindparam, select, update

from bench.photos import photos_in
from bench.processes import tagger_environment
from tagger.database.connection import Database
from tagger.database.tables import contents, photos
from tagger.photos import digest_photo
from tagger.query import LandmarkCount, landmark_counts
from tests.support.large_library import ROOT
from tests.support.large_library import make_library as make_rows

SMALL, LARGE = (320, 240), (1600, 1200)
_BLOCK = 40
_GRAIN = 4.0
"""What makes a JPEG of coloured squares as large as a photo's."""


@dataclass(frozen=True)
class Library:
    """`url` is its database, `root` the folder that its photos are in; `large` and `small` number those with a file."""

    url: str
    root: Path
    photos: int
    large: tuple[int, ...]
    small: tuple[int, ...]
    counts: tuple[LandmarkCount, ...]

    def environment(self, data: Path, **settings: str) -> dict[str, str]:
        """That of a person with this library and a data folder where nothing is yet."""
        places = json.dumps({ROOT.name: str(self.root)})
        return tagger_environment(data, database_url=self.url, roots=places, **settings)


def make_library(folder: Path, count: int, files: int, own: list[Path]) -> Library:
    """A library of `count` photos, of which about `files` have a file; the first ones are `own`."""
    url, root = f"sqlite:///{folder / 'tagger.sqlite'}", folder / "photos"
    database = make_rows(url, count)
    try:
        pictures = _place_files(database, root, files, own)
        counts = tuple(landmark_counts(database))
    finally:
        database.close()
    large = tuple(number for number in pictures if number <= len(own))
    return Library(url, root, count, large, tuple(pictures[len(large) :]), counts)


def photos_to_send(folder: Path | None, count: int, place: Path) -> list[Path]:
    """So many files with different pictures, in a folder of their own: of somebody's photos, or drawn."""
    place.mkdir()
    datas = _different(folder, count) if folder else [_drawn(-1 - number, LARGE) for number in range(count)]
    files = [place / f"{number:04}.jpg" for number in range(len(datas))]
    for file, data in zip(files, datas, strict=True):
        file.write_bytes(data)
    return files


def _different(folder: Path, count: int) -> list[bytes]:
    files = photos_in(folder)
    spread = files[:: max(1, len(files) // count)]
    by_picture = {digest_photo(data): data for data in (file.read_bytes() for file in spread)}
    if len(by_picture) < count:
        raise SystemExit(f"{folder} has {len(by_picture)} different photos; name more, or fewer --uploads")
    return list(by_picture.values())[:count]


def _place_files(database: Database, root: Path, count: int, own: list[Path]) -> list[int]:
    """Write the files, and into the database what a scan and a model would have: the photos whose picture nobody else has."""
    with database.read() as connection:
        known = connection.execute(
            select(photos.c.id, photos.c.path, photos.c.content_id).where(
                photos.c.id <= count, photos.c.gone_since.is_(None), photos.c.content_id.is_not(None)
            )
        ).all()
    placed = [_placed(row, root / row.path, own) for row in known]
    originals = [row for row in placed if row["photo"] == row["content"]]
    with database.write() as connection:
        connection.execute(
            update(photos)
            .where(photos.c.id == bindparam("photo"))
            .values(
                {f"{prefix}{name}": bindparam(name) for prefix in ("", "classified_") for name in _STATE}
            ),
            placed,
        )
        connection.execute(
            update(contents)
            .where(contents.c.id == bindparam("content"))
            .values(digest=bindparam("picture"), width=bindparam("wide"), height=bindparam("high")),
            originals,
        )
    return [row["photo"] for row in originals]


_STATE = ("size_bytes", "mtime_ns")


def _placed(row: Row[Any, Any, Any], file: Path, own: list[Path]) -> dict[str, Any]:
    number = row.content_id
    data = own[number - 1].read_bytes() if number <= len(own) else _drawn(number, SMALL)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data)
    status = file.stat()
    with Image.open(io.BytesIO(data)) as image:
        wide, high = image.size
    known = {"photo": row.id, "content": number, "picture": digest_photo(data), "wide": wide, "high": high}
    return {**known, "size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns}


def _drawn(seed: int, size: tuple[int, int]) -> bytes:
    """Coloured squares with grain, others for each number."""
    width, height = size
    chance = np.random.default_rng(abs(seed) * 2 + (seed < 0))
    squares = (
        chance.integers(0, 256, (height // _BLOCK, width // _BLOCK, 3)).repeat(_BLOCK, 0).repeat(_BLOCK, 1)
    )
    grain = chance.normal(0, _GRAIN, (height, width, 1))
    pixels = np.clip(squares + grain, 0, 255).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=88)
    return out.getvalue()
