"""Counts of the choices of filters, through the API."""
# ruff: noqa: DTZ001 - cameras know no time zone

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos

from tagger.database.connection import Database
from tagger.settings import Settings


@pytest.fixture
def library(web_database: Database, web_settings: Settings, tmp_path: Path) -> LibraryPhotos:
    library = LibraryPhotos(web_database, web_settings, tmp_path / "photos")
    phone = library.camera("Google", "Pixel 8")
    library.photo(
        "x/a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2), camera_id=phone, digest="one"
    )
    library.photo(
        "y/a.jpg", (EIFFEL, 0.9, True), taken_at=datetime(2026, 1, 2), camera_id=phone, digest="one"
    )
    library.photo("x/b.jpg", (GATE, 0.8, True), taken_at=datetime(2025, 1, 2))
    library.photo("c.jpg", (GATE, 0.2, False))
    return library


def numbers(client: TestClient, **options: Any) -> dict[str, dict[str, int]]:
    answer = client.get("/api/facets", params=options).json()
    assert all(facet["exact"] for facet in answer)
    return {facet["facet"]: {each["name"]: each["photos"] for each in facet["values"]} for facet in answer}


def test_each_facet_is_counted_under_all_other_filters(client: TestClient, library: LibraryPhotos) -> None:
    assert numbers(client, camera="pixel 8", distinct=1) == {
        "landmark": {"Eiffel Tower": 1},
        "country": {"France": 2},
        "year": {"2026": 1},
        "camera": {"Google Pixel 8": 1},
        "position": {"none": 2},
        "outcome": {"any_rank": 1},
        "verdict": {"none": 1},
        "folder": {"x": 1, "y": 1},
    }
    assert numbers(client)["landmark"] == {"Eiffel Tower": 2, "Brandenburg Gate": 1}
    assert numbers(client)["outcome"] == {"any_rank": 4, "unknown": 1}
    defaults = {facet["facet"]: facet["default"] for facet in client.get("/api/facets").json()}
    assert {name: number for name, number in defaults.items() if number is not None} == {"outcome": 3}


def test_options_that_are_repeated_are_alternatives(client: TestClient, library: LibraryPhotos) -> None:
    both = numbers(client, landmark=[EIFFEL, GATE], year=[2025, 2026])
    assert both["landmark"] == {"Eiffel Tower": 2, "Brandenburg Gate": 1}
    assert both["year"] == {"2026": 2, "2025": 1}
    folders = [str(library.root / name) for name in "xy"]
    found = client.get("/api/photos", params={"under": folders, "country": ["France", "Germany"]}).json()[
        "photos"
    ]
    assert len(found) == 3
    library.photo(
        "x/broken.jpg", classified=False, failure_kind="damaged", failure_text="-", failure_attempts=1
    )
    assert numbers(client, under=folders)["outcome"] == {"any_rank": 3, "failed": 1}
    (failed,) = client.get("/api/photos?failed=1").json()["photos"]
    assert (failed["outcome"], failed["dismissed"]) == ("failed", False)
    assert client.get("/api/photos?year=2024&year=0").status_code == 422


def test_facets_of_an_invalid_query_are_refused_as_its_photos(
    client: TestClient, library: LibraryPhotos
) -> None:
    for options in (
        {"camera": "Pixel 9"},
        {"verdict": "maybe"},
        {"landmark": "Eifel"},
        {"model": "nobody"},
        {"limit": "3"},
    ):
        photos = client.get("/api/photos" if "limit" not in options else "/api/timeline", params=options)
        facets = client.get("/api/facets", params=options)
        assert facets.status_code == photos.status_code in {400, 404, 422}
        assert facets.json()["error"].split("Valid")[0] == photos.json()["error"].split("Valid")[0]
