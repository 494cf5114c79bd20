"""Photos in areas: near a place, in a box or a country, and in the clusters of a map."""

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import combinations
from random import Random
from typing import Any

import pytest
from hypothesis import given, strategies as st
from sqlalchemy import event, insert, select
from support.databases import query_plans
from support.stored_photos import StoredPhotos

from tagger.database.statements import insert_page
from tagger.database.tables import contents, landmarks, photos, positions
from tagger.errors import CountryNotFound
from tagger.query import BoundingBox, filters
from tagger.query.counts import landmark_counts
from tagger.query.facets import count_facets
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import (
    SPACING_PX,
    PositionCell,
    _pixels,
    cells_within,
    cluster_cells,
    position_cells,
)
from tagger.query.timeline import SectionStart, find_section_ids, timeline_sections
from tagger.verdicts import VerdictFilter, list_verdicts

EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
AT_EIFFEL: dict[str, Any] = {"near": (48.8584, 2.2945), "radius_km": 2.0}


def found(library: StoredPhotos, **options: object) -> dict[str, list[str]]:
    """The landmarks of each photo that matches, by path below the root."""
    photos = list(find_tagged(library.database, PhotoQuery(**options)))
    by_path = {
        os.path.relpath(photo.path, library.root): [tag.landmark for tag in photo.tags] for photo in photos
    }
    assert len(by_path) == len(photos)
    return by_path


@pytest.mark.postgresql
def test_near_finds_photos_by_any_position_with_and_without_tags(library):
    for source in ("camera", "landmark", "track", "neighbour"):
        library.photo(f"{source}.jpg")
        library.position(f"{source}.jpg", 48.86, 2.29, source=source)
    library.photo("tagged.jpg", (VERSAILLES, 0.9, True))
    library.position("tagged.jpg", 48.86, 2.29)
    library.photo("far.jpg")
    library.position("far.jpg", 48.9, 2.29)
    library.photo("new.jpg", classified=False)
    everywhere: dict[str, list[str]] = {
        **{f"{source}.jpg": [] for source in ("camera", "landmark", "track", "neighbour")},
        "tagged.jpg": [VERSAILLES],
    }
    assert found(library, **AT_EIFFEL) == everywhere
    assert found(library, **AT_EIFFEL, position="track") == {"track.jpg": []}
    assert found(library, **AT_EIFFEL, position="any") == everywhere
    assert found(library, **AT_EIFFEL, landmark=VERSAILLES) == {"tagged.jpg": [VERSAILLES]}
    assert found(library, **AT_EIFFEL, min_score=0.5) == {"tagged.jpg": [VERSAILLES]}
    assert found(library, **AT_EIFFEL, unknown=True).keys() == everywhere.keys() - {"tagged.jpg"}


def test_the_position_of_a_photo_counts_before_that_of_its_landmark(library):
    library.photo("without.jpg", (EIFFEL, 0.9, True))
    library.photo("berlin.jpg", (EIFFEL, 0.9, True))
    library.position("berlin.jpg", 52.5, 13.4)
    assert found(library, **AT_EIFFEL) == {"without.jpg": [EIFFEL]}
    assert found(library, near=(52.5, 13.4), radius_km=1.0) == {"berlin.jpg": [EIFFEL]}
    assert found(library, **AT_EIFFEL, position="any") == {}


def test_near_is_exact_across_the_date_line_and_at_the_poles(library):
    for name, latitude, longitude in (
        ("fiji east.jpg", -17.0, 179.95),
        ("fiji west.jpg", -17.0, -179.95),
        ("pole.jpg", 89.99, -100.0),
        ("other side.jpg", 89.99, 80.0),
        ("corner of the box.jpg", -16.905, -179.905),
    ):
        library.photo(name)
        library.position(name, latitude, longitude)
    assert found(library, near=(-17.0, 180.0), radius_km=10.0).keys() == {"fiji east.jpg", "fiji west.jpg"}
    assert found(library, near=(-17.0, -180.0), radius_km=10.0).keys() == {"fiji east.jpg", "fiji west.jpg"}
    assert found(library, near=(89.99, 80.0), radius_km=3.0).keys() == {"pole.jpg", "other side.jpg"}
    assert found(library, near=(90.0, 0.0), radius_km=3.0).keys() == {"pole.jpg", "other side.jpg"}
    assert found(library, near=(-17.0, 179.95), radius_km=0.0).keys() == {"fiji east.jpg"}
    assert len(found(library, near=(0.0, 0.0), radius_km=30_000.0)) == 5


