"""Searches: suggestions with the addresses that they lead to, and how a question was read."""

import re
from html import unescape
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.library_photos import GATE, TRIP, LibraryPhotos, add_trip, picture

from tagger.web import overview


@pytest.fixture
def library(library: LibraryPhotos, monkeypatch: pytest.MonkeyPatch) -> LibraryPhotos:
    monkeypatch.setattr(
        overview, "FIRST_SEARCH_WAIT_S", 60.0
    )  # the lists of names are made before the first answer
    library.file("Berlin & co/IMG_1.jpg", (GATE, 0.9, True))
    library.file("south.jpg", data=picture((9, 9, 9)))
    library.position("south.jpg", 48.137, 11.575, "Germany", city="Munich", region="Bavaria")
    add_trip(library)
    return library


def search(client: TestClient, text: str, **headers: str) -> list[dict[str, Any]]:
    answer = client.get("/api/search", params={"q": text}, headers=headers)
    assert answer.status_code == 200
    return list(answer.json())


def test_every_kind_leads_to_photos(client: TestClient, library: LibraryPhotos) -> None:
    assert library.model.id
    for text, kind, label in (
        ("brandenburg", "landmark", "Brandenburg Gate"),
        ("eiffle", "landmark", "Eiffel Tower"),
        ("france", "country", "France"),
        ("may 2019", "date", "May 2019"),
        ("Berlin &", "folder", "Berlin & co"),
        ("img_1", "file", "IMG_1.jpg"),
        ("trip to paris", "trip", "Paris"),
        ("île-de", "region", "Île-de-France"),
        ("unknown", "outcome", "Unknown"),
        ("tower france", "photos", "Eiffel Tower, France"),
    ):
        found = next(each for each in search(client, text) if each["kind"] == kind)
        assert found["label"] == label
        assert found["similar"] == (text == "eiffle")
        assert client.get(found["address"]).status_code == 200, text
        assert found["address"].startswith(f"/trips/{TRIP}" if kind == "trip" else "/photos?")
        photos = client.get("/api/photos", params=found["options"]).json()["photos"]
        assert photos, text
        assert found["photos"] in (None, len(photos)), text


def test_the_page_shows_names_in_its_language(client: TestClient, library: LibraryPhotos) -> None:
    assert library.model.id
    (city, *_) = search(client, "munich", **{"Accept-Language": "de", "HX-Request": "true"})
    assert (city["label"], city["detail"]) == ("München", "Bavaria, Deutschland")


def test_too_long_a_text_is_refused(client: TestClient) -> None:
    assert client.get("/api/search", params={"q": "a" * 201}).status_code == 422
    assert client.get("/api/search").status_code == 422
    assert client.get("/api/search?q=").json() == []


def test_what_is_not_understood_is_said(client: TestClient, library: LibraryPhotos, counted: None) -> None:
    assert library.model.id
    page = page_of(client, "dogs in paris")
    assert "Left out: “dogs”, which is no date and no name in this library." in page
    assert 'value="dogs in paris"' in page
    assert "“not paris”, since a search cannot join this and the rest" in page_of(client, "2018 or not paris")
    nothing = client.get("/search", params={"q": "xqzwv"})
    assert (nothing.status_code, "No results for “xqzwv”" in nothing.text) == (200, True)
    assert "no date and no name" in nothing.text


def test_a_guess_is_said_and_undone(client: TestClient, library: LibraryPhotos, counted: None) -> None:
    assert library.model.id
    guessed = page_of(client, "eifel tower 2019")
    assert "<mark>“eifel tower” was read as Eiffel Tower.</mark>" in guessed
    (undo,) = re.findall(r'href="(/search\?[^"]*)">Search for exactly these words', guessed)
    exact = unescape(client.get(client.get(undo).headers["location"]).text)
    assert "<mark>" not in exact
    # A tower is a kind of landmark.
    assert "Left out: “eifel”, which is no date and no name in this library. Did you mean" in exact


def test_where_nothing_matches_the_filters_to_drop_are_named(
    client: TestClient, library: LibraryPhotos, counted: None
) -> None:
    assert library.model.id
    empty = page_of(client, "munich 2019")
    found = dict(re.findall(r'<li><a href="([^"]*)">([^<]*without[^<]*)</a>', empty))
    assert list(found.values()) == ["9 without “Munich”", "1 without “2019”"]
    assert [len(re.findall(r"data-photo=", client.get(address).text)) for address in found] == [9, 1]


def page_of(client: TestClient, question: str) -> str:
    """The page that a question leads to."""
    return unescape(client.get(client.get("/search", params={"q": question}).headers["location"]).text)
