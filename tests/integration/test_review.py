"""The review queue: which photos wait for a verdict, in which order, and how many they are."""

from pathlib import Path

import pytest
from support.library_photos import EIFFEL, GATE, VERSAILLES, LibraryPhotos
from support.page_server import settings_in

from tagger.database.connection import Database
from tagger.library.query.tagged_photos import TaggedPhoto
from tagger.library.teaching import suggestions
from tagger.library.teaching.suggestions import count_to_review, first_to_review


@pytest.fixture
def library(database: Database, tmp_path: Path) -> LibraryPhotos:
    """Eight photos: tags of three landmarks, and suggestions of two of them."""
    library = LibraryPhotos(database, settings_in(tmp_path), tmp_path / "photos")
    for name, score in (("low", 0.6), ("high", 0.8), ("sure", 0.95), ("copy", 0.7)):
        library.number(f"{name}.jpg", (EIFFEL, score, True), (GATE, 0.1, False), digest=name)
    library.number("copy-2.jpg", (EIFFEL, 0.7, True), digest="copy")
    library.number("refused.jpg", (VERSAILLES, 0.4, False), digest="refused")
    for name, slug, score in (("a", VERSAILLES, 0.3), ("b", VERSAILLES, 0.8), ("c", GATE, 0.5)):
        number = library.number(f"{name}.jpg", (EIFFEL, 0.1, False), digest=name)
        library.taught(number, slug, score, accepted=False)
    return library


def entries(library: LibraryPhotos, landmark: str | None = None, limit: int = 50) -> list[TaggedPhoto]:
    return first_to_review(library.database, (landmark and library.landmark_ids[landmark]) or None, {}, limit)


def names(found: list[TaggedPhoto]) -> list[str]:
    return [f"{photo.tags[0].landmark} {Path(photo.path).stem}" for photo in found]


QUEUE = [
    f"{EIFFEL} high",
    f"{EIFFEL} copy",
    f"{EIFFEL} low",
    f"{GATE} c",
    f"{VERSAILLES} b",
    f"{VERSAILLES} a",
]


@pytest.mark.postgresql
def test_tags_that_are_not_sure_come_first_then_suggestions(library: LibraryPhotos) -> None:
    found = entries(library)
    assert names(found) == QUEUE
    assert [len(photo.tags) for photo in found] == [1] * len(found)
    assert count_to_review(library.database) == len(found)
    for limit in (2, 4, 9):
        assert entries(library, limit=limit) == found[:limit]


def test_the_queue_of_one_landmark(library: LibraryPhotos) -> None:
    for slug in (EIFFEL, VERSAILLES, GATE):
        found = entries(library, slug)
        assert names(found) == [name for name in QUEUE if name.startswith(slug)]
        assert count_to_review(library.database, library.landmark_ids[slug]) == len(found)


def test_photos_with_a_verdict_and_photos_that_are_gone_are_left_out(library: LibraryPhotos) -> None:
    library.verdict("low", EIFFEL, "confirmed")
    library.verdict("b", VERSAILLES, "rejected")
    library.verdict("c", EIFFEL, "rejected")  # of another landmark
    library.gone("high.jpg")
    library.gone("a.jpg")
    assert names(entries(library)) == [f"{EIFFEL} copy", f"{GATE} c"]
    assert count_to_review(library.database) == 2
    library.gone("copy-2.jpg")
    assert names(entries(library)) == [f"{EIFFEL} copy", f"{GATE} c"]


def test_counting_ends_at_its_limit(library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in range(1, 6):
        monkeypatch.setattr(suggestions, "COUNT_LIMIT", limit)
        assert count_to_review(library.database) == limit
