"""Photos through the API: the documents of the command line, and images addressed by id alone."""

import os
from pathlib import Path

import pytest
from PIL import Image
from rig.raw_files import LARGE, RAW_KINDS, RawContent, bare_dng, raw_file
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos, decoded, picture

from tagger.cli.output.formats import Format
from tagger.cli.output.photos import write_photos
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery


def test_a_list_continues_after_the_previous_page(client: TestClient, library: LibraryPhotos) -> None:
    for n in range(7):
        library.photo(f"{n}.jpg", (EIFFEL, 0.9, True))
    pages, after = [], {}
    while True:
        answer = client.get("/api/photos", params={"limit": 3, "landmark": EIFFEL, **after}).json()
        pages.append([photo["id"] for photo in answer["photos"]])
        if answer["next"] is None:
            break
        after = {"after": answer["next"]}
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]


def test_values_that_the_command_refuses_are_refused(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    for refused, status, text in (
        ({"landmark": "Eifel Tower"}, 404, "Did you mean Eiffel Tower"),
        ({"under": "/photos\0"}, 400, "control characters"),
        ({"limit": "1001"}, 422, "limit"),
        ({"after": "nonsense"}, 400, "first page again"),
        ({"model": "nobody"}, 400, "no model 'nobody'"),
    ):
        answer = client.get("/api/photos", params=refused)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), (refused, answer.text)


