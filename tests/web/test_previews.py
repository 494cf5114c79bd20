"""Previews: whole photos at the size of a screen, created without blocking other requests."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from anyio.from_thread import start_blocking_portal
from PIL import Image
from rig.raw_files import LARGE, RAW_KINDS, RawContent, raw_file
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient
from support.format_photos import encode_photo
from support.library_photos import EIFFEL, LibraryPhotos, decoded, picture
from support.page_server import served

from tagger.database.connection import Database
from tagger.library.query.tagged_photos import StoredPhoto
from tagger.settings import Settings
from tagger.web.api.photo_images import FileResponse
from tagger.web.photo_files import open_stored
from tagger.web.thumbnails import ImageKind, Thumbnails

MORE_THAN_THREADS = 60
IN_PAGE = {"accept": "image/avif,image/webp,*/*", "sec-fetch-dest": "image"}


class SlowPreviews:
    """Previews that wait until `go_on` is set; `started` has the photos whose preview was started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.started: list[int] = []
        really = Thumbnails.create

        def slow(thumbnails: Thumbnails, photo: StoredPhoto, kind: ImageKind, size: int) -> bytes:
            self.started.append(photo.id)
            assert self.go_on.wait(60)
            return really(thumbnails, photo, kind, size)

        monkeypatch.setattr(Thumbnails, "create", slow)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowPreviews]:
    previews = SlowPreviews(monkeypatch)
    yield previews
    previews.go_on.set()


def test_a_preview_is_the_whole_photo_and_no_larger_than_a_screen(
    client: TestClient, library: LibraryPhotos
) -> None:
    for n, (size, shown) in enumerate((((2000, 1000), (1600, 800)), ((90, 200), (90, 200)))):
        number = library.file(f"{n}.jpg", data=picture((200, 60, 60), size))
        answer = client.get(f"/api/photos/{number}/preview")
        assert answer.headers["content-type"] == "image/webp"
        image = decoded(answer.content)
        assert (image.format, image.size) == ("WEBP", shown)
        assert image.convert("RGB").getpixel((9, 9)) == pytest.approx((200, 60, 60), abs=6)


def test_a_preview_is_upright_and_cached_by_its_digest(client: TestClient, library: LibraryPhotos) -> None:
    image = Image.new("RGB", (90, 60), (255, 255, 255))
    exif = image.getexif()
    exif[0x0112] = 6
    number = library.file("a.jpg", data=encode_photo("JPEG", image, exif=exif))
    copy = library.file("copy.jpg", data=encode_photo("JPEG", image, exif=exif))
    digest = client.get(f"/api/photos/{number}").json()["digest"]
    answer = client.get(f"/api/photos/{number}/preview", params={"v": digest[-16:]})
    assert decoded(answer.content).size == (60, 90)
    assert "immutable" in answer.headers["cache-control"]
    (library.root / "copy.jpg").unlink()
    assert client.get(f"/api/photos/{copy}/preview").content == answer.content
    etag = {"if-none-match": answer.headers["etag"]}
    again = client.get(f"/api/photos/{copy}/preview", headers=etag)
    assert (again.status_code, again.headers["cache-control"]) == (304, "private, no-cache")


def test_formats_that_browsers_do_not_display_have_previews(
    client: TestClient, library: LibraryPhotos, test_data: Path
) -> None:
    kind = next(iter(RAW_KINDS))
    raw = library.file(f"a.{kind}", data=raw_file(kind, RawContent()))
    assert decoded(client.get(f"/api/photos/{raw}/preview").content).size == LARGE
    tiff = library.file("a.tif", data=picture((1, 2, 3), (300, 200), "TIFF"))
    assert decoded(client.get(f"/api/photos/{tiff}/preview").content).size == (300, 200)
    pytest.importorskip("pillow_heif", reason="the extra heic is not installed")
    data = next((test_data / "exif").rglob("*_RGB_8__29x100.heif")).read_bytes()
    heic = library.file("a.heic", data=data)
    assert decoded(client.get(f"/api/photos/{heic}/preview").content).size == (29, 100)


def test_waiting_for_a_preview_blocks_no_other_request(
    web_database: Database, web_settings: Settings, slow: SlowPreviews, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    numbers = [
        library.file(f"{n}.tif", (EIFFEL, 0.9, True), data=picture((n, 0, 0), kind="TIFF"))
        for n in range(MORE_THAN_THREADS)
    ]
    with served(web_settings, web_database) as port:
        asking = [_asked(port, f"/api/photos/{number}/image") for number in numbers]
        while not slow.started:
            time.sleep(0.01)
        assert httpx.get(f"http://127.0.0.1:{port}/api/status", timeout=60).status_code == 200
        for each in asking:
            each.close()
        slow.go_on.set()
        last = httpx.get(f"http://127.0.0.1:{port}/api/photos/{numbers[-1]}/image", timeout=60)
        assert last.headers["content-type"] == "image/jpeg"
    assert len(slow.started) < MORE_THAN_THREADS / 2


def test_a_file_that_grows_while_it_is_sent_is_sent_as_it_was(
    web_database: Database, web_settings: Settings, tmp_path: Path
) -> None:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    data = picture()
    library.file("a.jpg", data=data)
    place = tmp_path / "photos/a.jpg"
    status = place.stat()
    photo = StoredPhoto(1, tmp_path / "photos", place, status.st_size, status.st_mtime_ns, None)
    opened = open_stored(photo)
    with place.open("ab") as file:
        file.write(b"more")
    assert b"".join(opened.blocks()) == data


def test_a_file_is_closed_if_the_client_reads_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(picture())
    opened = open_stored(StoredPhoto(1, tmp_path, tmp_path / "a.jpg", *_state(tmp_path / "a.jpg"), None))

    async def gone(_message: object) -> None:
        raise OSError

    response = FileResponse(opened, "image/jpeg", {})
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    # In another thread: the browser of other tests runs an event loop in this one.
    with suppress(ClientDisconnect), start_blocking_portal() as portal:
        portal.call(response, scope, gone, gone)
    assert opened.file.closed


def _state(place: Path) -> tuple[int, int]:
    return place.stat().st_size, place.stat().st_mtime_ns


def _asked(port: int, address: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return connection