def test_a_box_has_its_edges_and_may_cross_the_date_line(library):
    for name, latitude, longitude in (
        ("fiji east.jpg", -17.0, 179.95),
        ("fiji west.jpg", -17.0, -179.95),
        ("paris.jpg", 48.86, 2.29),
        ("nice.jpg", 43.7, 7.3),
    ):
        library.photo(name)
        library.position(name, latitude, longitude)
    library.photo("without.jpg", (EIFFEL, 0.9, True))
    fiji = {"fiji east.jpg", "fiji west.jpg"}
    assert found(library, box=BoundingBox(-18.0, 179.0, -16.0, -179.0)).keys() == fiji
    assert found(library, box=BoundingBox(-18.0, 179.0, -16.0, 180.0)).keys() == {"fiji east.jpg"}
    assert found(library, box=BoundingBox(43.7, 7.3, 43.7, 7.3)) == {"nice.jpg": []}
    everywhere_near_paris = {"paris.jpg": [], "without.jpg": [EIFFEL]}
    assert found(library, box=BoundingBox(48.0, 2.0, 49.0, 3.0)) == everywhere_near_paris
    assert found(library, box=BoundingBox(48.0, 2.0, 49.0, 3.0), position="any").keys() == {"paris.jpg"}
    assert found(library, box=BoundingBox(40.0, 0.0, 50.0, 9.0), **AT_EIFFEL) == everywhere_near_paris
    assert len(found(library, box=BoundingBox(-90.0, -180.0, 90.0, 180.0))) == 5


def test_countries_and_verdicts_are_those_of_positions_or_landmarks(library):
    library.photo("eiffel.jpg", (EIFFEL, 0.9, True))
    library.photo("gate.jpg", (GATE, 0.9, True), (EIFFEL, 0.1, False))
    library.photo("nice.jpg")
    library.position("nice.jpg", 43.7, 7.3, "France")
    library.photo("peru.jpg", (EIFFEL, 0.9, True), (GATE, 0.6, True))
    library.position("peru.jpg", -13.2, -72.5, "Peru")
    assert found(library, country="france") == {
        "eiffel.jpg": [EIFFEL],
        "nice.jpg": [],
        "peru.jpg": [EIFFEL, GATE],
    }
    assert found(library, country="PERU") == {"peru.jpg": [EIFFEL, GATE]}
    assert found(library, country="France", near=(-13.2, -72.5), radius_km=5.0) == {
        "peru.jpg": [EIFFEL, GATE]
    }
    assert found(library, country="France", landmark=GATE) == {}
    with pytest.raises(CountryNotFound, match="Did you mean Peru"):
        found(library, country="Perux")
    library.photo("paris.jpg", (EIFFEL, 0.9, True), (GATE, 0.6, True), digest="paris")
    library.position("paris.jpg", 48.86, 2.29, "France")
    for slug in (EIFFEL, GATE):
        library.verdict("paris", slug, "confirmed")
    for area in ({"country": "France"}, AT_EIFFEL):
        listed = list_verdicts(library.database, VerdictFilter(photos=PhotoQuery(**area)))
        assert [verdict.landmark for verdict in listed] == [EIFFEL]


