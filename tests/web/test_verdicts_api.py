"""Words on photos through the API: the rules and the JSON of `tagger confirm` and `tagger reject`."""

import getpass
from base64 import b64decode
from typing import Any

from starlette.testclient import TestClient
from support.library_photos import EIFFEL, LibraryPhotos
from support.stored_photos import COLOURS


def verdicts_of(client: TestClient, photo: int) -> dict[str, str]:
    return {
        each["landmark"]: each["verdict"] for each in client.get(f"/api/photos/{photo}").json()["verdicts"]
    }


def give(client: TestClient, photo: int) -> None:
    client.post("/api/verdicts", json={"photos": [photo], "landmark": EIFFEL, "verdict": "confirmed"})


def delete(client: TestClient, address: str, output: dict[str, Any]) -> Any:
    return client.request("DELETE", address, json=output)


def test_a_verdict_is_answered_as_on_the_command_line(client: TestClient, library: LibraryPhotos) -> None:
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


def test_many_photos_get_a_verdict_and_report_the_previous_one(
    client: TestClient, library: LibraryPhotos
) -> None:
    numbers = [library.number(f"{n}.jpg", (EIFFEL, 0.9, True)) for n in range(3)]
    give(client, numbers[0])
    output = {"photos": [*numbers, 999], "landmark": EIFFEL, "verdict": "rejected"}
    answer = client.post("/api/verdicts", json=output).json()
    assert answer["left_out"] == [999]
    assert [each["photo"] for each in answer["photos"]] == numbers
    assert [each["before"] for each in answer["photos"]] == ["confirmed", None, None]
    back = {"photos": numbers, "landmark": EIFFEL, "verdict": "rejected"}
    assert all(each["changed"] for each in delete(client, "/api/verdicts", back).json()["photos"])
    assert all(verdicts_of(client, number) == {} for number in numbers)


def test_what_means_nothing_is_refused(client: TestClient, library: LibraryPhotos) -> None:
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


def test_photos_are_favourites_until_their_star_is_removed(
    client: TestClient, library: LibraryPhotos
) -> None:
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