@pytest.mark.parametrize("written_as", [Format.CSV, Format.GEOJSON])
def test_the_whole_answer_streams_byte_for_byte_as_the_command_writes_it(
    client: TestClient, library: LibraryPhotos, written_as: Format, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    library.photo("=SUM(A1).jpg", (EIFFEL, 0.9, True))
    library.photo(b"odd-\xff\n.jpg", (EIFFEL, 0.8, True), (GATE, 0.7, True))
    answer = client.get(f"/api/photos.{written_as}", params={"landmark": EIFFEL})
    write_photos(find_tagged(library.database, PhotoQuery(landmark=EIFFEL)), written_as)
    assert answer.content == capfdbinary.readouterr().out
    assert "attachment" in answer.headers["content-disposition"]


def test_nothing_but_a_known_number_finds_a_photo(client: TestClient, library: LibraryPhotos) -> None:
    library.file("a.jpg", (EIFFEL, 0.9, True))
    for number in ("999", "0", "-1", "1.5", "a.jpg", "9" * 30, "..%2f..%2fetc%2fpasswd"):
        for rest in ("", "/image", "/thumbnail"):
            assert client.get(f"/api/photos/{number}{rest}").status_code in {404, 422}, (number, rest)


def test_a_photo_that_browsers_show_comes_as_it_is(client: TestClient, library: LibraryPhotos) -> None:
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"):
        data = picture(kind=kind)
        number = library.file(f"{kind}.jpg", (EIFFEL, 0.9, True), data=data)  # a name is no evidence
        answer = client.get(f"/api/photos/{number}/image")
        assert answer.content == data
        assert answer.headers["content-type"] == f"image/{kind.lower()}"
        assert answer.headers["x-content-type-options"] == "nosniff"
        again = client.get(f"/api/photos/{number}/image", headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("route", ["file", "image"])
def test_a_photo_that_has_not_changed_is_not_sent_again(
    client: TestClient, library: LibraryPhotos, route: str
) -> None:
    address = f"/api/photos/{library.file('a.jpg', (EIFFEL, 0.9, True))}/{route}"
    etag = client.get(address).headers["etag"]
    for header in (etag, f"W/{etag}", f'"other", {etag}'):
        again = client.get(address, headers={"if-none-match": header, "range": "bytes=0-1"})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(address, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("route", ["file", "image"])
def test_a_range_of_a_photo_is_sent(client: TestClient, library: LibraryPhotos, route: str) -> None:
    data = picture()
    size = len(data)
    address = f"/api/photos/{library.file('a.jpg', (EIFFEL, 0.9, True), data=data)}/{route}"
    whole = client.get(address)
    assert (whole.content, whole.headers["accept-ranges"]) == (data, "bytes")
    for text, first, last in (
        ("0-0", 0, 0),
        ("2-9", 2, 9),
        ("10-", 10, size - 1),
        ("-7", size - 7, size - 1),
        (f"-{size + 9}", 0, size - 1),
        (f"5-{size + 9}", 5, size - 1),
    ):
        for more in ({}, {"if-range": whole.headers["etag"]}):
            part = client.get(address, headers={"range": f"bytes={text}"} | more)
            assert (part.status_code, part.content) == (206, data[first : last + 1]), text
            assert part.headers["content-range"] == f"bytes {first}-{last}/{size}"
            assert part.headers["content-length"] == str(last - first + 1)
            assert part.headers["content-disposition"] == whole.headers["content-disposition"]


def test_a_range_behind_the_end_is_refused_and_others_are_the_whole_file(
    client: TestClient, library: LibraryPhotos
) -> None:
    data = picture()
    address = f"/api/photos/{library.file('a.jpg', (EIFFEL, 0.9, True), data=data)}/file"
    for text in (f"{len(data)}-", f"{len(data)}-{len(data) + 1}", "-0", f"{10**17}-"):
        refused = client.get(address, headers={"range": f"bytes={text}"})
        assert (refused.status_code, refused.content) == (416, b""), text
        assert refused.headers["content-range"] == f"bytes */{len(data)}"
    for text in ("bytes=0-1,4-5", "bytes=-", "bytes=5-2", "bytes=a-b", "lines=0-1", f"bytes={'9' * 30}-"):
        assert client.get(address, headers={"range": text}).content == data, text
    changed = client.get(address, headers={"range": "bytes=0-1", "if-range": '"other"'})
    assert (changed.status_code, changed.content) == (200, data)


def test_a_photo_that_browsers_do_not_show_comes_as_jpeg(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("a.tif", (EIFFEL, 0.9, True), data=picture(size=(1800, 600), kind="TIFF"))
    answer = client.get(f"/api/photos/{number}/image")
    assert answer.headers["content-type"] == "image/jpeg"
    assert decoded(answer.content).size == (1800, 600)
    assert 'filename="a.jpg"' in answer.headers["content-disposition"]


@pytest.mark.parametrize(
    "kind", [RAW_KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in RAW_KINDS[1:])]
)
def test_a_raw_photo_comes_as_its_preview(client: TestClient, library: LibraryPhotos, kind: str) -> None:
    data = raw_file(kind, RawContent(orientation=6))
    number = library.file(f"a.{kind}", (EIFFEL, 0.9, True), data=data)
    answer = client.get(f"/api/photos/{number}/image")
    assert answer.headers["content-type"] == "image/jpeg"
    assert decoded(answer.content).size == LARGE[::-1]
    assert client.get(f"/api/photos/{number}/thumbnail").headers["content-type"] == "image/webp"
    saved = client.get(f"/api/photos/{number}/file")
    assert saved.content == data
    assert int(saved.headers["content-length"]) == len(data)


def test_a_raw_photo_without_a_preview_comes_developed(client: TestClient, library: LibraryPhotos) -> None:
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    data = bare_dng(Image.new("RGB", LARGE, "orange"), orientation=6)
    number = library.file("a.dng", (EIFFEL, 0.9, True), data=data)
    assert decoded(client.get(f"/api/photos/{number}/image").content).size == LARGE[::-1]
    assert client.get(f"/api/photos/{number}/thumbnail").headers["content-type"] == "image/webp"


def test_a_name_cannot_write_headers(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file(b'a"\r\nSet-Cookie: x=\xff\xc3\xa9.jpg', (EIFFEL, 0.9, True))
    answer = client.get(f"/api/photos/{number}/image")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].startswith('inline; filename="a___Set-Cookie_ x_')
    saved = client.get(f"/api/photos/{number}/file").headers
    assert saved["content-disposition"].startswith('attachment; filename="a___Set-Cookie_ x_')
    assert saved["content-type"] == "application/octet-stream"


def test_what_is_no_image_is_never_sent(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("a.jpg", classified=False, data=b"<html><script>alert(1)</script></html>")
    answer = client.get(f"/api/photos/{number}/image")
    assert (answer.status_code, answer.json()["kind"]) == (422, "not-an-image")
    assert "web page" in answer.json()["error"]


def test_a_missing_file_and_an_unavailable_root_differ(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    library.file("b.jpg", (EIFFEL, 0.9, True))
    (library.root / "a.jpg").unlink()
    gone = client.get(f"/api/photos/{number}/image")
    assert (gone.status_code, gone.json()["kind"]) == (404, "gone")
    library.root.rename(library.root.with_name("elsewhere"))
    unavailable = client.get(f"/api/photos/{number}/image")
    assert (unavailable.status_code, unavailable.json()["kind"]) == (404, "unavailable")
    assert "Mount the disk" in unavailable.json()["error"]


def test_links_that_took_the_place_of_photos_and_folders_are_not_followed(
    client: TestClient, library: LibraryPhotos, tmp_path: Path
) -> None:
    number, inside = (library.file(name, (EIFFEL, 0.9, True)) for name in ("a.jpg", "x/b.jpg"))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.jpg").write_bytes(picture((1, 2, 3)))
    (library.root / "a.jpg").unlink()
    (library.root / "a.jpg").symlink_to(outside / "b.jpg")
    (library.root / "x" / "b.jpg").unlink()
    (library.root / "x").rmdir()
    (library.root / "x").symlink_to(outside)
    for address in (f"{number}/image", f"{number}/thumbnail", f"{inside}/image"):
        answer = client.get(f"/api/photos/{address}")
        assert (answer.status_code, answer.json()["kind"]) == (404, "unreadable"), address


def test_a_link_that_the_scan_recorded_is_shown(
    client: TestClient, library: LibraryPhotos, tmp_path: Path
) -> None:
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(picture())
    (library.root / "a.jpg").symlink_to(outside)
    number = library.number("a.jpg", (EIFFEL, 0.9, True), **library.state(outside))
    assert client.get(f"/api/photos/{number}/image").content == outside.read_bytes()


def test_a_photo_that_was_edited_since_is_shown_as_it_is_now(
    client: TestClient, library: LibraryPhotos
) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    edited = picture((0, 0, 255), size=(70, 70))
    (library.root / "a.jpg").write_bytes(edited)
    assert client.get(f"/api/photos/{number}/image").content == edited


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_named_pipe_blocks_no_request(client: TestClient, library: LibraryPhotos) -> None:
    os.mkfifo(library.root / "a.jpg")
    number = library.number("a.jpg", (EIFFEL, 0.9, True))
    assert client.get(f"/api/photos/{number}/image").status_code == 404
