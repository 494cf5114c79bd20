"""What is suggested: which photos wait for a verdict, in which order, and how many they are."""

from pathlib import Path

import pytest
from sqlalchemy import update
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos
from support.page_server import settings_in

from tagger.database.connection import Database
from tagger.database.tables import models
from tagger.query.tagged_photos import TaggedPhoto
from tagger.teaching import lessons
from tagger.teaching.lessons import count_suggestions, find_suggestions, suggestion_page


@pytest.fixture
def library(database: Database, tmp_path: Path) -> LibraryPhotos:
    """Ten photos, with suggestions of a model, which are from 0.3 on, and of two taught landmarks."""
    library = LibraryPhotos(database, settings_in(tmp_path), tmp_path / "photos")
    with database.write() as connection:
        connection.execute(update(models).values(suggestion_threshold=0.3))
    for name, score in (("low", 0.3), ("high", 0.48), ("less", 0.29), ("copy", 0.4)):
        library.number(f"{name}.jpg", (EIFFEL, score, False), (GATE, 0.1, False), digest=name)
    library.number("tagged.jpg", (EIFFEL, 0.6, True), (GATE, 0.35, False), digest="tagged")
    library.number("copy-2.jpg", (EIFFEL, 0.4, False), digest="copy")
    library.number("refused.jpg", (VERSAILLES, 0.2, False), digest="refused")
    for name, slug, score in (("a", VERSAILLES, 0.33), ("b", VERSAILLES, 0.7), ("c", GATE, 0.45)):
        number = library.number(f"{name}.jpg", (EIFFEL, 0.1, False), digest=name)
        library.taught(number, slug, score)
    return library


def entries(library: LibraryPhotos, landmark: str | None = None, limit: int = 50) -> list[TaggedPhoto]:
    landmark_id = library.landmark_ids[landmark] if landmark else None
    return list(find_suggestions(library.database, landmark_id, {}, limit))


def names(found: list[TaggedPhoto]) -> list[str]:
    return [f"{photo.tags[0].landmark} {Path(photo.path).stem}" for photo in found]


QUEUE = [
    f"{VERSAILLES} b",
    f"{EIFFEL} high",
    f"{GATE} c",
    f"{EIFFEL} copy",
    f"{VERSAILLES} a",
    f"{EIFFEL} low",
]


@pytest.mark.postgresql
def test_suggestions_of_models_and_of_taught_places_are_one_list_the_most_probable_first(
    library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = entries(library)
    assert names(found) == QUEUE
    assert [len(photo.tags) for photo in found] == [1] * len(found)
    assert {photo.outcome for photo in found} == {"unknown"}
    assert count_suggestions(library.database) == len(found)
    monkeypatch.setattr(lessons, "PAGE", 2)
    for limit in (2, 4, 9):
        assert entries(library, limit=limit) == found[:limit]


def test_the_suggestions_of_one_landmark(library: LibraryPhotos) -> None:
    for slug in (EIFFEL, VERSAILLES, GATE):
        found = entries(library, slug)
        assert names(found) == [name for name in QUEUE if name.startswith(slug)]
        landmark_id = library.landmark_ids[slug]
        assert count_suggestions(library.database, landmark_id) == len(found)
        first, end = suggestion_page(library.database, landmark_id, {}, None, 1)
        assert first + suggestion_page(library.database, landmark_id, {}, end, 9)[0] == found


def test_photos_with_a_verdict_and_photos_that_are_gone_are_left_out(library: LibraryPhotos) -> None:
    library.verdict("low", EIFFEL, "rejected")
    library.verdict("b", VERSAILLES, "confirmed")
    library.verdict("c", EIFFEL, "rejected")  # of another landmark
    library.gone("high.jpg")
    library.gone("a.jpg")
    assert names(entries(library)) == [f"{GATE} c", f"{EIFFEL} copy"]
    assert count_suggestions(library.database) == 2
    library.gone("copy-2.jpg")
    assert names(entries(library)) == [f"{GATE} c", f"{EIFFEL} copy"]


def test_counting_ends_at_its_limit(library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in range(1, 6):
        monkeypatch.setattr(lessons, "COUNT_LIMIT", limit)
        assert count_suggestions(library.database) == limit
