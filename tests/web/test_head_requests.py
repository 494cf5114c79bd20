"""HEAD: the headers of GET without its body, for pages, the API, photos and streams."""

import re

import pytest
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, LibraryPhotos

from tagger.database.connection import Database
from tagger.settings import Settings

SAME = {"content-type", "content-length", "cache-control", "etag", "content-disposition"}


@pytest.fixture
def library(web_database: Database, web_settings: Settings) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, web_settings.data_folder.parent / "photos")
    library.file("a.jpg", (EIFFEL, 0.9, True))
    return library


ADDRESSES = (
    *(
        "/try",
        "/photos",
        "/photos/1",
        "/jobs",
        "/api/photos",
        "/api/photos/1/image",
        "/api/photos/1/thumbnail",
    ),
    *(
        "/api/photos/1/preview",
        "/api/photos.csv",
        "/api/openapi.json",
        "/static/app.css",
        "/photos/99",
        "/nothing",
    ),
)


def test_an_address_answers_as_to_get_without_a_body(client: TestClient, library: LibraryPhotos) -> None:
    assert library
    for address in ADDRESSES:
        head, get = client.head(address), client.get(address)
        assert (head.status_code, head.content) == (get.status_code, b""), address
        headers = [{name: each.headers[name] for name in SAME & each.headers.keys()} for each in (head, get)]
        # A page has times and counts of its own moment.
        assert headers[0].keys() == headers[1].keys(), address
        assert headers[0]["content-type"] == headers[1]["content-type"], address


def test_a_stream_without_an_end_is_not_started(client: TestClient, library: LibraryPhotos) -> None:
    assert library
    answer = client.head("/api/events")
    assert (answer.status_code, answer.content) == (200, b"")


def test_what_is_only_posted_is_not_allowed(client: TestClient) -> None:
    answer = client.head("/api/predict")
    assert answer.status_code == 405
    assert re.search("POST", answer.headers["allow"])
