"""Changes of landmarks through the API: the rules and the JSON of `tagger landmark`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos
from support.page_server import TOKEN

from tagger.database.audit_log import AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.people.tokens import add_token
from tagger.settings import Settings

TOWER = "/api/landmarks/old-tower"


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    library.photo("a.jpg", (EIFFEL, 0.9, True))
    return library


def add(client: TestClient, **facts: Any) -> Any:
    return client.post("/api/landmarks", json={"name": "Old Tower"} | facts)


def listed(client: TestClient) -> dict[str, Any]:
    return {each["landmark"]: each for each in client.get("/api/landmarks?all=true").json()}


def test_a_landmark_is_added_changed_merged_and_removed(client: TestClient, library: LibraryPhotos) -> None:
    answer = add(client, country="France", latitude=48.1, longitude=2.2, aliases=["Tower"])
    assert answer.status_code == 201
    assert answer.json() == {
        "landmark": "old-tower",
        "name": "Old Tower",
        "names": {},
        "aliases": ["Tower"],
        "country": "France",
        "region": None,
        "city": None,
        "latitude": 48.1,
        "longitude": 2.2,
        "extent": None,
        "edited": ["aliases", "country", "latitude", "longitude", "name"],
        "merged_slugs": [],
        "own": True,
        "dry_run": False,
    }
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
    assert client.delete("/api/landmarks/other").json() == {
        "landmark": "other",
        "name": "Other",
        "confirmed": 0,
        "rejected": 0,
        "taught_tags": 0,
        "schedules": [],
        "dry_run": False,
    }
    actions = [entry.action for entry in list_entries(library.database, AuditFilter(), 5)]
    assert actions == ["landmark-remove", "landmark-add", "landmark-merge", "landmark-edit", "landmark-add"]


def test_dry_runs_change_nothing(client: TestClient, library: LibraryPhotos) -> None:
    assert add(client, dry_run=True).json()["landmark"] == "old-tower"
    assert "old-tower" not in listed(client)
    add(client)
    assert client.patch(TOWER, json={"city": "Lyon", "dry_run": True}).json()["city"] == "Lyon"
    client.post(f"{TOWER}/merge", json={"into": GATE, "dry_run": True})
    client.request("DELETE", TOWER, json={"dry_run": True})
    assert listed(client)["old-tower"]["city"] is None


IMPOSSIBLE: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("POST", "/api/landmarks", {"name": "Eiffel Tower"}, 409, "use eiffel-tower"),
    ("POST", "/api/landmarks", {"name": "x", "slug": EIFFEL}, 409, "belongs to Eiffel Tower"),
    ("POST", "/api/landmarks", {"name": ""}, 400, "no letter"),
    ("POST", "/api/landmarks", {"name": "a\0b"}, 400, "control character"),
    ("POST", "/api/landmarks", {"name": "a" * 10_000}, 422, "name"),
    ("POST", "/api/landmarks", {"name": "x", "latitude": 91, "longitude": 0}, 422, "latitude"),
    ("POST", "/api/landmarks", {"name": "x", "latitude": 9}, 422, "go together"),
    ("POST", "/api/landmarks", {"name": "x", "extent": "blob"}, 422, "extent"),
    ("POST", "/api/landmarks", {"name": "x", "colour": "red"}, 422, "colour"),
    ("PATCH", "/api/landmarks/nowhere", {"city": "x"}, 404, "no landmark nowhere"),
    ("PATCH", f"/api/landmarks/{EIFFEL}", {"names": {"x y": "z"}}, 400, "language"),
    ("DELETE", f"/api/landmarks/{EIFFEL}", {}, 409, "label of the model"),
    ("POST", f"/api/landmarks/{EIFFEL}/merge", {"into": GATE}, 409, "tells them apart"),
    ("POST", f"/api/landmarks/{EIFFEL}/merge", {"into": EIFFEL}, 400, "nothing to merge"),
]


def test_what_is_impossible_is_refused(client: TestClient, library: LibraryPhotos) -> None:
    before = listed(client)
    for method, address, body, status, text in IMPOSSIBLE:
        answer = client.request(method, address, json=body)
        assert (answer.status_code, text in answer.json()["error"]) == (status, True), (body, answer.text)
    assert listed(client) == before


def test_a_landmark_with_verdicts_is_removed_on_request_only(
    client: TestClient, library: LibraryPhotos
) -> None:
    add(client)
    client.post("/api/photos/1/verdicts", json={"landmark": "old-tower", "verdict": "confirmed"})
    answer = client.delete(TOWER)
    assert (answer.status_code, "1 verdict" in answer.json()["error"]) == (409, True)
    assert client.request("DELETE", TOWER, json={"with_verdicts": True}).json()["confirmed"] == 1


def test_a_read_only_token_changes_no_landmark(
    client_of: Callable[..., TestClient], library: LibraryPhotos
) -> None:
    _, secret = add_token(library.database, "guest", read_only=True)
    client = client_of("0.0.0.0", TOKEN)
    client.headers["authorization"] = f"Bearer {secret}"
    assert client.get("/api/landmarks").status_code == 200
    for method, address, body in (
        ("POST", "/api/landmarks", {"name": "x"}),
        ("PATCH", f"/api/landmarks/{EIFFEL}", {"city": "x"}),
        ("DELETE", f"/api/landmarks/{EIFFEL}", {}),
        ("POST", f"/api/landmarks/{EIFFEL}/merge", {"into": GATE}),
    ):
        assert client.request(method, address, json=body).status_code == 403