def add_landmarks(library: StoredPhotos, number: int) -> list[str]:
    slugs = [f"place-{n}" for n in range(number)]
    at = {"country": "Peru", "latitude": -13.2, "longitude": -72.5}
    with library.database.write() as connection:
        connection.execute(insert(landmarks), [{"slug": slug, "name": slug, **at} for slug in slugs])
        added = select(landmarks.c.slug, landmarks.c.id).where(landmarks.c.country == "Peru")
        library.landmark_ids |= {row.slug: row.id for row in connection.execute(added)}
    return slugs


IN_PERU: dict[str, Any] = {"near": (-13.2, -72.5), "radius_km": 5.0}


def test_the_landmarks_of_an_area_are_few_parameters_of_a_statement(library):
    slugs = add_landmarks(library, 200)
    library.photo("first.jpg", (slugs[1], 0.9, True))
    library.photo("last.jpg", (slugs[-1], 0.9, True))
    library.verdict("digest of last.jpg", slugs[-1], "confirmed")
    library.photo("paris.jpg", (EIFFEL, 0.9, True))
    shown = {"first.jpg": [slugs[1]], "last.jpg": [slugs[-1]]}
    in_area = {**IN_PERU, "country": "Peru", "box": BoundingBox(-14.0, -73.0, -13.0, -72.0)}
    query = PhotoQuery(**in_area)
    with few_parameters(library):
        assert found(library, **in_area) == shown
        assert found(library, **in_area, any_rank=True) == shown
        assert found(library, **in_area, sort="name").keys() == shown.keys()
        facets = {facet.facet: facet.values for facet in count_facets(library.database, query)}
        assert sorted(value.value for value in facets["landmark"]) == sorted((slugs[1], slugs[-1]))
        counts = landmark_counts(library.database, "Peru")
        assert {count.landmark: count.photos for count in counts} == {slugs[1]: 1, slugs[-1]: 1}
        listed = list_verdicts(library.database, VerdictFilter(photos=PhotoQuery(country="Peru")), {})
        assert [verdict.landmark for verdict in listed] == [slugs[-1]]


