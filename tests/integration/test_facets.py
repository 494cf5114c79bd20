"""Counts of the choices of each filter are those of queries with that choice, on both databases."""
# ruff: noqa: DTZ001 - cameras know no time zone

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from support.artifacts import tiny_artifact
from support.large_library import make_library
from support.stored_photos import StoredPhotos

from tagger.catalog.registered_models import add_model
from tagger.database.connection import Database
from tagger.query import PhotoQuery, find_tagged
from tagger.query.facets import OUTCOMES, Facet, count_facets
from tagger.query.options import BoundingBox

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
SLUGS = (EIFFEL, GATE, VERSAILLES)
SOURCES = ("camera", "landmark", "track", "neighbour")

QUERIES: dict[str, dict[str, Any]] = {
    "tagged": {},
    "once": {"distinct": True},
    "any rank": {"any_rank": True},
    "unknown": {"unknown": True},
    "untagged": {"untagged": True},
    "dismissed": {"dismissed": True},
    "landmark": {"landmark": EIFFEL},
    "country": {"country": "France"},
    "country once": {"country": "Germany", "distinct": True},
    "country of any rank": {"country": "Germany", "any_rank": True},
    "box": {"box": BoundingBox(40.0, -10.0, 60.0, 30.0), "landmark": GATE},
    "position": {"position": "track"},
    "no position": {"position": "none", "unknown": True},
    "score": {"min_score": 0.8, "country": "France"},
    "camera": {"camera": ("Pixel 8", "Canon EOS 5D")},
    "verdict": {"verdict": "rejected"},
    "no verdict": {"verdict": "none", "distinct": True},
    "year": {"taken_after": datetime(2024, 1, 1), "taken_before": datetime(2025, 1, 1)},
    "folder": {"under": "a/b"},
    "all together": {"country": "France", "camera": ("Pixel 8",), "verdict": "none", "position": "any"},
}


