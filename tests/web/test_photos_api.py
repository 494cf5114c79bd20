"""The API of photos, searches and landmarks, and of verdicts on them."""

import getpass
import os
from base64 import b64decode
from typing import Any

import pytest
from PIL import Image
from rig.raw_files import LARGE, RAW_KINDS, RawContent, bare_dng, raw_file
from starlette.testclient import TestClient
from support.databases import audit_entries
from support.library_photos import EIFFEL, GATE, LibraryPhotos, decoded, picture
from support.stored_photos import COLOURS

from tagger.cli.console import Format
from tagger.cli.photo_lists import write_photos
from tagger.landmarks.edits import edit_landmark
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery


def test_lists_continue_after_a_page_and_refuse_what_the_command_does(client, library):
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
    client, library, written_as, capfdbinary
):
    library.photo("=SUM(A1).jpg", (EIFFEL, 0.9, True))
    library.photo(b"odd-\xff\n.jpg", (EIFFEL, 0.8, True), (GATE, 0.7, True))
    answer = client.get(f"/api/photos.{written_as}", params={"landmark": EIFFEL})
    write_photos(find_tagged(library.database, PhotoQuery(landmark=EIFFEL)), written_as)
    assert answer.content == capfdbinary.readouterr().out
    assert "attachment" in answer.headers["content-disposition"]


def test_photos_come_as_they_are_or_as_jpeg(client, library):
    for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF"):
        data = picture(kind=kind)
        number = library.file(f"{kind}.jpg", (EIFFEL, 0.9, True), data=data)  # a name is no evidence
        answer = client.get(f"/api/photos/{number}/image")
        assert answer.content == data
        assert answer.headers["content-type"] == f"image/{kind.lower()}"
        assert answer.headers["x-content-type-options"] == "nosniff"
    number = library.file("a.tif", (EIFFEL, 0.9, True), data=picture(size=(1800, 600), kind="TIFF"))
    answer = client.get(f"/api/photos/{number}/image")
    assert answer.headers["content-type"] == "image/jpeg"
    assert decoded(answer.content).size == (1800, 600)
    assert 'filename="a.jpg"' in answer.headers["content-disposition"]
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    edited = picture((0, 0, 255), size=(70, 70))
    (library.root / "a.jpg").write_bytes(edited)
    assert client.get(f"/api/photos/{number}/image").content == edited


@pytest.mark.parametrize("route", ["file", "image"])
def test_a_photo_that_has_not_changed_is_not_sent_again(client, library, route):
    address = f"/api/photos/{library.file('a.jpg', (EIFFEL, 0.9, True))}/{route}"
    etag = client.get(address).headers["etag"]
    for header in (etag, f"W/{etag}", f'"other", {etag}'):
        again = client.get(address, headers={"if-none-match": header, "range": "bytes=0-1"})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    assert client.get(address, headers={"if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize("route", ["file", "image"])
def test_a_range_of_a_photo_is_sent(client, library, route):
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


def test_a_range_behind_the_end_is_refused_and_others_are_the_whole_file(client, library):
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


@pytest.mark.parametrize(
    "kind", [RAW_KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in RAW_KINDS[1:])]
)
def test_a_raw_photo_comes_as_its_preview(client, library, kind):
    data = raw_file(kind, RawContent(orientation=6))
    number = library.file(f"a.{kind}", (EIFFEL, 0.9, True), data=data)
    answer = client.get(f"/api/photos/{number}/image")
    assert answer.headers["content-type"] == "image/jpeg"
    assert decoded(answer.content).size == LARGE[::-1]
    assert client.get(f"/api/photos/{number}/thumbnail").headers["content-type"] == "image/webp"
    saved = client.get(f"/api/photos/{number}/file")
    assert saved.content == data
    assert int(saved.headers["content-length"]) == len(data)


def test_a_raw_photo_without_a_preview_comes_developed(client, library):
    pytest.importorskip("rawpy", reason="the extra `raw` is not installed")
    data = bare_dng(Image.new("RGB", LARGE, "orange"), orientation=6)
    number = library.file("a.dng", (EIFFEL, 0.9, True), data=data)
    assert decoded(client.get(f"/api/photos/{number}/image").content).size == LARGE[::-1]
    assert client.get(f"/api/photos/{number}/thumbnail").headers["content-type"] == "image/webp"


def test_a_name_cannot_write_headers(client, library):
    number = library.file(b'a"\r\nSet-Cookie: x=\xff\xc3\xa9.jpg', (EIFFEL, 0.9, True))
    answer = client.get(f"/api/photos/{number}/image")
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].startswith('inline; filename="a___Set-Cookie_ x_')
    saved = client.get(f"/api/photos/{number}/file").headers
    assert saved["content-disposition"].startswith('attachment; filename="a___Set-Cookie_ x_')
    assert saved["content-type"] == "application/octet-stream"


