"""Search through the API: suggestions with the addresses that they lead to."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from support.library_photos import GATE, LibraryPhotos, picture
from support.trip_photos import TRIP, add_trip


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    library.file("Berlin & co/IMG_1.jpg", (GATE, 0.9, True))
    library.file("south.jpg", data=picture((9, 9, 9)))
    library.position("south.jpg", 48.137, 11.575, "Germany", city="Munich", region="Bavaria")
    add_trip(library)
    return library


def search(client: TestClient, text: str, **headers: str) -> list[dict[str, Any]]:
    """Search until the lists of names are made."""
    for _ in range(200):
        answer = client.get("/api/search", params={"q": text}, headers=headers)
        assert answer.status_code == 200
        if answer.json():
            break
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
