"""Unknown photos in the order of their best candidates, whether they are sorted or read along the index, on both databases."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.query import sorted_scan
from tagger.query.find import find_tagged_page
from tagger.query.options import PhotoQuery
from tagger.query.sorted_scan import ScanPosition
from tagger.query.timeline import SectionStart, find_section_ids, timeline_sections

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
BY_SCORE = PhotoQuery(unknown=True, any_rank=True, sort="score")


@pytest.fixture(autouse=True, params=["sorted", "along the index"])
def way(request, monkeypatch) -> None:
    if request.param != "sorted":
        walk_along_index(monkeypatch)


@pytest.fixture(scope="module")
def library(shared_database, tmp_path_factory) -> StoredPhotos:
    return stored_photos(shared_database, tmp_path_factory.mktemp("library"))


def stored_photos(database: Database, folder: Path) -> StoredPhotos:
    stored = StoredPhotos.with_tiny_model(database, folder)
    stored.photo("far.jpg", (EIFFEL, 0.1, False), digest="far")
    stored.photo("near.jpg", (GATE, 0.45, False), (EIFFEL, 0.05, False), digest="near")
    stored.photo("copy.jpg", digest="near")
    stored.photo("tagged.jpg", (EIFFEL, 0.9, True), digest="tagged")
    stored.photo("middle.jpg", (VERSAILLES, 0.3, False), digest="middle")
    stored.photo("not-the-gate.jpg", (GATE, 0.4, False), digest="rejected candidate")
    stored.verdict("rejected candidate", GATE, "rejected")
    stored.photo("not-the-tower.jpg", (EIFFEL, 0.8, True), digest="rejected tag")
    stored.verdict("rejected tag", EIFFEL, "rejected")
    stored.photo("named.jpg", (EIFFEL, 0.35, False), digest="named")
    stored.verdict("named", GATE, "confirmed")
    return stored


def walk_along_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)


def pages(library: StoredPhotos, query: PhotoQuery, size: int) -> Iterator[list[str]]:
    position: ScanPosition | None = None
    while True:
        page = find_tagged_page(library.database, query, {}, position, size)
        yield [Path(photo.path).stem for photo in page.photos]
        if page.next is None:
            return
        position = page.next


def test_unknown_photos_are_in_order_of_their_candidates_within_filters(library):
    for size in (1, 2, 100):
        found = [name for page in pages(library, BY_SCORE, size) for name in page]
        assert sorted(found[:2]) == ["copy", "near"]
        assert found[2:4] == ["middle", "far"]
        assert sorted(found[4:]) == ["not-the-gate", "not-the-tower"]
    of_one = PhotoQuery(unknown=True, sort="score", distinct=True, under=(library.root / "near.jpg",))
    assert [name for page in pages(library, of_one, 2) for name in page] == ["near"]


def test_pages_continue_when_the_photos_become_few_or_many(library, monkeypatch):
    listed = [photo.id for photo in find_tagged_page(library.database, BY_SCORE, {}, None, 100).photos]
    for size, is_sorted in product((1, 2, 3), (True, False)):
        found: list[int] = []
        position: ScanPosition | None = None
        for page_number in range(len(listed)):
            with monkeypatch.context() as patch:
                if is_sorted == (page_number % 2 == 0):
                    patch.setattr(sorted_scan, "FEWEST_TO_WALK", 20_000)
                else:
                    walk_along_index(patch)
                page = find_tagged_page(library.database, BY_SCORE, {}, position, size)
            found += (photo.id for photo in page.photos)
            if page.next is None:
                break
            position = page.next
        assert found == listed, (size, is_sorted)


@pytest.mark.postgresql
def test_any_place_is_reached_past_those_with_a_candidate(library):
    listed = [photo.id for photo in find_tagged_page(library.database, BY_SCORE, {}, None, 100).photos]
    (section,) = timeline_sections(library.database, BY_SCORE)
    assert section.photos == len(listed) == 6
    for skip in range(8):
        page = find_tagged_page(library.database, BY_SCORE, {}, None, 100, skip=skip)
        assert [photo.id for photo in page.photos] == listed[skip:]
        for limit in (1, 3):
            ids, _ = find_section_ids(library.database, BY_SCORE, {}, SectionStart(skip=skip), limit)
            assert ids == listed[skip : skip + limit]
