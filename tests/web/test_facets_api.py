"""Counts of the choices of filters, through the API."""
# ruff: noqa: DTZ001 - cameras know no time zone

from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient
from support.library_photos import EIFFEL, GATE, LibraryPhotos


@pytest.fixture
def library(library: LibraryPhotos) -> LibraryPhotos:
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
        "position": {"none": 2, "no-gps": 2},
        "outcome": {"any_rank": 1},
        "verdict": {"none": 1},
        "folder": {"x": 1, "y": 1},
    }
    assert numbers(client)["landmark"] == {"Eiffel Tower": 2, "Brandenburg Gate": 1}
    assert numbers(client)["outcome"] == {"any_rank": 4, "unknown": 1}
    defaults = {facet["facet"]: facet["default"] for facet in client.get("/api/facets").json()}
    assert {name: number for name, number in defaults.items() if number is not None} == {"outcome": 3}
    folders = [str(library.root / name) for name in "xy"]
    both = numbers(client, landmark=[EIFFEL, GATE], year=[2025, 2026], under=folders)
    assert both["year"] == {"2026": 2, "2025": 1}
    for refused, status in (("year=2024&year=0", 422), ("camera=Pixel+9", 404), ("limit=3", 422)):
        assert client.get(f"/api/facets?{refused}").status_code == status
