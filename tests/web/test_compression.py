"""Compression: text is sent in gzip, with `Vary`; images and event streams are not."""

import gzip
import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from starlette.testclient import TestClient
from support.empty_databases import create_sqlite_database
from support.library_photos import EIFFEL, LibraryPhotos, picture
from support.page_server import settings_in

from tagger.database.connection import Database, open_database
from tagger.settings import Settings

PHOTOS = 200


@pytest.fixture(scope="module")
def web_settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def web_database(web_settings: Settings) -> Iterator[Database]:
    """With photos. These tests only read them."""
    url = create_sqlite_database(web_settings.data_folder / "tagger.sqlite")
    with closing(open_database(url)) as database:
        library = LibraryPhotos(database, web_settings, web_settings.data_folder.parent / "photos")
        library.file("a.jpg", (EIFFEL, 0.9, True), data=picture(size=(640, 480)))
        for number in range(PHOTOS - 1):
            library.photo(f"b{number}.jpg", (EIFFEL, 0.9, True))
        yield database


@pytest.mark.parametrize(
    "address",
    ["/try", "/library", "/photos", "/landmarks/eiffel-tower", "/photos/1", "/jobs", "/nothing", "/api/photos",
     "/api/photos.csv", "/api/photos.ndjson", "/api/photos.geojson", "/api/openapi.json", "/static/app.css",
     "/static/grid.js", "/static/world.svg"],
)  # fmt: skip
def test_text_is_compressed_and_says_so_to_caches(client: TestClient, address: str) -> None:
    answer = client.get(address, headers={"accept-encoding": "br, gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in answer.headers["vary"].lower()
    plain = client.get(address, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert "accept-encoding" in plain.headers["vary"].lower()


def test_a_page_of_any_library_is_a_few_kilobytes(client: TestClient) -> None:
    size_bytes = {
        view: sent_bytes(client, view) for view in ("/library", "/photos", "/photos/1", "/jobs", "/try")
    }
    assert size_bytes["/library"] < 6_000
    assert max(size_bytes.values()) < 20_000, size_bytes


@pytest.mark.parametrize("part", ["image", "thumbnail", "preview"])
def test_images_are_sent_as_they_are(client: TestClient, part: str) -> None:
    answer = client.get(f"/api/photos/1/{part}", headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "content-encoding" not in answer.headers


def test_events_are_not_held_back_by_a_compressor(client: TestClient) -> None:
    with client.stream("GET", "/api/events", headers={"accept-encoding": "gzip"}) as answer:
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_lines()).startswith("retry: ")


def test_head_names_the_length_of_what_get_sends(client: TestClient) -> None:
    answers = [client.request(method, "/static/app.css") for method in ("HEAD", "GET")]
    assert answers[0].headers["content-length"] == answers[1].headers["content-length"]
    assert answers[0].headers["content-encoding"] == "gzip"


def test_a_static_file_is_cached_for_ever_or_compared(client: TestClient) -> None:
    for_ever = client.get("/static/app.css?v=digest")
    assert "immutable" in for_ever.headers["cache-control"]
    compared = client.get("/static/toast.js")
    assert compared.headers["cache-control"] == "no-cache"
    again = client.get("/static/toast.js", headers={"if-none-match": compared.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_a_download_that_is_compressed_is_whole(client: TestClient) -> None:
    with client.stream("GET", "/api/photos.ndjson", headers={"accept-encoding": "gzip"}) as answer:
        lines = gzip.decompress(b"".join(answer.iter_raw())).splitlines()
    assert len([json.loads(line) for line in lines]) == PHOTOS


def sent_bytes(client: TestClient, address: str) -> int:
    with client.stream("GET", address, headers={"accept-encoding": "gzip"}) as answer:
        return len(b"".join(answer.iter_raw()))
