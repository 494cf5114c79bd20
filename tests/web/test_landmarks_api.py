"""Changes of landmarks through the API: the rules and the JSON of `tagger landmark`."""

from typing import Any

import pytest
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos

from tagger.database.audit_log import AuditFilter, list_entries

TOWER = "/api/landmarks/old-tower"


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    return library


def add(client: TestClient, **facts: Any) -> Any:
    return client.post("/api/landmarks", json={"name": "Old Tower"} | facts)


def listed(client: TestClient) -> dict[str, Any]:
    return {each["landmark"]: each for each in client.get("/api/landmarks?all=true").json()}


def test_a_landmark_is_added_changed_merged_and_removed(client: TestClient, library: LibraryPhotos) -> None:
    answer = add(client, country="France", latitude=48.1, longitude=2.2, aliases=["Tower"])
    assert answer.status_code == 201
    assert (answer.json()["landmark"], answer.json()["aliases"]) == ("old-tower", ["Tower"])
    assert listed(client)["old-tower"]["own"]
    changes = {"city": "Lyon", "latitude": None, "longitude": None, "names": {"de": "Turm"}}
    assert client.patch(TOWER, json=changes).json()["changed"] == ["city", "latitude", "longitude", "names"]
    assert listed(client)["old-tower"]["city"] == "Lyon"
    verdict = {"landmark": "turm", "verdict": "confirmed"}
    assert client.post("/api/photos/1/verdicts", json=verdict).status_code == 200
    merged = client.post(f"{TOWER}/merge", json={"into": GATE}).json()
    assert (merged["landmark"], merged["merged"], merged["verdicts"]) == (GATE, "old-tower", 1)
    assert client.get("/landmarks/old-tower").status_code == 200
    add(client, slug="other", name="Other")
    for dry_run in (True, False):
        removed = client.request("DELETE", "/api/landmarks/other", json={"dry_run": dry_run}).json()
        assert (removed["landmark"], removed["confirmed"], removed["dry_run"]) == ("other", 0, dry_run)
    actions = [entry.action for entry in list_entries(library.database, AuditFilter(), 5)]
    assert actions == ["landmark-remove", "landmark-add", "landmark-merge", "landmark-edit", "landmark-add"]


IMPOSSIBLE: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/api/landmarks", {"name": "Eiffel Tower"}, 409, "use eiffel-tower"),
    ("POST", "/api/landmarks", {"name": "a\0b"}, 400, "control character"),
    ("POST", "/api/landmarks", {"name": "a" * 10_000}, 422, "name"),
    ("POST", "/api/landmarks", {"name": "x", "latitude": 9}, 422, "go together"),
    ("POST", "/api/landmarks", {"name": "x", "colour": "red"}, 422, "colour"),
    ("PATCH", "/api/landmarks/nowhere", {"city": "x"}, 404, "no landmark nowhere"),
    ("PATCH", f"/api/landmarks/{EIFFEL}", {"names": {"x y": "z"}}, 400, "language"),
    ("DELETE", f"/api/landmarks/{EIFFEL}", {}, 409, "label of the model"),
    ("POST", f"/api/landmarks/{EIFFEL}/merge", {"into": GATE}, 409, "tells them apart"),
]


def test_what_is_impossible_is_refused(client: TestClient, library: LibraryPhotos) -> None:
    before = listed(client)
    for method, address, body, status, text in IMPOSSIBLE:
        answer = client.request(method, address, json=body)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), (body, answer.text)
    assert listed(client) == before
