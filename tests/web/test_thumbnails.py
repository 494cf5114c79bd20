"""Thumbnails and previews: created once without blocking others, shared by copies, limited on disk."""

import os
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
from starlette.requests import ClientDisconnect
from support.format_photos import encode_photo
from support.library_photos import EIFFEL, LibraryPhotos, decoded, picture
from support.page_server import served
from support.threads import in_threads

from tagger.query.tagged_photos import StoredPhoto, stored_photo
from tagger.web.api.photos import FileResponse
from tagger.web.photo_files import (
    THUMBNAIL,
    DiskCache,
    ImageKind,
    PhotoUnavailable,
    Thumbnails,
    ThumbnailSize,
    open_stored,
)

IN_PAGE = {"accept": "image/avif,image/webp,*/*", "sec-fetch-dest": "image"}
MORE_THAN_THREADS = 60


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_thumbnail_is_the_whole_photo_in_its_shape(client, library):
    number = library.file("a.jpg", (EIFFEL, 0.9, True), data=picture((200, 60, 60), size=(900, 600)))
    for size in (256, 512):
        answer = client.get(f"/api/photos/{number}/thumbnail", params={"size": size})
        assert answer.headers["content-type"] == "image/webp"
        image = decoded(answer.content)
        assert image.size == (size * 3 // 2, size)
        assert image.getpixel((size // 2, size // 2)) == pytest.approx((200, 60, 60), abs=6)
    for wrong in ("1", "255", "100000", "large"):
        assert client.get(f"/api/photos/{number}/thumbnail", params={"size": wrong}).status_code == 422
    shapes = {(600, 900): (256, 384), (4000, 100): (1024, 26), (90, 60): (90, 60)}
    for n, (shape, expected) in enumerate(shapes.items()):
        number = library.file(f"{n}.jpg", (EIFFEL, 0.9, True), data=picture(size=shape))
        assert decoded(client.get(f"/api/photos/{number}/thumbnail").content).size == expected


def test_copies_share_a_thumbnail_also_while_the_disk_is_away(client, library):
    first, second = (library.file(name, (EIFFEL, 0.9, True)) for name in ("a.jpg", "copy.jpg"))
    thumbnail = client.get(f"/api/photos/{first}/thumbnail").content
    library.root.rename(library.root.with_name("elsewhere"))
    for number in (first, second):
        assert client.get(f"/api/photos/{number}/thumbnail").content == thumbnail
    large = client.get(f"/api/photos/{first}/thumbnail", params={"size": 512})
    assert large.status_code == 200  # created together


def test_unclassified_photos_have_thumbnails_and_edited_ones_get_new_ones(client, library):
    unread = library.file("new.jpg", classified=False)
    assert client.get(f"/api/photos/{unread}/thumbnail").status_code == 200
    edited = library.file("a.jpg", (EIFFEL, 0.9, True), data=picture((0, 200, 0)))
    copy = library.file("copy.jpg", (EIFFEL, 0.9, True), data=picture((0, 200, 0)))
    (library.root / "a.jpg").write_bytes(picture((0, 0, 200)))
    blue = decoded(client.get(f"/api/photos/{edited}/thumbnail").content)
    green = decoded(client.get(f"/api/photos/{copy}/thumbnail").content)
    assert blue.getpixel((9, 9)) == pytest.approx((0, 0, 200), abs=6)
    assert green.getpixel((9, 9)) == pytest.approx((0, 200, 0), abs=6)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"no image at all", "not-an-image"),
        (picture()[:400], "truncated"),
        (picture(size=(2001, 2000), kind="PNG"), "too-many-pixels"),
    ],
    ids=["text", "cut off", "too large"],
)
def test_an_undecodable_photo_has_a_reason_and_a_placeholder(client, library, data, kind):
    number = library.file("a.jpg", classified=False, data=data)
    output = client.get(f"/api/photos/{number}/thumbnail")
    assert (output.status_code, output.json()["kind"]) == (422, kind)
    assert output.json()["error"].endswith(".")
    response = client.get(f"/api/photos/{number}/thumbnail", headers=IN_PAGE)
    assert (response.status_code, response.headers["content-type"]) == (200, "image/png")
    assert decoded(response.content).size == (256, 256)
    elsewhere = {"accept": IN_PAGE["accept"]}  # as over plain HTTP, where browsers leave the other out
    assert client.get(f"/api/photos/{number}/image", headers=elsewhere).status_code == 200
    program = {"accept": "image/jpeg", "sec-fetch-dest": "empty"}
    assert client.get(f"/api/photos/{number}/thumbnail", headers=program).status_code == 422


def test_a_file_that_cannot_be_decoded_is_tried_once(web_database, web_settings, library):
    number = library.file("a.jpg", classified=False, data=b"\xff\xd8\xff" + b"\0" * 500)
    thumbnails = Thumbnails(web_settings)
    photo = stored_photo(web_database, number, {})
    with pytest.raises(PhotoUnavailable) as first:
        thumbnails.create(photo, THUMBNAIL, ThumbnailSize.SMALL)
    thumbnails.close()  # its processes have ended
    with pytest.raises(PhotoUnavailable) as again:
        thumbnails.create(photo, THUMBNAIL, ThumbnailSize.SMALL)
    assert again.value.text == first.value.text


