"""How answers are sent: text in gzip, HEAD without a body, scripts at addresses that are cached for ever."""

import gzip
import re
from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient
from support.databases import empty_database
from support.library_photos import EIFFEL, LibraryPhotos, picture
from support.page_server import settings_in

from tagger.database.connection import Database
from tagger.settings import Settings

PHOTOS = 200


@pytest.fixture(scope="module")
def web_settings(tmp_path_factory) -> Settings:
    return settings_in(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def web_database(web_settings) -> Iterator[Database]:
    with empty_database(web_settings.data_folder) as database:
        library = LibraryPhotos(database, web_settings, web_settings.data_folder.parent / "photos")
        library.file("a.jpg", (EIFFEL, 0.9, True), data=picture(size=(640, 480)))
        for number in range(PHOTOS - 1):
            library.photo(f"b{number}.jpg", (EIFFEL, 0.9, True))
        yield database


@pytest.mark.parametrize(
    "address", ["/places", "/nothing", "/api/photos", "/api/photos.csv", "/static/app.css"]
)
def test_text_is_compressed_and_says_so_to_caches(client, address):
    answer = client.get(address, headers={"accept-encoding": "br, gzip"})
    assert answer.headers["content-encoding"] == "gzip"
    assert "accept-encoding" in answer.headers["vary"].lower()
    plain = client.get(address, headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert "accept-encoding" in plain.headers["vary"].lower()


def test_text_is_compressed_and_images_and_events_are_not(client):
    size_bytes = {
        view: sent_bytes(client, view) for view in ("/places", "/photos", "/photos/1", "/jobs", "/try")
    }
    assert size_bytes["/places"] < 6_000
    assert max(size_bytes.values()) < 20_000, size_bytes
    for part in ("image", "thumbnail", "preview"):
        answer = client.get(f"/api/photos/1/{part}", headers={"accept-encoding": "gzip"})
        assert (answer.status_code, "content-encoding" in answer.headers) == (200, False)
    with client.stream("GET", "/api/events", headers={"accept-encoding": "gzip"}) as answer:
        assert "content-encoding" not in answer.headers
        assert next(answer.iter_lines()).startswith("retry: ")
    with client.stream("GET", "/api/photos.csv", headers={"accept-encoding": "gzip"}) as answer:
        lines = gzip.decompress(b"".join(answer.iter_raw())).splitlines()
    assert len(lines) == 1 + PHOTOS


SAME = {"content-type", "content-length", "cache-control", "etag", "content-disposition"}
ADDRESSES = (
    *("/try", "/photos/1", "/api/photos", "/api/photos/1/image", "/api/photos/1/thumbnail"),
    *("/api/photos/1/preview", "/api/photos.csv", "/static/app.css", "/photos/99"),
)


def test_head_answers_as_get_without_a_body_unless_it_is_only_posted(client):
    for address in ADDRESSES:
        head, get = client.head(address), client.get(address)
        assert (head.status_code, head.content) == (get.status_code, b""), address
        headers = [{name: each.headers[name] for name in SAME & each.headers.keys()} for each in (head, get)]
        # A page has times and counts of its own moment.
        assert headers[0].keys() == headers[1].keys(), address
        assert headers[0]["content-type"] == headers[1]["content-type"], address
    answer = client.head("/api/events")
    assert (answer.status_code, answer.content) == (200, b"")
    answer = client.head("/api/predict")
    assert answer.status_code == 405
    assert re.search("POST", answer.headers["allow"])


def test_scripts_of_a_page_are_cached_for_ever_and_those_of_before_an_update_are_new(client):
    page = client.get("/photos?any_rank=1").text
    addresses = re.findall(r'"(/static/scripts-\w+/\w+\.js)"', page)
    names = {address.rpartition("/")[2] for address in addresses}
    assert {"grid.js", "grid_tiles.js", "elements.js"} < names
    for address in set(addresses):
        script = client.get(address)
        assert "immutable" in script.headers["cache-control"]
        assert set(re.findall(r'(?:from|import) "\./(\w+\.js)"', script.text)) <= names
    script = client.get(f"/static/scripts-{16 * '0'}/toast.js")
    assert script.text == client.get("/static/toast.js").text
    assert script.headers["cache-control"] == "no-cache"


def sent_bytes(client: TestClient, address: str) -> int:
    with client.stream("GET", address, headers={"accept-encoding": "gzip"}) as answer:
        return len(b"".join(answer.iter_raw()))