@pytest.fixture
def library(database: Database, tmp_path: Path) -> StoredPhotos:
    """Photos of all kinds: copies, taught and dismissed ones, from three cameras and five folders, in four years."""
    tiny_artifact(tmp_path / "tiny.pt")
    library = StoredPhotos(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))
    cameras = [
        library.camera(None, "Pixel 8"),
        library.camera("Canon", "Canon EOS 5D", "1"),
        library.camera(),
    ]
    folders = ("", "a/", "a/b/", "a/b/c/", "ab/", "a'%_/")
    for n in range(48):
        path = f"{folders[n % 6]}{n:02}.jpg"
        tags = [(SLUGS[n % 3], 0.6 + n / 120, n % 4 > 0), (SLUGS[(n + 1) % 3], 0.55, n % 5 == 0)]
        taken_at = datetime(2022 + n % 4, 1 + n % 12, 1) if n % 7 else None
        library.photo(
            path,
            *tags,
            digest=f"picture {n // 2 * 2 if n > 30 else n}",
            classified=n % 11 > 0,
            taken_at=taken_at,
            camera_id=cameras[n // 2 % 3],
        )
        if n % 3:
            country = ("France", "Germany", None)[n % 7 % 3]
            library.position(path, 48.0 + n / 100, 2.0 + n % 5 * 3, country, SOURCES[n % 4])
    for n, slug, verdict in (
        (2, EIFFEL, "confirmed"),
        (7, GATE, "rejected"),
        (7, EIFFEL, "confirmed"),
        (10, GATE, "rejected"),
    ):
        library.verdict(f"picture {n}", slug, verdict)
    library.dismiss("picture 13")
    library.gone("a/25.jpg")
    return library


def query_of(library: StoredPhotos, options: Mapping[str, Any]) -> PhotoQuery:
    under = (library.root / options["under"],) if "under" in options else ()
    return PhotoQuery(**{**options, "under": under})


def with_choice(query: PhotoQuery, facet: str, value: str) -> PhotoQuery:
    """The query with another choice of a facet."""
    if facet == "year":
        year = int(value)
        return replace(query, taken_after=datetime(year, 1, 1), taken_before=datetime(year + 1, 1, 1))
    if facet == "outcome":
        return replace(query, **{name: name == value for name in OUTCOMES})  # type: ignore[arg-type]
    several: dict[str, Any] = {"camera": ("camera", (value,)), "folder": ("under", (Path(value),))}
    option, chosen = several.get(facet, (facet, value))
    return replace(query, **{option: chosen})


def number_of(library: StoredPhotos, query: PhotoQuery) -> int:
    # Sorted, as the grid of the page; otherwise copies are not counted once.
    return len(list(find_tagged(library.database, query)))


def choices(library: StoredPhotos) -> dict[str, list[str]]:
    folders = ["a", "a/b", "a/b/c", "ab", "a'%_"]
    return {
        "landmark": list(SLUGS),
        "country": ["France", "Germany"],
        "year": ["2022", "2023", "2024", "2025"],
        "camera": ["Pixel 8", "Canon EOS 5D"],
        "position": [*SOURCES, "any", "none"],
        "outcome": list(OUTCOMES),
        "verdict": ["confirmed", "rejected", "corrected", "any", "none"],
        "folder": [str(library.root / folder) for folder in folders],
    }


def counted(facets: list[Facet]) -> dict[str, dict[str, int]]:
    return {facet.facet: {value.value: value.photos for value in facet.values} for facet in facets}


def test_each_choice_has_the_number_of_a_query_with_it(library: StoredPhotos) -> None:
    compared = 0
    for label, options in QUERIES.items():
        query = query_of(library, options)
        facets = count_facets(library.database, query)
        assert all(facet.exact for facet in facets)
        counts = counted(facets)
        for facet, values in choices(library).items():
            for value in values:
                if value in counts[facet]:
                    expected = number_of(library, with_choice(query, facet, value))
                    assert counts[facet][value] == expected, (label, facet, value)
                    compared += 1
    assert compared > 300


def test_a_choice_is_left_out_if_no_photo_has_it_or_it_contradicts_others(library: StoredPhotos) -> None:
    counts = counted(count_facets(library.database, PhotoQuery()))
    assert set(counts["landmark"]) == set(SLUGS)
    assert set(counts["folder"]) == {str(library.root / name) for name in ("a", "ab", "a'%_")}
    assert list(counts["year"]) == ["2025", "2024", "2023", "2022"]
    assert counts["camera"].keys() == {"Pixel 8", "Canon EOS 5D"}
    unknown = counted(count_facets(library.database, PhotoQuery(unknown=True)))
    assert unknown["landmark"] == {}
    assert unknown["outcome"] == counts["outcome"]
    untagged = counted(count_facets(library.database, PhotoQuery(untagged=True)))
    assert untagged["country"] == untagged["position"] == untagged["verdict"] == {}


def test_an_open_folder_shows_its_folders_and_those_beside_it(library: StoredPhotos) -> None:
    query = PhotoQuery(under=(library.root / "a" / "b",), any_rank=True)
    names = counted(count_facets(library.database, query))["folder"]
    assert names.keys() == {str(library.root / name) for name in ("a", "ab", "a'%_", "a/b", "a/b/c")}


def test_many_photos_are_counted_among_the_newest(library: StoredPhotos) -> None:
    everything = counted(count_facets(library.database, PhotoQuery(any_rank=True)))
    facets = count_facets(library.database, PhotoQuery(any_rank=True), most_read=10)
    few = counted(facets)
    assert not any(facet.exact for facet in facets if facet.facet in {"landmark", "year", "folder"})
    assert 0 < sum(few["year"].values()) <= 10
    for facet, counts in few.items():
        assert all(count <= everything[facet][value] for value, count in counts.items())
    narrow = count_facets(library.database, PhotoQuery(verdict="rejected"), most_read=10)
    assert {facet.facet: facet.exact for facet in narrow}["landmark"]


def test_the_cost_of_a_large_library_is_bounded(tmp_path: Path) -> None:
    steps = [steps_of_facets(f"sqlite:///{tmp_path}/{photos}.sqlite", photos) for photos in (4_000, 16_000)]
    assert steps[1] < 1.5 * steps[0]


def steps_of_facets(url: str, photos: int) -> int:
    """The thousands of instructions that SQLite executes for the facets of all photos, counted among 1000."""
    library = make_library(url, photos)
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    @event.listens_for(Engine, "before_cursor_execute")
    def watch(_connection: Any, cursor: Any, *_rest: Any) -> None:
        cursor.connection.set_progress_handler(count, 1000)

    try:
        facets = count_facets(library, PhotoQuery(any_rank=True, distinct=True), most_read=1000)
    finally:
        event.remove(Engine, "before_cursor_execute", watch)
        library.close()
    assert {facet.exact for facet in facets} == {False}
    return steps
