"""Photos through the API: the documents of the command line, and images addressed by id alone."""
# ruff: noqa: DTZ001 - cameras know no time zone

import csv
import io
import json
import os
from datetime import datetime
from pathlib import Path

import pytest
from PIL import Image
from rig.raw_files import LARGE, RAW_KINDS, RawContent, bare_dng, raw_file
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos, decoded, picture

from tagger.cli.output.formats import Format
from tagger.cli.output.photos import write_landmarks, write_photos
from tagger.database.connection import Database
from tagger.library.query.counts import landmark_counts
from tagger.library.query.find import find_tagged
from tagger.library.query.options import PhotoQuery
from tagger.settings import Settings


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    return LibraryPhotos(web_database, web_settings, tmp_path / "photos")


def test_a_list_has_the_documents_of_the_command_line(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2, 3, 4))
    library.photo("b.jpg", (GATE, 0.2, False))
    answer = client.get("/api/photos").json()
    assert answer["next"] is None
    (photo,) = answer["photos"]
    assert photo["id"] == 1
    assert photo["path"] == str(library.root / "a.jpg")
    assert (photo["outcome"], photo["taken_at"]) == ("tagged", "2026-01-02T03:04:00")
    assert [(tag["landmark"], tag["score"], tag["accepted"]) for tag in photo["tags"]] == [
        (EIFFEL, 0.9, True)
    ]


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


def test_the_photos_around_one_are_those_of_the_query(client: TestClient, library: LibraryPhotos) -> None:
    for n in range(7):
        library.photo(f"{n}.jpg", (GATE if n == 3 else EIFFEL, 0.9, True))
    options = {"landmark": EIFFEL, "previous": 2, "next": 100}
    answer = client.get("/api/photos/5/neighbours", params=options).json()
    assert {side: [photo["id"] for photo in photos] for side, photos in answer.items()} == {
        "previous": [3, 2],
        "next": [6, 7],
    }
    for wrong in ("next=101", "previous=-1", "after=x", "landmark=eifel"):
        assert client.get(f"/api/photos/5/neighbours?{wrong}").status_code in {404, 422}, wrong


QUERIES: list[tuple[dict[str, str | list[str]], list[str]]] = [
    ({}, ["a.jpg", "b.jpg"]),
    ({"landmark": "Eiffel Tower"}, ["a.jpg"]),
    ({"landmark": " "}, ["a.jpg", "b.jpg"]),
    ({"country": "germany"}, ["b.jpg"]),
    ({"near": "48.86,2.29", "radius_km": "5"}, ["a.jpg"]),
    ({"min_score": "0.85"}, ["a.jpg"]),
    ({"taken_after": "2026-01-01", "taken_before": "2026-02-01"}, ["a.jpg"]),
    ({"model": "tiny"}, ["a.jpg", "b.jpg"]),
    ({"camera": "google pixel 8"}, ["a.jpg"]),
    ({"camera": ["google pixel 8", "Canon EOS 5D", ""]}, ["a.jpg", "b.jpg"]),
    ({"camera": ""}, ["a.jpg", "b.jpg"]),
    ({"verdict": "none"}, ["a.jpg", "b.jpg", "c.jpg"]),
    ({"verdict": "any"}, []),
    ({"unknown": "1"}, ["c.jpg"]),
    ({"unknown": ""}, ["a.jpg", "b.jpg"]),
    ({"untagged": "true"}, ["d.jpg"]),
    ({"any_rank": "1"}, ["a.jpg", "b.jpg", "c.jpg"]),
]


def test_a_query_has_the_options_of_the_command(client: TestClient, library: LibraryPhotos) -> None:
    phone, camera = library.camera("Google", "Pixel 8"), library.camera("Canon", "Canon EOS 5D")
    library.photo("a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2), camera_id=phone)
    library.photo("b.jpg", (GATE, 0.8, True), camera_id=camera)
    library.photo("c.jpg", (GATE, 0.2, False))
    library.photo("d.jpg", classified=False)
    for options, names in QUERIES:
        answer = client.get("/api/photos", params=options)
        assert [Path(photo["path"]).name for photo in answer.json()["photos"]] == names, options


def test_photos_under_a_folder(client: TestClient, library: LibraryPhotos) -> None:
    library.photo("x/a.jpg", (EIFFEL, 0.9, True))
    library.photo("xy/b.jpg", (EIFFEL, 0.9, True))
    answer = client.get("/api/photos", params={"under": str(library.root / "x")})
    assert [photo["id"] for photo in answer.json()["photos"]] == [1]


REFUSED = [
    ({"landmark": "Eifel Tower"}, 404, "Did you mean eiffel-tower"),
    ({"near": "north"}, 400, "is not a position"),
    ({"radius_km": "5"}, 400, "needs a position"),
    ({"taken_after": "yesterday"}, 400, "is not a date"),
    ({"taken_after": "2026-01-01T00:00Z"}, 400, "time zone"),
    ({"under": "photos/../.."}, 400, "whole path"),
    ({"under": "/photos\0"}, 400, "control characters"),
    ({"unknown": "1", "landmark": EIFFEL}, 400, "cannot be combined"),
    ({"untagged": "1", "any_rank": "1"}, 400, "cannot be combined"),
    ({"camera": "Pixel 9"}, 404, "Known cameras: none"),
    ({"verdict": "maybe"}, 400, "is no verdict"),
    ({"min_score": "2"}, 422, "min_score"),
    ({"limit": "1001"}, 422, "limit"),
    ({"limit": "0"}, 422, "limit"),
    ({"after": "nonsense"}, 400, "first page again"),
    ({"model": "nobody"}, 400, "no model 'nobody'"),
]


def test_what_means_nothing_is_refused_with_a_remedy(client: TestClient, library: LibraryPhotos) -> None:
    for options, status, text in REFUSED:
        answer = client.get("/api/photos", params=options)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), (options, answer.text)


