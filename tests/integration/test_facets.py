"""Counts of the choices of each filter are those of queries with that choice, on both databases."""
# ruff: noqa: DTZ001 - cameras know no time zone

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import combinations, cycle
from pathlib import Path
from typing import Any

import pytest
from support.databases import statements
from support.stored_photos import StoredPhotos

from tagger.query import BoundingBox
from tagger.query.facets import OUTCOMES, Facet, FacetValue, count_facets
from tagger.query.find import find_tagged
from tagger.query.options import Alternatives, PhotoQuery

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
SLUGS = (EIFFEL, GATE, VERSAILLES)
SOURCES = ("camera", "landmark", "track", "neighbour")

FAILURE = {"failure_kind": "damaged", "failure_text": "It ends too early.", "failure_attempts": 1}


def alternatives(text: str) -> Alternatives:
    return Alternatives.parse(text, "any_of")


QUERIES: dict[str, dict[str, Any]] = {
    "tagged": {},
    "once": {"distinct": True},
    "any rank": {"any_rank": True},
    "unknown": {"unknown": True},
    "untagged": {"untagged": True},
    "failed": {"failed": True},
    "dismissed": {"dismissed": True},
    "landmarks": {"landmark": (EIFFEL, GATE), "min_score": 0.7},
    "countries": {"country": ("France", "Germany"), "landmark": (GATE, VERSAILLES)},
    "years": {"year": (2022, 2024), "any_rank": True},
    "folders": {"under": ("a/b", "ab"), "any_rank": True},
    "landmark": {"landmark": EIFFEL},
    "country": {"country": "France"},
    "country once": {"country": "Germany", "distinct": True},
    "country of any rank": {"country": "Germany", "any_rank": True},
    "box": {"box": BoundingBox(40.0, -10.0, 60.0, 30.0), "landmark": GATE},
    "position": {"position": "track"},
    "no position": {"position": "none", "unknown": True},
    "no GPS": {"position": "no-gps", "any_rank": True},
    "score": {"min_score": 0.8, "country": "France"},
    "camera": {"camera": ("Pixel 8", "Canon EOS 5D")},
    "verdict": {"verdict": "rejected"},
    "no verdict": {"verdict": "none", "distinct": True},
    "dates": {"taken_after": datetime(2024, 1, 1), "taken_before": datetime(2025, 1, 1)},
    "year": {"year": (2024,), "taken_after": datetime(2023, 1, 1)},
    "folder": {"under": "a/b"},
    "any of": {"any_of": (alternatives("country=Germany|year=2022"),), "any_rank": True},
    "without": {
        "without": (alternatives("country=France"), alternatives("landmark=eiffel-tower")),
        "distinct": True,
    },
    "all together": {"country": "France", "camera": ("Pixel 8",), "verdict": "none", "position": "any"},
}


@pytest.fixture(scope="module")
def library(shared_database, tmp_path_factory) -> StoredPhotos:
    """Photos of all kinds: copies, taught and dismissed ones, from three cameras and five folders, in four years."""
    library = StoredPhotos.with_tiny_model(shared_database, tmp_path_factory.mktemp("library"))
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
    for path, digest in (("a/fails.jpg", None), ("ab/fails.jpg", None), ("a/b/fails.jpg", "picture 2")):
        library.photo(path, (EIFFEL, 0.9, True), digest=digest, classified=digest is not None, **FAILURE)
    library.dismiss("picture 13")
    library.gone("a/25.jpg")
    return library


def query_of(library: StoredPhotos, options: Mapping[str, Any]) -> PhotoQuery:
    folders = options.get("under", ())
    names = (folders,) if isinstance(folders, str) else folders
    return PhotoQuery(**{**options, "under": tuple(library.root / name for name in names)})


