"""Pages of a result have the same photos in the same order as the whole result, whichever filter is read along its index, on both databases."""
# ruff: noqa: DTZ001 - cameras know no time zone

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.errors import CursorInvalid, QueryOptionInvalid
from tagger.query import filters, find, sorted_scan
from tagger.query.cursors import decode_cursor, encode_cursor
from tagger.query.filters import ResolvedQuery
from tagger.query.find import (
    ScanPosition,
    find_tagged,
    find_tagged_page,
)
from tagger.query.options import PhotoQuery, SortOption

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"

AREAS: dict[str, dict[str, object]] = {
    "near": {"near": (48.8584, 2.2945), "radius_km": 50.0},
    "near by position and landmark": {"near": (48.8584, 2.2945), "radius_km": 1.0, "any_rank": True},
    "unknown near": {"near": (48.8584, 2.2945), "radius_km": 50.0, "unknown": True},
    "country": {"country": "France"},
    "country of positions alone": {"country": "Andorra"},
    "near in a country": {
        "near": (48.8584, 2.2945),
        "radius_km": 500.0,
        "country": "France",
        "position": "camera",
    },
}
QUERIES: dict[str, dict[str, object]] = {
    "tagged": {},
    "any rank": {"any_rank": True},
    "unknown": {"unknown": True},
    "untagged": {"untagged": True},
    "landmark": {"landmark": EIFFEL},
    "score": {"min_score": 0.8},
    "dates": {"taken_after": datetime(2026, 1, 3), "taken_before": datetime(2026, 2, 1)},
    "model": {"model": "tiny"},
    "all together": {"country": "France", "min_score": 0.5, "taken_after": datetime(2026, 1, 2)},
    **AREAS,
}