def test_many_at_once_make_a_picture_once_in_a_few_processes(web_database, web_settings, library):
    number = library.file("a.jpg", (EIFFEL, 0.9, True), data=picture(size=(1200, 900)))
    photo = stored_photo(web_database, number, {})
    thumbnails = Thumbnails(web_settings)
    results: list[bytes] = []
    in_threads([lambda: results.append(thumbnails.create(photo, THUMBNAIL, ThumbnailSize.SMALL))] * 12)
    thumbnails.close()
    assert len(set(results)) == 1
    assert len(results) == 12
    assert len(files_in(web_settings.data_folder / "web-cache" / "thumbnails")) == 2  # both sizes


def test_what_was_not_used_for_longest_goes_first(tmp_path):
    cache = DiskCache(tmp_path, 40 * 4096)
    for n in range(40):
        cache.put(f"{n}", b"x" * 4000)
    long_ago = time.time() - 100_000
    for path in files_in(tmp_path):
        os.utime(path, (long_ago, long_ago))
    assert cache.get("7") is not None  # used, though it was written early
    cache.put("one more", b"x" * 4000)
    size_bytes = sum(path.stat().st_size for path in files_in(tmp_path))
    assert size_bytes <= 40 * 4096 * 0.95
    assert cache.get("7") is not None
    assert cache.get("one more") is not None
    assert sum(cache.get(f"{n}") is None for n in range(40)) >= 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: data[:-1],
        lambda data: data[:100] + bytes(len(data) - 100),
        lambda _data: b"",
    ],
    ids=["a flipped bit", "truncated", "zeros", "empty"],
)
def test_a_damaged_thumbnail_is_created_anew(client, library, web_settings, damage):
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    thumbnail = client.get(f"/api/photos/{number}/thumbnail").content
    for path in files_in(web_settings.data_folder / "web-cache"):
        path.write_bytes(damage(path.read_bytes()))
    assert client.get(f"/api/photos/{number}/thumbnail").content == thumbnail


def test_two_servers_keep_one_bound_and_one_of_nothing_keeps_nothing(tmp_path):
    nothing = DiskCache(tmp_path, 0)
    nothing.put("a", b"x")
    assert (nothing.get("a"), files_in(tmp_path)) == (None, [])
    caches = [DiskCache(tmp_path, 40 * 4096) for _ in range(2)]
    for n in range(200):
        caches[n % 2].put(f"{n}", b"x" * 4000)
    assert len(files_in(tmp_path)) <= 40 * 1.25


def test_no_name_leads_out_of_the_folder(tmp_path):
    cache = DiskCache(tmp_path / "cache", 10_000)
    for name in ("../../out", "/etc/out", "a\0b", "\udcff", ""):
        cache.put(name, b"x")
        assert cache.get(name) == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file", 1000)
    cache.put("a", b"x")
    assert cache.get("a") is None
    assert "cannot store thumbnails" in caplog.text


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
def slow(monkeypatch) -> Iterator[SlowPreviews]:
    previews = SlowPreviews(monkeypatch)
    yield previews
    previews.go_on.set()


def test_a_preview_is_the_whole_upright_photo_cached_by_its_digest(client, library):
    for n, (size, shown) in enumerate((((2000, 1000), (1600, 800)), ((90, 200), (90, 200)))):
        number = library.file(f"{n}.jpg", data=picture((200, 60, 60), size))
        answer = client.get(f"/api/photos/{number}/preview")
        assert answer.headers["content-type"] == "image/webp"
        image = decoded(answer.content)
        assert (image.format, image.size) == ("WEBP", shown)
        assert image.convert("RGB").getpixel((9, 9)) == pytest.approx((200, 60, 60), abs=6)
    image = Image.new("RGB", (90, 60), (255, 255, 255))
    exif = image.getexif()
    exif[0x0112] = 6
    number = library.file("a.jpg", data=encode_photo("JPEG", image, exif=exif))
    copy = library.file("copy.jpg", data=encode_photo("JPEG", image, exif=exif))
    digest = client.get(f"/api/photos/{number}").json()["digest"]
    answer = client.get(f"/api/photos/{number}/preview", params={"v": digest[-16:]})
    assert decoded(answer.content).size == (60, 90)
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    (library.root / "copy.jpg").unlink()
    assert client.get(f"/api/photos/{copy}/preview").content == answer.content
    etag = {"if-none-match": answer.headers["etag"]}
    again = client.get(f"/api/photos/{copy}/preview", params={"v": "another"}, headers=etag)
    assert (again.status_code, again.headers["cache-control"], again.content) == (
        304,
        "private, no-cache",
        b"",
    )


def test_waiting_for_a_preview_blocks_no_other_request(web_database, web_settings, slow, tmp_path):
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


def test_a_file_that_grows_while_it_is_sent_is_sent_as_it_was(web_database, web_settings, tmp_path):
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


def test_a_file_is_closed_if_the_client_reads_nothing(tmp_path):
    place = tmp_path / "a.jpg"
    place.write_bytes(picture())
    status = place.stat()
    opened = open_stored(StoredPhoto(1, tmp_path, place, status.st_size, status.st_mtime_ns, None))

    async def gone(_message: object) -> None:
        raise OSError

    response = FileResponse(opened, "image/jpeg", {})
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
    # In another thread: the browser of other tests runs an event loop in this one.
    with suppress(ClientDisconnect), start_blocking_portal() as portal:
        portal.call(response, scope, gone, gone)
    assert opened.file.closed


def _asked(port: int, address: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    connection.sendall(f"GET {address} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    return connection
