"""Photos ranked by likeness, and groups of unknown photos that look alike, on both databases."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update
from support.colour_folders import EIFFEL, TaggedFolder
from support.teaching import DIMENSION, draw_place, teachable_artifact

from tagger.database import VerdictKind, tables
from tagger.database.tables import embeddings, photos, tags
from tagger.teaching import similarity
from tagger.teaching.learning import load_embeddings
from tagger.teaching.similarity import find_look_alikes, find_similar, photos_of_groups, update_sketches
from tagger.verdicts import dismiss_photos, give_verdicts

CHURCH = 0


@pytest.fixture
def library(database, tmp_path) -> TaggedFolder:
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
    found = find_similar(library.database, library.model, given, {}, **values)
    assert all(photo.similarity is not None for photo in found)
    return [str(Path(photo.path).relative_to(library.folder)) for photo in found]


@pytest.mark.postgresql
def test_images_are_listed_once_in_order_also_page_by_page(library, monkeypatch):
    found = similar_to(library, "church/0.jpg")
    assert len(found) == len(set(found)) == 9
    assert len({"church/1.jpg", "copy.jpg"} & set(found[:3])) == 1
    assert {"church/2.jpg", "church/3.jpg"} < set(found[:3])
    monkeypatch.setattr(similarity, "PAGE", 2)
    assert similar_to(library, "church/0.jpg") == found
    assert similar_to(library, "church/0.jpg", limit=4) == found[:4]


def test_only_present_photos_in_the_folders_are_listed_and_few_need_no_sketches(library):
    with library.database.write() as connection:
        is_gone = photos.c.path.in_(["church/1.jpg", "church/2.jpg"])
        connection.execute(update(photos).where(is_gone).values(gone_since=datetime(2026, 1, 1, tzinfo=UTC)))
    assert set(similar_to(library, "church/0.jpg", limit=2)) == {"church/3.jpg", "copy.jpg"}
    below = similar_to(library, "church/0.jpg", under=[library.folder / "church"])
    assert below == ["church/3.jpg"]
    assert similar_to(library, "church/0.jpg", under=[library.folder / "nowhere"]) == []
    update_sketches(library.database, [library.model])
    assert library.count(tables.sketches) == 0


@pytest.mark.postgresql
def test_photos_that_come_after_the_sketches_were_stored_are_found(library, monkeypatch):
    before = similar_to(library, "church/0.jpg")
    monkeypatch.setattr(similarity, "MOST_MISSING", 0)
    update_sketches(library.database, [library.model])
    assert library.count(tables.sketches) == 1
    monkeypatch.setattr(similarity, "_sketched", None)  # nothing is computed again
    assert similar_to(library, "church/0.jpg") == before
    monkeypatch.undo()
    draw_place(library.folder / "church" / "4.jpg", CHURCH, seed=4)
    library.tag()
    assert "church/4.jpg" in similar_to(library, "church/0.jpg")[:4]
    library.tag(reprocess=True)
    assert library.count(tables.sketches) == 0
    assert len(similar_to(library, "church/0.jpg")) == len(before) + 1


def test_sketches_of_images_without_a_photo_give_way_to_others(library, monkeypatch):
    monkeypatch.setattr(similarity, "MOST_MISSING", 0)
    update_sketches(library.database, [library.model])
    monkeypatch.setattr(similarity, "COMPARED", 2)
    monkeypatch.setattr(similarity, "COMPARED_PER_PHOTO", 1)
    with library.database.write() as connection:
        of_others = photos.c.path.in_(["church/1.jpg", "copy.jpg"])
        (content_id,) = connection.scalars(select(photos.c.content_id).where(of_others).distinct())
        connection.execute(delete(embeddings).where(embeddings.c.content_id == content_id))
        is_gone = update(photos).where(photos.c.path == "church/2.jpg")
        connection.execute(is_gone.values(gone_since=datetime(2026, 1, 1, tzinfo=UTC)))
    found = similar_to(library, "church/0.jpg", limit=3)
    assert found[0] == "church/3.jpg"
    assert {each.split("/")[0] for each in found[1:]} == {"others"}


@pytest.fixture
def unknown(database, tmp_path) -> TaggedFolder:
    unknown = TaggedFolder(database, tmp_path, teachable_artifact)
    for name, place, count in (("church", 0, 6), ("bridge", 1, 4), ("gate", 2, 2)):
        for seed in range(count):
            draw_place(unknown.folder / name / f"{seed}.jpg", place, seed=seed)
    unknown.tag()
    return unknown


def groups(unknown: TaggedFolder) -> list[list[str]]:
    """The names of the photos of each group, from groups that are found now."""
    found = find_look_alikes(unknown.database, unknown.model)
    listed = photos_of_groups(unknown.database, found.groups, {})
    return [sorted("/".join(Path(photo.path).parts[-2:]) for photo in group) for group in listed]


def test_groups_of_three_or_more_are_listed_the_likeliest_places_first(unknown):
    church, bridge = (
        [f"{name}/{number}.jpg" for number in range(count)] for name, count in (("church", 6), ("bridge", 4))
    )
    scores = update(tags).values(score=0.001)
    with unknown.database.write() as connection:
        connection.execute(scores)
        monday = datetime(2024, 6, 3)  # noqa: DTZ001 - local time
        day = update(photos).where(photos.c.path.startswith("bridge/")).values(taken_at=monday)
        connection.execute(day)
    assert groups(unknown) == [bridge, church]
    with unknown.database.write() as connection:
        of_church = select(photos.c.content_id).where(photos.c.path.startswith("church/"))
        connection.execute(scores.values(score=0.2).where(tags.c.content_id.in_(of_church)))
    assert groups(unknown) == [church, bridge]


def test_only_the_photos_that_were_added_last_are_compared(unknown, monkeypatch):
    monkeypatch.setattr(similarity, "PAGE", 5)
    assert not find_look_alikes(unknown.database, unknown.model).is_limited
    monkeypatch.setattr(similarity, "MOST_IMAGES", 7)
    found = find_look_alikes(unknown.database, unknown.model)
    assert (found.compared, found.is_limited) == (7, True)
    assert sum(map(len, found.groups)) <= 7


def test_photos_with_a_verdict_or_gone_leave_their_group(unknown):
    found = find_look_alikes(unknown.database, unknown.model)
    (unknown.folder / "church" / "0.jpg").unlink()
    unknown.tag()
    assert {len(group) for group in photos_of_groups(unknown.database, found.groups, {})} == {5, 4}
    dismiss_photos(unknown.database, [unknown.photo(f"bridge/{number}.jpg").id for number in (0, 1)], "ada")
    give_verdicts(
        unknown.database, [unknown.photo("church/0.jpg").id], EIFFEL, VerdictKind.CONFIRMED, "ada", {}
    )
    listed = photos_of_groups(unknown.database, found.groups, {})
    assert [len(group) for group in listed] == [5]
    assert groups(unknown) == [[f"church/{number}.jpg" for number in range(1, 6)]]
