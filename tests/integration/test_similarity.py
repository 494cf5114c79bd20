"""Photos ranked by likeness on both databases."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import select, update
from support.colour_folders import TaggedFolder
from support.teaching import DIMENSION, draw_place, teachable_artifact

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.library.teaching import similarity
from tagger.library.teaching.examples import load_embeddings
from tagger.library.teaching.similarity import find_similar

CHURCH = 0


@pytest.fixture
def library(database: Database, tmp_path: Path) -> TaggedFolder:
    library = TaggedFolder(database, tmp_path, teachable_artifact)
    for seed in range(4):
        draw_place(library.folder / "church" / f"{seed}.jpg", CHURCH, seed=seed)
    for place in range(10, 16):
        draw_place(library.folder / "others" / f"{place}.jpg", place)
    (library.folder / "copy.jpg").write_bytes((library.folder / "church" / "1.jpg").read_bytes())
    library.tag()
    return library


def similar_to(library: TaggedFolder, name: str, **options: object) -> list[str]:
    """Paths below the folder, best first. The photo itself is left out."""
    with library.database.read() as connection:
        content_id = connection.scalar(select(photos.c.content_id).where(photos.c.path == name))
        given = load_embeddings(connection, 1, [content_id], DIMENSION)
    values: dict[str, object] = {"limit": 100, "without": [content_id], **options}
    found = find_similar(library.database, library.model, given, {}, **values)  # type: ignore[arg-type]
    assert all(photo.similarity is not None for photo in found)
    return [str(Path(photo.path).relative_to(library.folder)) for photo in found]


@pytest.mark.postgresql
def test_images_are_listed_once_and_the_best_come_first(library: TaggedFolder) -> None:
    found = similar_to(library, "church/0.jpg")
    assert len(found) == len(set(found)) == 9
    assert len({"church/1.jpg", "copy.jpg"} & set(found[:3])) == 1
    assert {"church/2.jpg", "church/3.jpg"} < set(found[:3])


def test_pages_give_the_same_as_one(library: TaggedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    found = similar_to(library, "church/0.jpg")
    monkeypatch.setattr(similarity, "PAGE", 2)
    assert similar_to(library, "church/0.jpg") == found
    assert similar_to(library, "church/0.jpg", limit=4) == found[:4]


def test_only_photos_that_are_present_in_the_folders_are_listed(library: TaggedFolder) -> None:
    with library.database.write() as connection:
        is_gone = photos.c.path.in_(["church/1.jpg", "church/2.jpg"])
        connection.execute(update(photos).where(is_gone).values(gone_since=datetime(2026, 1, 1, tzinfo=UTC)))
    assert set(similar_to(library, "church/0.jpg", limit=2)) == {"church/3.jpg", "copy.jpg"}
    below = similar_to(library, "church/0.jpg", under=[library.folder / "church"])
    assert below == ["church/3.jpg"]
    assert similar_to(library, "church/0.jpg", under=[library.folder / "nowhere"]) == []
