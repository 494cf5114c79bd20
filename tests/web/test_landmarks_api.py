"""Changes of landmarks through the API and by forms: the rules and the JSON of `tagger landmark`."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from support.databases import audit_entries
from support.library_photos import EIFFEL, GATE, LibraryPhotos

from tagger.landmarks.edits import edit_landmark


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    return library


def add(client: TestClient, **facts: Any) -> Any:
    return client.post("/api/landmarks", json={"name": "Old Tower"} | facts)


def listed(client: TestClient) -> dict[str, Any]:
    return {each["landmark"]: each for each in client.get("/api/landmarks?all=true").json()}


def test_a_landmark_is_added_and_removed(client: TestClient, library: LibraryPhotos) -> None:
    answer = add(client, country="France", latitude=48.1, longitude=2.2, aliases=["Tower"])
    assert answer.status_code == 201
    assert (answer.json()["landmark"], answer.json()["aliases"]) == ("old-tower", ["Tower"])
    assert listed(client)["old-tower"]["own"]
    add(client, slug="other", name="Other")
    removed = client.delete("/api/landmarks/other").json()
    assert (removed["landmark"], removed["confirmed"]) == ("other", 0)
    actions = [entry.action for entry in audit_entries(library.database)[:3]]
    assert actions == ["landmark-remove", "landmark-add", "landmark-add"]


def test_a_statement_that_the_database_refuses_is_a_defect_and_no_outage(
    client: TestClient, library: LibraryPhotos, caplog: pytest.LogCaptureFixture
) -> None:
    refuse = "CREATE TRIGGER refused BEFORE INSERT ON landmarks BEGIN SELECT RAISE(ABORT, 'refused'); END"
    with library.database.write() as connection:
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


def test_what_is_impossible_is_refused(client: TestClient, library: LibraryPhotos) -> None:
    before = listed(client)
    for method, address, body, status, text in IMPOSSIBLE:
        answer = client.request(method, address, json=body)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), (body, answer.text)
    assert listed(client) == before


EDIT = "/places/edit/old-tower"
MERGE = "/places/merge/old-tower"


def test_a_landmark_is_renamed_in_the_language_of_the_reader(
    client: TestClient, library: LibraryPhotos
) -> None:
    add(client)
    edit_landmark(library.database, "old-tower", {"names": {"de": "Alter Turm"}})
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


def test_a_merge_is_shown_before_it_is_done(client: TestClient, library: LibraryPhotos) -> None:
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


def test_deleting_a_place_shows_first_what_goes_with_it(client: TestClient, library: LibraryPhotos) -> None:
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