def test_what_is_no_image_is_never_sent(client, library):
    number = library.file("a.jpg", classified=False, data=b"<html><script>alert(1)</script></html>")
    answer = client.get(f"/api/photos/{number}/image")
    assert (answer.status_code, answer.json()["kind"]) == (422, "not-an-image")
    assert "web page" in answer.json()["error"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no pipes with names")
def test_a_named_pipe_blocks_no_request(client, library):
    os.mkfifo(library.root / "a.jpg")
    number = library.number("a.jpg", (EIFFEL, 0.9, True))
    assert client.get(f"/api/photos/{number}/image").status_code == 404


def test_nothing_but_a_known_number_finds_a_photo(client, library):
    library.file("a.jpg", (EIFFEL, 0.9, True))
    for number in ("999", "0", "-1", "1.5", "a.jpg", "9" * 30, "..%2f..%2fetc%2fpasswd"):
        for rest in ("", "/image", "/thumbnail"):
            assert client.get(f"/api/photos/{number}{rest}").status_code in {404, 422}, (number, rest)


def test_a_missing_file_and_an_unavailable_root_differ(client, library):
    number = library.file("a.jpg", (EIFFEL, 0.9, True))
    library.file("b.jpg", (EIFFEL, 0.9, True))
    (library.root / "a.jpg").unlink()
    gone = client.get(f"/api/photos/{number}/image")
    assert (gone.status_code, gone.json()["kind"]) == (404, "gone")
    library.root.rename(library.root.with_name("elsewhere"))
    unavailable = client.get(f"/api/photos/{number}/image")
    assert (unavailable.status_code, unavailable.json()["kind"]) == (404, "unavailable")
    assert "Mount the disk" in unavailable.json()["error"]


def test_links_that_took_the_place_of_photos_and_folders_are_not_followed(client, library, tmp_path):
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


def test_a_link_that_the_scan_recorded_is_shown(client, library, tmp_path):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(picture())
    (library.root / "a.jpg").symlink_to(outside)
    number = library.number("a.jpg", (EIFFEL, 0.9, True), **library.state(outside))
    assert client.get(f"/api/photos/{number}/image").content == outside.read_bytes()


@pytest.fixture
def named_library(library) -> LibraryPhotos:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    return library


def add(client: TestClient, **facts: Any) -> Any:
    return client.post("/api/landmarks", json={"name": "Old Tower"} | facts)


def listed(client: TestClient) -> dict[str, Any]:
    return {each["landmark"]: each for each in client.get("/api/landmarks?all=true").json()}


def test_landmarks_are_added_and_removed_and_what_is_impossible_is_refused(client, named_library):
    answer = add(client, country="France", latitude=48.1, longitude=2.2, aliases=["Tower"])
    assert answer.status_code == 201
    assert (answer.json()["landmark"], answer.json()["aliases"]) == ("old-tower", ["Tower"])
    assert listed(client)["old-tower"]["own"]
    add(client, slug="other", name="Other")
    removed = client.delete("/api/landmarks/other").json()
    assert (removed["landmark"], removed["confirmed"]) == ("other", 0)
    actions = [entry.action for entry in audit_entries(named_library.database)[:3]]
    assert actions == ["landmark-remove", "landmark-add", "landmark-add"]
    before = listed(client)
    for method, address, body, status, text in IMPOSSIBLE:
        answer = client.request(method, address, json=body)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), (body, answer.text)
    assert listed(client) == before