def with_choice(query: PhotoQuery, facet: str, value: str) -> PhotoQuery:
    if facet == "year":
        return replace(query, year=(int(value),))
    if facet == "outcome":
        return replace(query, **{name: name == value for name in OUTCOMES})
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
        "outcome": list(OUTCOMES),
        "folder": [str(library.root / folder) for folder in folders],
    }


def counted(facets: list[Facet]) -> dict[str, dict[str, int]]:
    return {facet.facet: {value.value: value.photos for value in facet.values} for facet in facets}


@pytest.mark.parametrize(("every", "queries"), [(24, 4), pytest.param(1, 1, marks=pytest.mark.slow)])
def test_each_choice_has_the_number_of_a_query_with_it(library, every, queries):
    """A fourth of the queries, each with some of the choices in turn; all of them in the long form."""
    compared = 0
    for label, options in list(QUERIES.items())[::queries]:
        query = query_of(library, options)
        facets = count_facets(library.database, query)
        assert all(facet.exact for facet in facets)
        counts = counted(facets)
        (default,) = (facet.default for facet in facets if facet.facet == "outcome")
        if default is not None:
            assert default == number_of(library, with_choice(query, "outcome", "")), label
            compared += 1
        for facet, values in choices(library).items():
            for value in values:
                if value not in counts[facet]:
                    continue
                if compared % every == 0:
                    expected = number_of(library, with_choice(query, facet, value))
                    assert counts[facet][value] == expected, (label, facet, value)
                compared += 1
    assert compared > 250 // queries


def test_choices_of_no_photo_are_left_out_and_photos_read_once(library):
    counts = counted(count_facets(library.database, PhotoQuery()))
    assert set(counts["landmark"]) == set(SLUGS)
    assert set(counts["folder"]) == {str(library.root / name) for name in ("a", "ab", "a'%_")}
    assert list(counts["year"]) == ["2025", "2024", "2023", "2022"]
    assert counts["camera"].keys() == {"Pixel 8", "Canon EOS 5D"}
    unknown = counted(count_facets(library.database, PhotoQuery(unknown=True)))
    assert unknown["landmark"] == {}
    assert unknown["outcome"] == counts["outcome"]
    untagged = counted(count_facets(library.database, PhotoQuery(untagged=True)))
    assert untagged["country"] == {}
    with statements(library.database, "AS unit, photos.content_id") as seen:
        count_facets(library.database, PhotoQuery(distinct=True))
    assert len(seen) == 2  # countries need other photos, and count copies
    with statements(library.database, "AS unit, photos.content_id") as seen:
        count_facets(library.database, PhotoQuery(year=(2022,)))
    assert len(seen) == 3


def count_folders(library: StoredPhotos, *under: Path) -> tuple[FacetValue, ...]:
    query = PhotoQuery(any_rank=True, under=under)
    (facet,) = count_facets(library.database, query, names=["folder"])
    return facet.values


def test_a_chosen_folder_or_root_shows_its_folders(library):
    closed = {value.name: value for value in count_folders(library)}
    assert {name for name, value in closed.items() if value.has_folders} == {"a"}
    values = count_folders(library, library.root / "a")
    opened = {Path(value.value).relative_to(library.root).as_posix(): value for value in values}
    assert opened.keys() == {*closed, "a/b"}
    assert (opened["a/b"].has_folders, opened["a"]) == (True, closed["a"])
    inside = with_choice(PhotoQuery(any_rank=True), "folder", str(library.root / "a" / "b"))
    assert opened["a/b"].photos == number_of(library, inside)
    query = PhotoQuery(any_rank=True, under=(library.root,))
    folders = counted(count_facets(library.database, query))["folder"]
    assert folders[str(library.root)] == number_of(library, query)
    assert str(library.root / "a") in folders


