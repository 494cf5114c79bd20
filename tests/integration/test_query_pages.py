"""An answer page by page: the same photos in the same order as at once, whatever way they are found, on both databases."""
# ruff: noqa: DTZ001 - cameras know no time zone

import base64
import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from artifacts import tiny_artifact
from hypothesis import given
from hypothesis import strategies as st
from known import KnownPhotos

from tagger.database import Database
from tagger.errors import CursorInvalid
from tagger.query import (
    Beside,
    Near,
    PhotoQuery,
    Position,
    find,
    find_beside,
    find_tagged,
    find_tagged_page,
    walks,
)
from tagger.query.cursors import cursor_of, position_of
from tagger.registry import add_model

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"

QUERIES: dict[str, dict[str, object]] = {
    "tagged": {},
    "any rank": {"any_rank": True},
    "unknown": {"unknown": True},
    "untagged": {"untagged": True},
    "landmark": {"landmark": EIFFEL},
    "country of two landmarks": {"country": "France"},
    "near": {"near": Near(48.8584, 2.2945, 50.0)},
    "score": {"min_score": 0.8},
    "dates": {"taken_after": datetime(2026, 1, 3), "taken_before": datetime(2026, 2, 1)},
    "model": {"model": "tiny"},
    "all together": {"country": "France", "min_score": 0.5, "taken_after": datetime(2026, 1, 2)},
}