def test_a_statement_that_the_database_refuses_is_a_defect_and_no_outage(client, named_library, caplog):
    refuse = "CREATE TRIGGER refused BEFORE INSERT ON landmarks BEGIN SELECT RAISE(ABORT, 'refused'); END"
    with named_library.database.write() as connection:
        connection.exec_driver_sql(refuse)
    answer = add(client)
    assert (answer.status_code, answer.json()["error"][:26]) == (500, "An error in this program; ")
    assert "unexpected error in POST" in caplog.text


IMPOSSIBLE: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/api/landmarks", {"name": "Eiffel Tower"}, 409, "use eiffel-tower"),
    ("POST", "/api/landmarks", {"name": "a\0b"}, 400, "control character"),
    ("POST", "/api/landmarks", {"name": "a" * 10_000}, 422, "name"),
    ("POST", "/api/landmarks", {"name": "x", "latitude": 9}, 422, "go together"),
    ("POST", "/api/landmarks", {"name": "x", "colour": "red"}, 422, "colour"),
    ("DELETE", f"/api/landmarks/{EIFFEL}", {}, 409, "label of the model"),
]


EDIT = "/places/edit/old-tower"
MERGE = "/places/merge/old-tower"


def test_a_landmark_is_renamed_in_the_language_of_the_reader(client, named_library):
    add(client)
    edit_landmark(named_library.database, "old-tower", {"names": {"de": "Alter Turm"}})
    assert f'href="{EDIT}"' in client.get("/landmarks/old-tower").text
    german = {"accept-language": "de"}
    assert 'value="Alter Turm"' in client.get(EDIT, headers=german).text
    assert client.post(EDIT, data={"name": "Der Turm"}, headers=german).status_code == 303
    assert client.post(EDIT, data={"name": "The Tower"}).headers["location"] == "/landmarks/old-tower"
    assert "<h1 data-landmark-name>Der Turm</h1>" in client.get("/landmarks/old-tower", headers=german).text
    assert listed(client)["old-tower"]["name"] == "The Tower"
    refused = client.post(EDIT, data={"name": "Eiffel Tower"})
    assert refused.status_code == 409
    assert "has the name Eiffel Tower already" in refused.text
    assert client.get("/places/edit/nowhere").status_code == 404


def test_a_merge_is_shown_before_it_is_done(client, named_library):
    add(client, country="France")
    assert '<option value="Brandenburg Gate">Berlin, Germany</option>' in client.get(EDIT).text
    for landmark, verdict in (("old-tower", "confirmed"), (GATE, "rejected")):
        body = {"photos": [1], "landmark": landmark, "verdict": verdict}
        client.post("/api/verdicts", json=body)
    preview = client.post(MERGE, data={"into": "brandenburg gate"}).text
    for words in (
        "Merge Old Tower into Brandenburg Gate?",
        "1 verdict moves.",
        "This cannot be undone.",
    ):
        assert words in preview, words
    assert "1 photo was confirmed as one and rejected as the other" in preview
    assert "old-tower" in listed(client)
    refused = client.post(MERGE, data={"into": "nowhere"})
    assert (refused.status_code, 'name="into" value="nowhere"' in refused.text) == (409, True)
    merged = client.post(MERGE, data={"into": GATE, "is_confirmed": "true"})
    assert (merged.status_code, merged.headers["location"]) == (303, f"/landmarks/{GATE}")
    assert "old-tower" not in listed(client)
    distinct = client.post(f"/places/merge/{EIFFEL}", data={"into": GATE})
    assert "Eiffel Tower cannot be merged into Brandenburg Gate" in distinct.text


def test_deleting_a_place_shows_first_what_goes_with_it(client, named_library):
    add(client)
    body = {"photos": [1], "landmark": "old-tower", "verdict": "confirmed"}
    client.post("/api/verdicts", json=body)
    preview = client.post("/places/delete/old-tower").text
    assert "Delete Old Tower?" in preview
    assert "1 verdict is deleted with it." in preview
    assert "old-tower" in listed(client)
    deleted = client.post("/places/delete/old-tower", data={"is_confirmed": "true"})
    assert (deleted.status_code, deleted.headers["location"]) == (303, "/places")
    assert "old-tower" not in listed(client)
    assert "/places/delete/" not in client.get(f"/places/edit/{EIFFEL}").text
    refused = client.post(f"/places/delete/{EIFFEL}", data={"is_confirmed": "true"})
    assert (refused.status_code, "Eiffel Tower cannot be deleted" in refused.text) == (409, True)


