"""Thumbnails: created once, shared by copies, limited on disk; a hostile file loses only its own."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, LibraryPhotos, decoded, picture

from tagger.database.connection import Database
from tagger.library.query.tagged_photos import stored_photo
from tagger.settings import Settings
from tagger.web.photo_files import PhotoUnavailable
from tagger.web.thumbnails import THUMBNAIL, DiskCache, Thumbnails, ThumbnailSize

IN_PAGE = {"accept": "image/avif,image/webp,*/*", "sec-fetch-dest": "image"}


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# ---------- as they are served ----------


def test_a_thumbnail_is_the_whole_photo_in_its_shape(client: TestClient, library: LibraryPhotos) -> None:
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


def test_addresses_with_the_digest_are_immutable_and_others_revalidated(
    client: TestClient, library: LibraryPhotos
) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    digest = client.get(f"/api/photos/{number}").json()["digest"]
    response = client.get(f"/api/photos/{number}/thumbnail", params={"v": digest[-16:]})
    assert "immutable" in response.headers["cache-control"]
    assert "private" in response.headers["cache-control"]
    other = client.get(f"/api/photos/{number}/thumbnail", params={"v": "another"})
    assert other.headers["cache-control"] == "private, no-cache"
    again = client.get(f"/api/photos/{number}/thumbnail", headers={"if-none-match": other.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_copies_share_a_thumbnail_also_while_the_disk_is_away(
    client: TestClient, library: LibraryPhotos
) -> None:
    first, second = (library.file(name, (EIFFEL, 0.9, True)) for name in ("a.jpg", "copy.jpg"))
    thumbnail = client.get(f"/api/photos/{first}/thumbnail").content
    library.root.rename(library.root.with_name("elsewhere"))
    for number in (first, second):
        assert client.get(f"/api/photos/{number}/thumbnail").content == thumbnail
    large = client.get(f"/api/photos/{first}/thumbnail", params={"size": 512})
    assert large.status_code == 200  # created together


def test_unclassified_photos_have_thumbnails_and_edited_ones_get_new_ones(
    client: TestClient, library: LibraryPhotos
) -> None:
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
def test_an_undecodable_photo_has_a_reason_and_a_placeholder(
    client: TestClient, library: LibraryPhotos, data: bytes, kind: str
) -> None:
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


# ---------- creation ----------


def test_a_file_that_cannot_be_decoded_is_tried_once(
    web_database: Database, web_settings: Settings, library: LibraryPhotos
) -> None:
    number = library.file("a.jpg", classified=False, data=b"\xff\xd8\xff" + b"\0" * 500)
    thumbnails = Thumbnails(web_settings)
    photo = stored_photo(web_database, number, {})
    with pytest.raises(PhotoUnavailable) as first:
        thumbnails.create(photo, THUMBNAIL, ThumbnailSize.SMALL)
    thumbnails.close()  # its processes have ended
    with pytest.raises(PhotoUnavailable) as again:
        thumbnails.create(photo, THUMBNAIL, ThumbnailSize.SMALL)
    assert again.value.text == first.value.text


def test_many_at_once_make_a_picture_once_in_a_few_processes(
    web_database: Database, web_settings: Settings, library: LibraryPhotos
) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True), data=picture(size=(1200, 900)))
    photo = stored_photo(web_database, number, {})
    thumbnails = Thumbnails(web_settings)
    results: list[bytes] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(thumbnails.create(photo, THUMBNAIL, ThumbnailSize.SMALL))
        )
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    thumbnails.close()
    assert len(set(results)) == 1
    assert len(results) == 12
    assert len(files_in(web_settings.data_folder / "web-cache" / "thumbnails")) == 2  # both sizes


# ---------- the cache folder ----------


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
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
def test_a_damaged_thumbnail_is_created_anew(
    client: TestClient, library: LibraryPhotos, web_settings: Settings, damage: Callable[[bytes], bytes]
) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    thumbnail = client.get(f"/api/photos/{number}/thumbnail").content
    for path in files_in(web_settings.data_folder / "web-cache"):
        path.write_bytes(damage(path.read_bytes()))
    assert client.get(f"/api/photos/{number}/thumbnail").content == thumbnail


def test_two_servers_keep_one_bound_and_one_of_nothing_keeps_nothing(tmp_path: Path) -> None:
    nothing = DiskCache(tmp_path, 0)
    nothing.put("a", b"x")
    assert (nothing.get("a"), files_in(tmp_path)) == (None, [])
    caches = [DiskCache(tmp_path, 40 * 4096) for _ in range(2)]
    for n in range(200):
        caches[n % 2].put(f"{n}", b"x" * 4000)
    assert len(files_in(tmp_path)) <= 40 * 1.25


def test_a_folder_that_cannot_be_written_is_no_reason_to_fail(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = DiskCache(tmp_path / "file", 1000)
    cache.put("a", b"x")
    assert cache.get("a") is None
    assert "cannot store thumbnails" in caplog.text


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", 10_000)
    for name in ("../../out", "/etc/out", "a\0b", "\udcff", ""):
        cache.put(name, b"x")
        assert cache.get(name) == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