@contextmanager
def few_parameters(library: StoredPhotos) -> Iterator[None]:
    """Let SQLite accept fewer parameters of a statement than usual, as if there were ten times the landmarks."""
    if not library.database.is_sqlite:
        yield
        return

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 1_000)

    library.database._engine.dispose()
    event.listen(library.database._engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(library.database._engine, "connect", limit)


def test_counts_ids_and_facets_of_a_circle_are_exact(library):
    for name, latitude, longitude in (
        ("inside.jpg", 10.089, 20.0),  # 9.9 km
        ("outside.jpg", 10.09, 20.0),  # 10.01 km
        ("corner.jpg", 10.08, 20.08),
    ):
        library.photo(name, (EIFFEL, 0.9, True))
        library.position(name, latitude, longitude)
    query = PhotoQuery(near=(10.0, 20.0), radius_km=10.0, sort="newest")
    assert [section.photos for section in timeline_sections(library.database, query)] == [1]
    ids, _ = find_section_ids(library.database, query, None, SectionStart(), 10)
    assert len(ids) == 1
    facets = {facet.facet: facet.values for facet in count_facets(library.database, query)}
    assert [(value.value, value.photos) for value in facets["landmark"]] == [(EIFFEL, 1)]


@pytest.mark.slow
@pytest.mark.postgresql
def test_areas_cameras_and_verdicts_are_read_along_an_index(library, monkeypatch):
    monkeypatch.setattr(filters, "FEW", 0)
    library.photo("a.jpg", camera_id=library.camera("Google", "Pixel 8"))
    library.position("a.jpg", 48.86, 2.29, "France")
    library.verdict("digest of a.jpg", EIFFEL, "confirmed")
    for options, index in (
        (AT_EIFFEL, "ix_positions_latitude_longitude_photo_id"),
        ({"country": "France"}, "ix_positions_country_region_city_latitude_longitude_photo_id"),
        ({"camera": ("Google Pixel 8",)}, "ix_photos_camera"),
        ({"verdict": "confirmed"}, "ix_photos_content_id_gone_since"),
    ):
        with query_plans(library.database, "photos.path") as plans:
            assert found(library, **options).keys() == {"a.jpg"}
        assert any(index in plan for plan in plans), options
        assert not any("Seq Scan on photos" in plan for plan in plans), options


@pytest.mark.slow
@pytest.mark.postgresql
def test_a_circle_in_a_library_with_statistics_reads_no_whole_table(library):
    _spread_photos(library, 4000)
    near = {"near": (0.0, 2000 * 7.0 % 360 - 180), "radius_km": 5.0}
    for unknown in (False, True):
        with query_plans(library.database, "photos.path") as plans:
            assert found(library, **near, unknown=unknown).keys() == {"2000.jpg"}
        assert any("ix_positions_latitude_longitude_photo_id" in plan for plan in plans)
        for plan in plans:
            assert not re.search(r"(Seq Scan on|SCAN) (photos|positions|contents)\b", plan)


def _spread_photos(library: StoredPhotos, count: int) -> None:
    """Insert photos without tags from 60° south to 60° north, and let the database gather statistics."""
    numbers = range(1, count + 1)
    model = library.model.id
    with library.database.write() as connection:
        images = ((n, f"digest {n}", model, 5, 0.5, "unknown") for n in numbers)
        insert_page(
            connection, contents, ("id", "digest", "model_id", "top_k", "threshold", "outcome"), images
        )
        files = ((n, library.root_id, f"{n}.jpg", b"", 1000, 1, n) for n in numbers)
        names = ("id", "root_id", "path", "path_bytes", "size_bytes", "mtime_ns", "content_id")
        insert_page(connection, photos, names, files)
        places = ((n, 120 * n / count - 60, n * 7.0 % 360 - 180, 30.0, "camera", "{}") for n in numbers)
        names = ("photo_id", "latitude", "longitude", "error_m", "source", "evidence")
        insert_page(connection, positions, names, places)
        connection.exec_driver_sql("ANALYZE")


@pytest.mark.postgresql
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"country": ("FR",)},
        AT_EIFFEL,
        {"box": "48,2,49,3"},
        {"position": "camera"},
        {"country": ("FR",), "landmark": EIFFEL},
        {"any_of": ("country=FR|landmark=eiffel-tower",)},
        {"without": ("country=FR",)},
    ],
    ids=str,
)
def test_a_picture_counts_once_however_it_is_filtered(library, options):
    """The copy that came by a messenger has no position; another is in two folders as it is."""
    tag = (EIFFEL, 0.9, True)
    for digest in ("a", "b"):
        for folder in ("camera", "backup", "messenger"):
            path = f"{folder}/{digest}.jpg"
            library.photo(path, *([tag] if folder == "camera" else []), digest=digest)
            if folder != "messenger":
                library.position(path, 48.86, 2.29, country="FR")
    query = PhotoQuery.parse({**options, "sort": "newest"})
    once = replace(query, distinct=True)
    digests = {photo.digest for photo in find_tagged(library.database, query)}
    assert len(list(find_tagged(library.database, once))) == len(digests)
    sections = timeline_sections(library.database, once)
    assert sum(section.photos for section in sections) == len(digests)
    facets = {facet.facet: facet.values for facet in count_facets(library.database, once)}
    assert {value.photos for value in facets["landmark"]} <= {len(digests)}


@st.composite
def any_cell(draw: st.DrawFn) -> PositionCell:
    south = draw(st.floats(-90, 89.9))
    west = draw(st.floats(-180, 179.9))
    city = draw(st.sampled_from((None, "Nice")))
    return PositionCell(draw(st.integers(1, 9)), south, south + 0.1, west, west + 0.1, city, "France", 1)