@pytest.fixture(scope="module")
def library(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> StoredPhotos:
    return stored_photos(shared_database, tmp_path_factory.mktemp("library"))


@pytest.fixture
def own_library(database: Database, tmp_path: Path) -> StoredPhotos:
    """The same photos, for a test that changes them."""
    return stored_photos(database, tmp_path)


def stored_photos(database: Database, folder: Path) -> StoredPhotos:
    """28 photos, some of them copies, some with names that are not UTF-8, and some with positions, several at the same one."""
    library = StoredPhotos.with_tiny_model(database, folder)
    slugs = (EIFFEL, GATE, VERSAILLES)
    for n in range(28):
        tags = [(slugs[n % 3], 0.6 + n / 100, n % 4 > 0), (slugs[(n + 1) % 3], 0.55, n % 5 == 0)]
        name: str | bytes = b"a/odd-\xff%d.jpg" % n if n % 10 == 0 else f"a/{n:02}.jpg"
        taken_at = datetime(2026, 1, 1) + timedelta(days=n // 2) if n % 7 else None
        library.photo(name, *tags, digest=f"picture {n // 2 * 2}", classified=n % 11 > 0, taken_at=taken_at)
    library.verdict("picture 4", EIFFEL, "confirmed")
    library.verdict("picture 14", VERSAILLES, "rejected")
    for n in (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 21, 22, 25):
        latitude, longitude, country = (
            (48.86, 2.29, "France"),
            (48.86, 2.3, "France"),
            (42.5, 1.5, "Andorra"),
        )[n % 3]
        library.position(f"a/{n:02}.jpg", latitude, longitude, country, "camera" if n % 2 else "neighbour")
    return library


def in_short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the pages of results and the pages of scans overlap."""
    monkeypatch.setattr(find, "LARGEST_PAGE", 5)


def in_pages(database: Database, query: PhotoQuery, limit: int) -> list[int]:
    """The ids of all photos, read page by page with the cursor of the previous page."""
    numbers: list[int] = []
    cursor: str | None = None
    while True:
        after = decode_cursor(cursor, query) if cursor else None
        page = find_tagged_page(database, query, None, after, limit)
        assert len(page.photos) <= limit
        numbers += [photo.id for photo in page.photos]
        if page.next is None:
            return numbers
        cursor = encode_cursor(page.next, query)


@st.composite
def random_queries(draw: st.DrawFn) -> PhotoQuery:
    """A query of several options in any order."""
    chosen = draw(
        st.lists(st.sampled_from([*QUERIES.values(), {"position": "none"}, {"year": (2026,)}]), max_size=2)
    )
    options: dict[str, object] = {"sort": draw(st.sampled_from([None, *get_args(SortOption)]))}
    options |= {"distinct": draw(st.booleans()), "limit": draw(st.sampled_from([None, 1, 4, 9]))}
    for each in chosen:
        options |= each
    try:
        return PhotoQuery(**options)  # type: ignore[arg-type]
    except QueryOptionInvalid:
        return PhotoQuery(sort=options["sort"])  # type: ignore[arg-type]


@pytest.mark.postgresql
@given(random_queries(), st.sampled_from([1, 3, 10]), st.sampled_from([1, 2, 20]))
def test_a_result_is_the_same_if_it_is_sorted_at_once(
    library: StoredPhotos, query: PhotoQuery, candidates: int, share: int
) -> None:
    few = [photo.id for photo in find_tagged(library.database, query)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(find, "PAGE", 2)
        in_short_pages(patch)
        patch.setattr(sorted_scan, "FEWEST_TO_WALK", 0)
        patch.setattr(sorted_scan, "MOST_CANDIDATES", candidates)
        patch.setattr(filters, "FEW", 0)
        patch.setattr(filters, "SHARE_TO_READ_ALL", share)
        many = [photo.id for photo in find_tagged(library.database, query)]
        pages = in_pages(library.database, query, 3)
    assert many == few
    assert pages[: query.limit] == few


@pytest.mark.postgresql
def test_each_filter_with_an_index_finds_all_photos_of_an_area(
    library: StoredPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    wide = {"under": (library.root,), "taken_after": datetime(2000, 1, 1), "model": "tiny"}
    for name, options in AREAS.items():
        query = PhotoQuery(**options | wide)  # type: ignore[arg-type]
        found = set()
        with library.database.read() as connection:
            resolved = ResolvedQuery.resolve(connection, query, {})
        for each in (each.found for each in resolved.filters if each.found):
            monkeypatch.setattr(ResolvedQuery, "narrowest", lambda *_, each=each: (each, True))
            found.add(tuple(sorted(photo.id for photo in find_tagged(library.database, query))))
        assert len(found) == 1, name
        assert found != {()}, name


def test_photos_added_between_two_pages_repeat_no_photo(own_library: StoredPhotos) -> None:
    query = PhotoQuery(any_rank=True)
    first = find_tagged_page(own_library.database, query, None, None, 5)
    for n in range(10):
        own_library.photo(f"later/{n}.jpg", (EIFFEL, 0.9, True))
    following = find_tagged_page(own_library.database, query, None, first.next, 1000)
    numbers = [photo.id for photo in (*first.photos, *following.photos)]
    assert len(set(numbers)) == len(numbers)
    assert {photo.id for photo in find_tagged(own_library.database, query)} == set(numbers)


def test_page_ends_before_it_is_full_if_few_rows_match(
    library: StoredPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = PhotoQuery(distinct=True)
    whole = [photo.id for photo in find_tagged(library.database, query)]
    for setting in ("LARGEST_PAGE", "MOST_PAGES"):
        monkeypatch.setattr(find, setting, 2)
    page = find_tagged_page(library.database, query, None, None, 1000)
    assert page.next is not None
    assert len(page.photos) < len(whole)
    assert in_pages(library.database, query, 1000) == whole


def test_cursor_of_another_query_is_refused(library: StoredPhotos) -> None:
    query = PhotoQuery(any_rank=True)
    page = find_tagged_page(library.database, query, None, None, 5)
    assert page.next is not None
    with pytest.raises(CursorInvalid, match="Request the first page again"):
        decode_cursor(encode_cursor(page.next, query), PhotoQuery())


@given(
    st.one_of(
        st.text(max_size=60), st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    )
)
def test_invalid_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        decode_cursor(text, PhotoQuery())


def test_position_that_no_scan_has_is_refused(library: StoredPhotos) -> None:
    query = PhotoQuery()
    for position in (
        ScanPosition(9, None),
        ScanPosition(0, ()),
        ScanPosition(0, ("a",)),
        ScanPosition(0, (True,)),
        ScanPosition(0, (-1,)),
        ScanPosition(0, (2**70,)),
        ScanPosition(0, (1, 2)),
        ScanPosition(0, (datetime(2026, 1, 1),)),
    ):
        cursor = encode_cursor(position, query)
        with pytest.raises(CursorInvalid):
            find_tagged_page(library.database, query, None, decode_cursor(cursor, query), 10)


def test_lone_surrogate_and_nul_never_reach_the_database() -> None:
    mark = json.loads(base64.urlsafe_b64decode(encode_cursor(ScanPosition(0, None), PhotoQuery()) + "=="))[0]
    for text in ("\ud800", "a\0b"):
        cursor = base64.urlsafe_b64encode(json.dumps([mark, 0, [1, text, {"bytes": ""}]]).encode()).decode()
        with pytest.raises(CursorInvalid):
            decode_cursor(cursor.rstrip("="), PhotoQuery())