@pytest.fixture
def known(database: Database, tmp_path: Path) -> KnownPhotos:
    """Forty photos, copies among them, with names that are no text too."""
    tiny_artifact(tmp_path / "tiny.pt")
    known = KnownPhotos(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))
    slugs = (EIFFEL, GATE, VERSAILLES)
    for n in range(40):
        said = [(slugs[n % 3], 0.6 + n / 100, n % 4 > 0), (slugs[(n + 1) % 3], 0.55, n % 5 == 0)]
        name: str | bytes = b"a/odd-\xff%d.jpg" % n if n % 10 == 0 else f"a/{n:02}.jpg"
        taken_at = datetime(2026, 1, 1) + timedelta(days=n // 2) if n % 7 else None
        known.photo(name, *said, digest=f"picture {n // 2 * 2}", looked=n % 11 > 0, taken_at=taken_at)
    known.verdict("picture 4", EIFFEL, "confirmed")
    known.verdict("picture 14", VERSAILLES, "rejected")
    return known


def in_short_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the pages of an answer, those of its walks and the blocks of contents overlap."""
    monkeypatch.setattr(find, "LEAST_PAGE", 5)
    monkeypatch.setattr(find, "PAGE", 5)
    monkeypatch.setattr(walks, "BLOCK", 4)


def in_pages(database: Database, query: PhotoQuery, limit: int) -> list[int]:
    """The numbers of all photos, each page asked for by the cursor of the one before, as text."""
    numbers: list[int] = []
    cursor: str | None = None
    while True:
        after = position_of(cursor, query) if cursor else None
        page = find_tagged_page(database, query, None, after, limit)
        assert len(page.photos) <= limit
        numbers += [photo.id for photo in page.photos]
        if page.next is None:
            return numbers
        cursor = cursor_of(page.next, query)


def test_pages_give_what_the_whole_answer_gives(known: KnownPhotos, monkeypatch: pytest.MonkeyPatch) -> None:
    in_short_pages(monkeypatch)
    for name, options in QUERIES.items():
        query = PhotoQuery(**options)  # type: ignore[arg-type]
        whole = [photo.id for photo in find_tagged(known.database, query)]
        assert whole, name
        for limit in (1, 3, 7, 1000):
            assert in_pages(known.database, query, limit) == whole, (name, limit)


def test_a_folder_is_gone_through_by_path(known: KnownPhotos) -> None:
    query = PhotoQuery(any_rank=True, under=(known.root / "a",))
    assert in_pages(known.database, query, 3) == [photo.id for photo in find_tagged(known.database, query)]


def test_each_photo_of_an_answer_has_those_beside_it(
    known: KnownPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    for short in (False, True):
        if short:
            in_short_pages(monkeypatch)
        for name, options in {**QUERIES, "folder": {"under": (known.root / "a",), "any_rank": True}}.items():
            query = PhotoQuery(**options)  # type: ignore[arg-type]
            whole = [photo.id for photo in find_tagged(known.database, query)]
            for before, number, after in zip([None, *whole], whole, [*whole[1:], None], strict=False):
                assert find_beside(known.database, query, None, number) == Beside(before, after), (
                    name,
                    short,
                )


def test_a_photo_that_a_word_takes_out_of_an_answer_still_has_those_beside_it(known: KnownPhotos) -> None:
    for query in (PhotoQuery(), PhotoQuery(landmark=EIFFEL), PhotoQuery(country="France")):
        whole = list(find_tagged(known.database, query))
        photo = whole[len(whole) // 2]
        for tag in photo.tags:
            known.verdict(photo.digest or "", tag.landmark, "rejected")
        left = [photo.id for photo in find_tagged(known.database, query)]
        assert photo.id not in left
        gone = {each.id for each in whole} - set(left)  # its copies too
        order = [each.id for each in whole]
        at = order.index(photo.id)
        before = next((number for number in reversed(order[:at]) if number not in gone), None)
        after = next((number for number in order[at:] if number not in gone), None)
        assert find_beside(known.database, query, None, photo.id) == Beside(before, after)


def test_a_photo_without_a_place_in_an_answer_has_nobody_beside_it(known: KnownPhotos) -> None:
    unread = next(photo.id for photo in find_tagged(known.database, PhotoQuery(untagged=True)))
    assert find_beside(known.database, PhotoQuery(landmark=EIFFEL), None, unread) == Beside()
    assert find_beside(known.database, PhotoQuery(), None, 9999) == Beside()


def test_the_last_page_says_that_it_is_the_last(known: KnownPhotos) -> None:
    whole = list(find_tagged(known.database, PhotoQuery(landmark=EIFFEL)))
    page = find_tagged_page(known.database, PhotoQuery(landmark=EIFFEL), None, None, len(whole))
    assert (len(page.photos), page.next) == (len(whole), None)


def test_what_comes_in_between_two_pages_makes_nothing_come_twice(known: KnownPhotos) -> None:
    query = PhotoQuery(any_rank=True)
    first = find_tagged_page(known.database, query, None, None, 5)
    for n in range(10):
        known.photo(f"later/{n}.jpg", (EIFFEL, 0.9, True))
    following = find_tagged_page(known.database, query, None, first.next, 1000)
    numbers = [photo.id for photo in (*first.photos, *following.photos)]
    assert len(set(numbers)) == len(numbers)
    assert {photo.id for photo in find_tagged(known.database, query)} == set(numbers)


def test_where_few_of_many_fit_a_page_comes_before_it_is_full(
    known: KnownPhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = PhotoQuery(country="France", taken_after=datetime(2026, 1, 18))
    whole = [photo.id for photo in find_tagged(known.database, query)]
    for setting in ("LEAST_PAGE", "PAGE", "PASSED_AT_MOST"):
        monkeypatch.setattr(find, setting, 2)
    page = find_tagged_page(known.database, query, None, None, 1000)
    assert page.next is not None
    assert len(page.photos) < len(whole)
    assert in_pages(known.database, query, 1000) == whole


def test_a_cursor_of_another_query_is_refused(known: KnownPhotos) -> None:
    query = PhotoQuery(any_rank=True)
    page = find_tagged_page(known.database, query, None, None, 5)
    assert page.next is not None
    with pytest.raises(CursorInvalid, match="Ask for the first page again"):
        position_of(cursor_of(page.next, query), PhotoQuery())


@given(
    st.one_of(
        st.text(max_size=60), st.binary(max_size=60).map(lambda raw: base64.urlsafe_b64encode(raw).decode())
    )
)
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorInvalid):
        position_of(text, PhotoQuery())


@pytest.mark.parametrize(
    "position",
    [
        Position(9, 0, None),
        Position(0, 9, None),
        Position(0, 0, ()),
        Position(0, 0, ("a",)),
        Position(0, 0, (True,)),
        Position(0, 0, (-1,)),
        Position(0, 0, (2**70,)),
        Position(0, 0, (1,)),
        Position(0, 0, (2**60, 2)),
        Position(0, 0, (1, datetime(2026, 1, 1))),
    ],
    ids=str,
)
def test_a_position_that_no_walk_has_is_refused(known: KnownPhotos, position: Position) -> None:
    query = PhotoQuery()
    with pytest.raises(CursorInvalid):
        find_tagged_page(known.database, query, None, position_of(cursor_of(position, query), query), 10)


def test_half_a_character_and_a_zero_byte_never_reach_the_database() -> None:
    mark = json.loads(base64.urlsafe_b64decode(cursor_of(Position(0, 0, None), PhotoQuery()) + "=="))[0]
    for text in ("\ud800", "a\0b"):
        cursor = base64.urlsafe_b64encode(
            json.dumps([mark, 0, 0, [1, text, {"bytes": ""}]]).encode()
        ).decode()
        with pytest.raises(CursorInvalid):
            position_of(cursor.rstrip("="), PhotoQuery())
