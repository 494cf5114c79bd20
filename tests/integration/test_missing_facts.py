"""Camera facts of photos that were tagged before the database had cameras."""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rig.drawing import draw_photo
from sqlalchemy import insert, select

from tagger.database.connection import Database
from tagger.database.tables import cameras, contents, photos, position_changes
from tagger.library.catalog.roots import ensure_root
from tagger.library.positions import locating
from tagger.library.positions.locating import MissingFacts, read_missing_facts
from tagger.photos.files import file_version
from tagger.photos.paths import path_text
from tagger.pipeline.requests import Limits

LIMITS = Limits(readers=2, max_bytes=10**6, max_pixels=10**6)


class Library:
    """Photos in a folder that were tagged, but without their facts."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.folder = folder
        folder.mkdir()
        with database.write() as connection:
            self.root = ensure_root(connection, folder, {})

    def add(self, name: str, model: str | None = None, **columns: object) -> int:
        """Draw a photo and store it."""
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        picture = draw_photo(1, (16, 12))
        exif = picture.getexif()
        if model is not None:
            exif[272] = model
            exif[306] = "2019:07:14 21:58:03"
        picture.save(path, "JPEG", exif=exif)
        version = file_version(path)
        assert version is not None
        text, raw = path_text(name)
        row = {
            "root_id": self.root.id,
            "path": text,
            "path_bytes": raw,
            "size_bytes": version.size_bytes,
            "mtime_ns": version.mtime_ns,
            "classified_size_bytes": version.size_bytes,
            "classified_mtime_ns": version.mtime_ns,
        }
        with self.database.write() as connection:
            content = insert(contents).values(digest=os.fsencode(f"{self.root.id} {name}").hex())
            row["content_id"] = connection.scalar(content.returning(contents.c.id))
            stored = insert(photos).values(row | columns).returning(photos.c.id)
            return int(connection.execute(stored).scalar_one())

    def read(self) -> MissingFacts:
        return read_missing_facts(self.database, {}, LIMITS)

    def cameras(self) -> dict[str, str | None]:
        """The names of the photos' cameras by path."""
        query = select(photos.c.path, cameras.c.name).outerjoin(cameras, cameras.c.id == photos.c.camera_id)
        with self.database.read() as connection:
            return {row.path: row.name for row in connection.execute(query)}


@pytest.fixture
def library(database: Database, tmp_path: Path) -> Library:
    return Library(database, tmp_path / "photos")


def test_facts_are_read_once(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locating, "PAGE", 2)
    ids = [library.add(f"{number}.jpg", "EOS") for number in range(5)]
    ids.append(library.add("scans/1.jpg"))
    steps = []
    found = read_missing_facts(library.database, {}, LIMITS, lambda done, total: steps.append((done, total)))
    assert found == MissingFacts(read=6)
    assert steps == [(2, 6), (4, 6), (6, 6)]
    assert library.cameras() == {**{f"{n}.jpg": "EOS" for n in range(5)}, "scans/1.jpg": "photos/scans"}
    with library.database.read() as connection:
        times = connection.scalars(select(photos.c.taken_at).order_by(photos.c.id)).all()
        recorded = connection.scalars(
            select(position_changes.c.photo_id).order_by(position_changes.c.id)
        ).all()
    assert [time.isoformat() if time else None for time in times] == ["2019-07-14T21:58:03"] * 5 + [None]
    assert recorded == ids
    assert library.read() == MissingFacts()


def test_a_file_that_has_changed_is_left_for_tagging(library: Library) -> None:
    library.add("touched.jpg", "EOS")
    library.add("replaced.jpg", "EOS")
    library.add(
        "scanned.jpg", "EOS", size_bytes=7, mtime_ns=7
    )  # a scan saw another file than was tagged, since then
    os.utime(library.folder / "touched.jpg", ns=(1, 1))
    shutil.copy(library.folder / "scanned.jpg", library.folder / "replaced.jpg")
    assert library.read() == MissingFacts(read=1, changed=2)
    assert library.cameras() == {"touched.jpg": None, "replaced.jpg": None, "scanned.jpg": "EOS"}


def test_a_photo_that_fails_to_decode_is_known_by_its_scanned_version(library: Library) -> None:
    failing = {"classified_size_bytes": None, "classified_mtime_ns": None}
    library.add("a.jpg", "EOS", **failing)
    library.add("b.jpg", "EOS", **failing, mtime_ns=7)
    assert library.read() == MissingFacts(read=1, changed=1)


def test_files_that_cannot_be_read_are_counted(library: Library) -> None:
    library.add("a.jpg", "EOS")
    library.add("gone.jpg", "EOS")
    (library.folder / "gone.jpg").unlink()
    assert library.read() == MissingFacts(read=1, unreadable=1)
    assert library.read() == MissingFacts(unreadable=1)


def test_photos_that_were_never_read_or_are_gone_are_left(library: Library) -> None:
    library.add("new.jpg", "EOS", content_id=None)
    library.add("gone.jpg", "EOS", gone_since=datetime.now(UTC))
    assert library.read() == MissingFacts()


def test_photos_of_an_unavailable_root_wait(database: Database, library: Library, tmp_path: Path) -> None:
    elsewhere = Library(database, tmp_path / "share")
    elsewhere.add("a.jpg", "EOS")
    library.add("a.jpg", "EOS")
    (tmp_path / "share").rename(tmp_path / "unmounted")
    assert library.read() == MissingFacts(read=1, unavailable=1)
    (tmp_path / "unmounted").rename(tmp_path / "share")
    assert library.read() == MissingFacts(read=1)
