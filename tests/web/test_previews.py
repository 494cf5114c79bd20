"""Previews of formats that browsers do not show: created one at a time, without blocking other requests."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2 as httpx
import pytest
from anyio.from_thread import start_blocking_portal
from starlette.requests import ClientDisconnect
from support.library_photos import EIFFEL, LibraryPhotos, picture
from support.page_server import served

from tagger.database.connection import Database
from tagger.query.stored_photos import StoredPhoto
from tagger.settings import Settings
from tagger.web.api.photo_images import FileResponse
from tagger.web.media.photo_files import open_stored
from tagger.web.media.thumbnails import Thumbnails

MORE_THAN_THREADS = 60


class SlowPreviews:
    """Previews that wait until `go_on` is set; `started` has the photos whose preview was started."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.started: list[int] = []
        really = Thumbnails.preview

        def slow(thumbnails: Thumbnails, photo: StoredPhoto) -> bytes:
            self.started.append(photo.id)
            assert self.go_on.wait(60)
            return really(thumbnails, photo)

        monkeypatch.setattr(Thumbnails, "preview", slow)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowPreviews]:
    previews = SlowPreviews(monkeypatch)
    yield previews
    previews.go_on.set()


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