@given(st.lists(any_cell(), max_size=60), st.floats(0, 20))
def test_no_mark_covers_another_and_no_photo_is_lost(found, zoom):
    clusters = cluster_cells(found, BoundingBox(-90.0, -180.0, 90.0, 180.0), zoom)
    assert sum(cluster.photos for cluster in clusters) == sum(cell.photos for cell in found)
    for one, other in combinations(clusters, 2):
        (x, y), (other_x, other_y) = (_pixels(each.latitude, each.longitude, zoom) for each in (one, other))
        assert (x - other_x) ** 2 + (y - other_y) ** 2 >= (SPACING_PX - 1e-6) ** 2
    for cluster in clusters:
        assert cluster.bounds.contains(cluster.latitude, cluster.longitude)


@pytest.mark.postgresql
def test_a_map_of_any_scale_counts_all_photos_in_few_rows(library, database):
    random = Random(1)
    for n in range(40):
        library.photo(f"{n}.jpg")
        source = random.choice(("camera", "landmark"))
        library.position(f"{n}.jpg", random.uniform(43.6, 43.8), random.uniform(7.2, 7.3), "France", source)
    library.photo("elsewhere.jpg")
    library.position("elsewhere.jpg", 48.86, 2.29)
    library.gone("7.jpg")
    bounds = BoundingBox(43.0, 7.0, 44.0, 8.0)
    for zoom in (0.0, 3.5, 7.0, 12.0, 20.0):
        found = cells_within(database, bounds, zoom)
        assert sum(cell.photos for cell in found) == 39
        clusters = cluster_cells(found, bounds, zoom)
        assert sum(cluster.photos for cluster in clusters) == 39
        if zoom < 5:
            assert len(clusters) == 1
            assert clusters[0].place == "France"


@pytest.mark.postgresql
def test_photos_are_counted_by_cell_and_copies_at_one_position_once(library):
    for n, (latitude, longitude, country, source) in enumerate(
        (
            (48.80, 2.30, "France", "camera"),
            (48.90, 2.40, "France", "camera"),
            (48.85, 2.35, "France", "neighbour"),
            (48.86, 2.35, "Spain", "neighbour"),
            (-33.9, -70.6, None, "camera"),
        )
    ):
        library.photo(f"{n}.jpg")
        library.position(f"{n}.jpg", latitude, longitude, country, source)
    library.photo("gone.jpg")
    library.position("gone.jpg", 0.0, 0.0)
    library.gone("gone.jpg")
    for path, latitude in (("copy.jpg", 48.80), ("elsewhere.jpg", 0.0)):
        library.photo(path, digest="digest of 0.jpg")
        library.position(path, latitude, 2.30, "France")
    paris = PositionCell(4, 48.80, 48.90, 2.30, 2.40, None, None, 4)
    south = PositionCell(1, -33.9, -33.9, -70.6, -70.6, None, None, 5)
    elsewhere = PositionCell(1, 0.0, 0.0, 2.30, 2.30, None, "France", 8)
    assert sorted(position_cells(library.database), key=lambda cell: cell.south) == [
        south,
        elsewhere,
        paris,
    ]
    assert (round(paris.latitude, 6), round(paris.longitude, 6), paris.place) == (48.85, 2.35, "")
    assert 6.6 < paris.radius_km < 6.9
    assert south.radius_km > 0


def test_the_circle_of_a_cell_has_its_photos(library):
    random = Random(1)
    for n in range(60):
        spread = random.choice((0.01, 1, 90))
        library.photo(f"{n}.jpg")
        source = random.choice(("camera", "neighbour"))
        longitude = random.choice((-180.0, 2.0, 179.9)) + random.uniform(0, 0.1)
        library.position(f"{n}.jpg", random.uniform(-spread, spread), longitude, source=source)
    for zoom in (0, 3, 8):
        cells = cells_within(library.database, BoundingBox(-90, -180, 90, 180), zoom)
        assert sum(cell.photos for cell in cells) == 60
        for cell in cells:
            near = round(cell.latitude, 4), round(cell.longitude, 4)
            assert (
                len(list(find_tagged(library.database, PhotoQuery(near=near, radius_km=cell.radius_km))))
                >= cell.photos
            )
