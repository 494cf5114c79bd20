"""Results in order of time, name, score and candidates, in sections, on both databases."""
# ruff: noqa: DTZ001 - cameras know no time zone

from collections.abc import Iterator
from datetime import datetime
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update
from support.databases import execute, query_plans
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.database.tables import contents
from tagger.errors import QueryOptionInvalid
from tagger.query import sorted_scan
from tagger.query.find import find_tagged, find_tagged_page
from tagger.query.options import PhotoQuery
from tagger.query.sorted_scan import ScanPosition
from tagger.query.timeline import MANY_OF_A_DAY, SectionStart, find_section_ids, timeline_sections

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"


@pytest.fixture(autouse=True, params=["sorted", "read along an index"])
def way(request, monkeypatch) -> None:
    if request.param != "sorted":
        monkeypatch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)


@pytest.fixture(scope="module")
def library(shared_database, tmp_path_factory) -> StoredPhotos:
    return stored_photos(shared_database, tmp_path_factory.mktemp("library"))


@pytest.fixture
def own_library(database, tmp_path) -> StoredPhotos:
    return stored_photos(database, tmp_path)


def stored_photos(database: Database, folder: Path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(database, folder)
    library.photo("b.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 6, 30, 23, 59, 59))
    library.photo("c.jpg", (EIFFEL, 0.6, True), (GATE, 0.55, True), taken_at=datetime(2024, 7, 1))
    library.photo("a.jpg", (GATE, 0.7, True), taken_at=datetime(2023, 12, 31, 12))
    library.photo("d.jpg", (EIFFEL, 0.8, True), taken_at=datetime(2024, 6, 30, 23, 59, 59))
    library.photo("e.jpg", (EIFFEL, 0.7, True))
    library.photo("f.jpg", (GATE, 0.95, True))
    library.photo("unknown.jpg", (EIFFEL, 0.2, False), taken_at=datetime(2024, 7, 2))
    library.photo("new.jpg", classified=False, taken_at=datetime(2024, 7, 3))
    library.photo("newer.jpg", classified=False, taken_at=datetime(2024, 8, 3))
    library.photo("found.jpg", classified=False)
    failing = {"failure_kind": "corrupt_image", "failure_text": "It ends early.", "failure_attempts": 1}
    library.photo("broken.jpg", classified=False, taken_at=datetime(2022, 1, 1), **failing)
    library.photo("torn.jpg", classified=False, **failing)
    return library


def names(library: StoredPhotos, **options: Any) -> str:
    """The names of the photos in order, without their extension."""
    found = find_tagged(library.database, PhotoQuery(**options))
    return " ".join(Path(photo.path).stem for photo in found)


def all_ids(library: StoredPhotos, query: PhotoQuery, size: int = 2) -> list[int]:
    """The ids of the result, read this many at a time."""
    ids, following = find_section_ids(library.database, query, {}, SectionStart(), size)
    while following is not None:
        more, following = find_section_ids(library.database, query, {}, SectionStart(None, following), size)
        ids = [*ids, *more]
    return list(ids)


ORDERS: tuple[tuple[dict[str, Any], str], ...] = (
    ({"sort": "newest"}, "c d b a e f"),
    ({"sort": "oldest"}, "a b d c e f"),
    ({"sort": "name"}, "a b c d e f"),
    ({"sort": "score"}, "f b d e a c"),
    ({"sort": "newest", "landmark": EIFFEL}, "c d b e"),
    ({"sort": "score", "landmark": GATE}, "f a c"),
    ({"sort": "newest", "any_rank": True}, "unknown c d b a e f"),
    ({"sort": "newest", "unknown": True}, "unknown"),
    ({"sort": "newest", "untagged": True}, "newer new found"),
    ({"sort": "oldest", "untagged": True}, "new newer found"),
    ({"sort": "name", "untagged": True}, "found new newer"),
    ({"sort": "newest", "untagged": True, "taken_before": datetime(2024, 8, 1)}, "new"),
    ({"sort": "newest", "failed": True}, "broken torn"),
    ({"sort": "newest", "min_score": 0.8}, "d b f"),
    ({"sort": "newest", "taken_after": datetime(2024, 6, 1)}, "c d b"),
    ({"sort": "oldest", "taken_before": datetime(2024, 7, 1)}, "a b d"),
)


def test_photos_are_counted_and_listed_in_their_order(library):
    with query_plans(library.database, "GROUP BY") as plans:
        timeline_sections(library.database, PhotoQuery(sort="newest", distinct=True))
    assert any("ix_photos_content_id_gone_since" in plan for plan in plans)
    assert not any("ix_photos_camera" in plan for plan in plans)
    for options, expected in ORDERS:
        assert names(library, **options) == expected, options
        query = PhotoQuery(**options)
        photos = list(find_tagged(library.database, query))
        assert sum(section.photos for section in timeline_sections(library.database, query)) == len(photos)
        assert all_ids(library, query) == [photo.id for photo in photos]


def test_sections_are_months_with_the_photos_from_any_place_in_them(library):
    query = PhotoQuery(sort="newest")
    sections = timeline_sections(library.database, query)
    assert [(section.month, section.photos) for section in sections] == [
        ("2024-07", 1),
        ("2024-06", 2),
        ("2023-12", 1),
        (None, 2),
    ]
    assert sections[0].aspect == pytest.approx(640 / 480)
    everything = [photo.id for photo in find_tagged(library.database, query)]
    for section in sections:
        month = section.month or "none"
        whole = find_tagged_page(library.database, query, {}, None, 10, month=month)
        ids = [photo.id for photo in whole.photos]
        assert ids == everything[: section.photos]
        assert whole.next is None
        everything = everything[section.photos :]
        for skip in range(4):
            page = find_tagged_page(library.database, query, {}, None, 10, month=month, skip=skip)
            assert [photo.id for photo in page.photos] == ids[skip:]
            skipped, _ = find_section_ids(library.database, query, {}, SectionStart(month, skip=skip), 10)
            assert skipped == ids[skip:]


def test_a_day_has_the_place_of_most_of_its_photos(own_library):
    for number in range(12):
        own_library.photo(f"{number}.jpg", taken_at=datetime(2011, 8, 22, number))
        city = "Athens" if number < 8 else "Piraeus"
        own_library.position(f"{number}.jpg", 37.98, 23.73, "Greece", city=city)
    sections = timeline_sections(own_library.database, PhotoQuery(any_rank=True, sort="newest"))
    (month,) = (each for each in sections if each.month == "2011-08")
    assert [(part.photos, part.place) for part in month.parts] == [(12, "Athens")]


def test_days_of_many_photos_are_parts_of_their_month(own_library):
    for number in range(MANY_OF_A_DAY):
        own_library.photo(f"{number}.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 6, 9, number))
    for day in (8, 11, 20):
        own_library.photo(f"on {day}.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 6, day))
    for sort in ("newest", "oldest"):
        found = timeline_sections(own_library.database, PhotoQuery(sort=sort))
        parts = {
            each.month: [(part.first.day, part.last.day, part.photos) for part in each.parts]
            for each in found
        }
        june = [(8, 8, 1), (9, 9, MANY_OF_A_DAY), (11, 30, 4)]
        assert parts["2024-06"] == (june if sort == "oldest" else june[::-1])
        assert sum(photos for _, _, photos in june) == next(
            each.photos for each in found if each.month == "2024-06"
        )
        assert {month: each for month, each in parts.items() if month != "2024-06"} == {
            "2024-07": [(1, 1, 1)],
            "2023-12": [(31, 31, 1)],
            None: [],
        }


@pytest.mark.parametrize("any_rank", [False, True])
def test_the_sections_of_the_whole_library_count_exact_copies_once(own_library, any_rank):
    copy = {"digest": "digest of b.jpg", "taken_at": datetime(2020, 1, 1)}
    own_library.photo("copy of b.jpg", (EIFFEL, 0.9, True), **copy)
    own_library.photo("later.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2024, 7, 3))
    with own_library.database.write() as connection:
        later = update(contents).where(contents.c.digest == "digest of later.jpg")
        connection.execute(later.values(width=None, height=None))
    oldest = timeline_sections(
        own_library.database, PhotoQuery(sort="oldest", any_rank=any_rank, distinct=True)
    )
    assert [each.month for each in oldest] == ["2023-12", "2024-06", "2024-07", None]
    assert [each.photos for each in oldest][:3] == [1, 2, 3 if any_rank else 2]
    moment = datetime(2024, 7, 3)
    later_alone = PhotoQuery(
        sort="oldest", taken_after=moment, taken_before=moment.replace(second=1), any_rank=any_rank
    )
    (section,) = timeline_sections(own_library.database, later_alone)
    assert (section.photos, section.aspect) == (1, pytest.approx(4 / 3))


def test_results_out_of_order_have_one_section_and_months_must_be_some(library):
    query = PhotoQuery(sort="name")
    (section,) = timeline_sections(library.database, query)
    assert (section.month, section.photos) == (None, 6)
    page = find_tagged_page(library.database, query, {}, None, 10, skip=4)
    assert [Path(photo.path).name for photo in page.photos] == ["e.jpg", "f.jpg"]
    assert timeline_sections(library.database, PhotoQuery(sort="name", landmark=EIFFEL, min_score=0.99)) == []
    with pytest.raises(QueryOptionInvalid, match="not a month"):
        find_tagged_page(library.database, PhotoQuery(sort="newest"), {}, None, 10, month="2024-13")
    last = find_tagged_page(library.database, PhotoQuery(sort="newest"), {}, None, 10, month="9999-12")
    assert last.photos == ()


def test_scores_are_those_of_the_effective_tags(own_library):
    """Each combination of a model's tag, a taught one, and what people said."""
    scores = [None, 0.3, 0.65, 0.95]
    kinds = [None, (0.4, False), (0.8, True)]
    for number, (tag, score, said) in enumerate(
        product(kinds, scores, ("", "confirmed", "rejected", "away"))
    ):
        path = f"{number:02}.jpg"
        own_library.photo(path, *([(EIFFEL, *tag)] if tag else []), digest=path)
        if score:
            own_library.taught(own_library.newest_id(), EIFFEL, score)
        if said == "away":
            own_library.dismiss(path)
        elif said:
            own_library.verdict(path, EIFFEL, said)
    for any_rank, min_score, landmark in product((False, True), (None, 0.7), ((), (EIFFEL,))):
        options: dict[str, Any] = {"any_rank": any_rank, "min_score": min_score, "landmark": landmark}
        query = PhotoQuery(**options, sort="score")
        found = list(find_tagged(own_library.database, query))
        assert {photo.id for photo in found} == {
            photo.id for photo in find_tagged(own_library.database, PhotoQuery(**options))
        }, options
        assert sum(section.photos for section in timeline_sections(own_library.database, query)) == len(found)
        assert all_ids(own_library, query, 20) == [photo.id for photo in found]
        scores = [max((tag.score or 0 for tag in photo.tags if tag.accepted), default=0) for photo in found]
        assert scores == sorted(scores, reverse=True), options


def test_exact_copies_are_one_photo_and_images_with_decisions_alone_are_counted(own_library):
    for path, taken_at in (("x/1.jpg", datetime(2022, 1, 1)), ("y/2.jpg", datetime(2022, 2, 1))):
        own_library.photo(path, (GATE, 0.9, True), digest="same", taken_at=taken_at)
    own_library.photo("z.jpg", (GATE, 0.9, True), digest="same", gone_since=datetime(2024, 1, 1).astimezone())
    all_of_2022 = {"sort": "newest", "taken_before": datetime(2023, 1, 1)}
    assert names(own_library, **all_of_2022) == "2 1"
    assert names(own_library, **all_of_2022, distinct=True) == "1"
    assert names(own_library, **all_of_2022, distinct=True, taken_after=datetime(2022, 1, 15)) == "2"
    assert names(own_library, sort="newest", distinct=True, under=(own_library.root / "y",)) == "2"
    query = PhotoQuery(sort="newest")
    before = timeline_sections(own_library.database, query)
    execute(own_library.database, update(contents).values(outcome=None))
    assert timeline_sections(own_library.database, query) == before != []


BY_SCORE = PhotoQuery(unknown=True, any_rank=True, sort="score")


@pytest.fixture
def unknown_photos(database, tmp_path) -> StoredPhotos:
    stored = StoredPhotos.with_tiny_model(database, tmp_path)
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


def pages(library: StoredPhotos, query: PhotoQuery, size: int) -> Iterator[list[str]]:
    position: ScanPosition | None = None
    while True:
        page = find_tagged_page(library.database, query, {}, position, size)
        yield [Path(photo.path).stem for photo in page.photos]
        if page.next is None:
            return
        position = page.next


def test_unknown_photos_are_in_order_of_their_candidates_within_filters(unknown_photos):
    for size in (1, 2, 100):
        found = [name for page in pages(unknown_photos, BY_SCORE, size) for name in page]
        assert sorted(found[:2]) == ["copy", "near"]
        assert found[2:4] == ["middle", "far"]
        assert sorted(found[4:]) == ["not-the-gate", "not-the-tower"]
    of_one = PhotoQuery(unknown=True, sort="score", distinct=True, under=(unknown_photos.root / "near.jpg",))
    assert [name for page in pages(unknown_photos, of_one, 2) for name in page] == ["near"]


def test_pages_continue_when_the_photos_become_few_or_many(unknown_photos, monkeypatch):
    listed = [photo.id for photo in find_tagged_page(unknown_photos.database, BY_SCORE, {}, None, 100).photos]
    for size, is_sorted in product((1, 2, 3), (True, False)):
        found: list[int] = []
        position: ScanPosition | None = None
        for page_number in range(len(listed)):
            with monkeypatch.context() as patch:
                few = 20_000 if is_sorted == (page_number % 2 == 0) else 0
                patch.setattr(sorted_scan, "FEWEST_TO_WALK", few)
                page = find_tagged_page(unknown_photos.database, BY_SCORE, {}, position, size)
            found += (photo.id for photo in page.photos)
            if page.next is None:
                break
            position = page.next
        assert found == listed, (size, is_sorted)


@pytest.mark.postgresql
def test_any_place_is_reached_past_those_with_a_candidate(unknown_photos):
    listed = [photo.id for photo in find_tagged_page(unknown_photos.database, BY_SCORE, {}, None, 100).photos]
    (section,) = timeline_sections(unknown_photos.database, BY_SCORE)
    assert section.photos == len(listed) == 6
    for skip in range(8):
        page = find_tagged_page(unknown_photos.database, BY_SCORE, {}, None, 100, skip=skip)
        assert [photo.id for photo in page.photos] == listed[skip:]
        for limit in (1, 3):
            ids, _ = find_section_ids(unknown_photos.database, BY_SCORE, {}, SectionStart(skip=skip), limit)
            assert ids == listed[skip : skip + limit]