def test_several_roots_are_the_outermost_folders(database, tmp_path):
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("a/1.jpg", (EIFFEL, 0.9, True))
    other = StoredPhotos(library.database, tmp_path / "more", library.model)
    other.photo("trip/1.jpg", (GATE, 0.9, True))
    roots = count_folders(library)
    assert [(value.value, value.has_folders) for value in roots] == [
        (str(library.root), True),
        (str(other.root), True),
    ]
    opened = count_folders(library, other.root)
    assert {value.value: value.photos for value in opened} == {
        **{value.value: value.photos for value in roots},
        str(other.root / "trip"): 1,
    }


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.slow)])
def test_several_choices_find_the_photos_of_any_of_them(library, every):
    """Each choice with each other filter, in one of the orders in turn; in all orders in the long form."""
    choices: dict[str, tuple[Any, ...]] = {
        "landmark": (EIFFEL, GATE),
        "country": ("France", "Germany"),
        "year": (2022, 2025),
        "under": (library.root / "a" / "b", library.root / "ab"),
    }
    others: tuple[dict[str, Any], ...] = (
        {},
        {"any_rank": True},
        {"min_score": 0.7},
        {"verdict": "none"},
        {"box": BoundingBox(40.0, -10.0, 60.0, 30.0)},
        {"landmark": (GATE, VERSAILLES)},
        {"country": ("Germany", "France")},
        {"year": (2023, 2022)},
    )
    compared = turn = 0
    for option, values in choices.items():
        for other in others:
            if option in other:
                continue
            query = PhotoQuery(**{**other, option: values})
            each = [paths(library, replace(query, **{option: (value,)})) for value in values]
            turn += 1
            for sort in (None, "newest", "oldest", "name")[turn % every :: every]:
                found = paths(library, replace(query, sort=sort))
                assert len(found) == len(set(found))
                assert set(found) == set().union(*each), (option, other, sort)
                compared += bool(found)
    assert compared > 60 // every


@pytest.mark.postgresql
def test_alternatives_find_the_photos_of_any_and_exclusions_all_others(library):
    terms = (
        "landmark=Eiffel Tower",
        "country=Germany",
        "near=48.2,8.0&radius_km=300",
        "year=2022&year=2024",
        f"under={library.root}/a/b",
        "camera=Pixel 8",
        "position=none",
        "verdict=corrected",
        "unknown=1",
    )
    everything = set(paths(library, PhotoQuery(any_rank=True)))
    photos = {
        term: set(paths(library, replace(alternatives(term).queries[0], any_outcome=True))) & everything
        for term in terms
    }
    assert len({*map(frozenset, photos.values()), frozenset()}) == len(terms) + 1
    for sort, (one, other) in zip(cycle(("newest", None, "name")), combinations(terms, 2), strict=False):
        either = alternatives(f"{one}|{other}")
        assert alternatives(str(either)) == either
        of_any = paths(library, PhotoQuery(any_rank=True, any_of=(either,), sort=sort))
        assert (len(of_any), set(of_any)) == (len(set(of_any)), photos[one] | photos[other])
        for without in ((either,), (alternatives(one), alternatives(other))):
            of_none = paths(library, PhotoQuery(any_rank=True, without=without, sort=sort))
            assert (len(of_none), set(of_none)) == (len(set(of_none)), everything - set(of_any))


def paths(library: StoredPhotos, query: PhotoQuery) -> list[str]:
    return [photo.path for photo in find_tagged(library.database, query)]


def test_many_photos_are_counted_among_the_newest(library, monkeypatch):
    everything = counted(count_facets(library.database, PhotoQuery(any_rank=True)))
    monkeypatch.setattr("tagger.query.facets.MOST_READ", 10)
    facets = count_facets(library.database, PhotoQuery(any_rank=True))
    few = counted(facets)
    assert not any(facet.exact for facet in facets if facet.facet in {"landmark", "year", "folder"})
    assert 0 < sum(few["year"].values()) <= 10
    for facet, counts in few.items():
        assert all(count <= everything[facet][value] for value, count in counts.items())
    narrow = count_facets(library.database, PhotoQuery(verdict="rejected"))
    assert {facet.facet: facet.exact for facet in narrow}["landmark"]