def verdicts_of(client: TestClient, photo: int) -> dict[str, str]:
    return {
        each["landmark"]: each["verdict"] for each in client.get(f"/api/photos/{photo}").json()["verdicts"]
    }


def delete(client: TestClient, address: str, output: dict[str, Any]) -> Any:
    return client.request("DELETE", address, json=output)


def test_a_verdict_is_answered_as_on_the_command_line(client, library):
    number = library.number("a.jpg", (EIFFEL, 0.9, True))
    output = {"photos": [number], "landmark": "Eiffel Tower", "verdict": "rejected"}
    answer = client.post("/api/verdicts", json=output).json()
    digest = client.get(f"/api/photos/{number}").json()["digest"]
    assert answer == {
        "landmark": EIFFEL,
        "name": "Eiffel Tower",
        "photos": [
            {
                "photo": number,
                "path": str(library.root / "a.jpg"),
                "digest": digest,
                "before": None,
                "verdict": "rejected",
                "changed": True,
                "copies": 1,
            }
        ],
        "left_out": [],
        "dry_run": False,
    }
    assert verdicts_of(client, number) == {EIFFEL: "rejected"}
    client.post("/api/verdicts", json=output | {"verdict": "confirmed"})
    (verdict,) = client.get(f"/api/photos/{number}").json()["verdicts"]
    assert verdict["given_by"] == f"web {getpass.getuser()}"


def test_what_means_nothing_is_refused(client, library):
    number = library.number("a.jpg", (EIFFEL, 0.9, True))
    refused: list[tuple[dict[str, Any], int]] = [
        ({"verdict": "rejected"}, 422),
        ({"verdict": "perhaps", "photos": [1], "landmark": EIFFEL}, 422),
        ({"verdict": "rejected", "photos": [1]}, 422),
        ({"verdict": "rejected", "photos": [1] * 501, "landmark": EIFFEL}, 422),
        ({"verdict": "rejected", "photos": [1], "landmark": "nowhere"}, 404),
        ({"verdict": "rejected", "query": {"landmark": EIFFEL}}, 422),
    ]
    for output, status in refused:
        answer = client.post("/api/verdicts", json=output)
        assert (answer.status_code, bool(answer.json()["error"])) == (status, True), output
    assert verdicts_of(client, number) == {}


def test_many_photos_get_a_verdict_and_report_the_previous_one(client, library):
    numbers = [library.number(f"{n}.jpg", (EIFFEL, 0.9, True)) for n in range(3)]
    confirmed = {"photos": numbers[:1], "landmark": EIFFEL, "verdict": "confirmed"}
    client.post("/api/verdicts", json=confirmed)
    output = {"photos": [*numbers, 999], "landmark": EIFFEL, "verdict": "rejected"}
    answer = client.post("/api/verdicts", json=output).json()
    assert answer["left_out"] == [999]
    assert [each["photo"] for each in answer["photos"]] == numbers
    assert [each["before"] for each in answer["photos"]] == ["confirmed", None, None]
    back = {"photos": numbers, "landmark": EIFFEL, "verdict": "rejected"}
    assert all(each["changed"] for each in delete(client, "/api/verdicts", back).json()["photos"])
    assert all(verdicts_of(client, number) == {} for number in numbers)


def test_photos_are_favourites_until_their_star_is_removed(client, library):
    number = library.number("a.jpg", (EIFFEL, 0.3, False))
    assert client.post("/api/favourites", json={"photos": [number, 999]}).json() == {
        "changed": [number],
        "left_out": [999],
    }
    (found,) = client.get("/api/photos", params={"favourite": 1}).json()["photos"]
    assert (found["id"], found["favourite"]) == (number, True)
    (brief,) = client.get("/api/timeline/photos", params={"favourite": 1}).json()["photos"]
    assert (brief["favourite"], b64decode(brief["colours"])) == (True, COLOURS)
    assert "photo-tile-favourite" in client.get("/photos", params={"favourite": 1}).text
    assert delete(client, "/api/favourites", {"photos": [number]}).json()["changed"] == [number]
    assert client.get("/api/photos", params={"favourite": 1}).json()["photos"] == []