@pytest.mark.parametrize("written_as", [Format.NDJSON, Format.CSV, Format.GEOJSON])
def test_the_whole_answer_streams_byte_for_byte_as_the_command_writes_it(
    client: TestClient, library: LibraryPhotos, written_as: Format, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    library.photo("=SUM(A1).jpg", (EIFFEL, 0.9, True))
    library.photo(b"odd-\xff\n.jpg", (EIFFEL, 0.8, True), (GATE, 0.7, True))
    answer = client.get(f"/api/photos.{written_as}", params={"landmark": EIFFEL})
    write_photos(find_tagged(library.database, PhotoQuery(landmark=EIFFEL)), written_as)
    assert answer.content == capfdbinary.readouterr().out
    assert "attachment" in answer.headers["content-disposition"]


def test_csv_of_many_photos_is_complete(client: TestClient, library: LibraryPhotos) -> None:
    for n in range(60):
        library.photo(f"{'long ' * 200}{n}.jpg", (EIFFEL, 0.9, True))
    rows = list(csv.reader(io.StringIO(client.get("/api/photos.csv").text)))
    assert len(rows) == 61


def test_one_photo_is_returned_as_show_prints_it(client: TestClient, library: LibraryPhotos) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True), (GATE, 0.1, False))
    library.verdict(client.get(f"/api/photos/{number}").json()["digest"], EIFFEL, "confirmed")
    document = client.get(f"/api/photos/{number}").json()
    assert (document["id"], document["model"], document["top_k"]) == (number, "tiny", 5)
    assert [tag["rank"] for tag in document["tags"]] == [1, 2]
    assert [each["verdict"] for each in document["verdicts"]] == ["confirmed"]


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


def test_a_link_that_took_a_photos_place_is_not_followed(
    client: TestClient, library: LibraryPhotos, tmp_path: Path
) -> None:
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    secret = tmp_path / "secret.png"
    secret.write_bytes(picture((1, 2, 3), kind="PNG"))
    (library.root / "a.jpg").unlink()
    (library.root / "a.jpg").symlink_to(secret)
    for what in ("image", "thumbnail"):
        answer = client.get(f"/api/photos/{number}/{what}")
        assert (answer.status_code, answer.json()["kind"]) == (404, "unreadable"), what


def test_a_folder_that_became_a_link_is_not_followed(
    client: TestClient, library: LibraryPhotos, tmp_path: Path
) -> None:
    number = library.file("x/a.jpg", (EIFFEL, 0.9, True))
    library.file("b.jpg", (EIFFEL, 0.9, True))
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "a.jpg").write_bytes(picture((1, 2, 3), size=(50, 50)))
    (library.root / "x" / "a.jpg").unlink()
    (library.root / "x").rmdir()
    (library.root / "x").symlink_to(outside)
    assert client.get(f"/api/photos/{number}/image").json()["kind"] == "unreadable"


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


def test_landmarks_are_counted_as_the_command_counts_them(
    client: TestClient, library: LibraryPhotos, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    library.photo("b.jpg", (EIFFEL, 0.9, True))
    library.photo("c.jpg", (GATE, 0.9, True))
    counts = landmark_counts(library.database)
    for written_as in (Format.NDJSON, Format.CSV, Format.GEOJSON):
        write_landmarks(counts, written_as)
        assert client.get(f"/api/landmarks.{written_as}").content == capfdbinary.readouterr().out
    landmarks = client.get("/api/landmarks", params={"country": "france"}).json()
    assert [(each["landmark"], each["photos"]) for each in landmarks] == [(EIFFEL, 2)]
    assert len(client.get("/api/landmarks?all=1").json()) > 2
    assert client.get("/api/landmarks?country=nowhere").status_code == 404


def test_every_address_is_described(client: TestClient) -> None:
    described = json.loads(client.get("/api/openapi.json").content)["paths"]
    for path in ("/api/photos", "/api/photos/{photo_id}/thumbnail", "/api/landmarks.geojson"):
        assert path in described
    names = {option["name"] for option in described["/api/photos"]["get"]["parameters"]}
    assert {
        "landmark",
        "country",
        "near",
        "radius_km",
        "min_score",
        "under",
        "any_rank",
        "after",
        "limit",
    } <= names
