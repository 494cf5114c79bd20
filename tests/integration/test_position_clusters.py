"""Photos counted by cells of a grid, and their clusters on a map: none covers another, and none loses a photo; on both databases."""

from itertools import combinations
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stored_photos import StoredPhotos

from tagger.database.connection import Database
from tagger.query.find import find_tagged
from tagger.query.option_values import BoundingBox
from tagger.query.options import PhotoQuery
from tagger.query.position_clusters import (
    SPACING_PX,
    PositionCell,
    _pixels,
    cells_within,
    cluster_cells,
    position_cells,
)

WORLD = BoundingBox(-90.0, -180.0, 90.0, 180.0)


@st.composite
def any_cell(draw: st.DrawFn) -> PositionCell:
    south = draw(st.floats(-90, 89.9))
    west = draw(st.floats(-180, 179.9))
    city = draw(st.sampled_from((None, "Nice")))
    return PositionCell(draw(st.integers(1, 9)), south, south + 0.1, west, west + 0.1, city, "France", 1)


@given(st.lists(any_cell(), max_size=60), st.floats(0, 20))
def test_no_mark_covers_another_and_no_photo_is_lost(found: list[PositionCell], zoom: float) -> None:
    clusters = cluster_cells(found, WORLD, zoom)
    assert sum(cluster.photos for cluster in clusters) == sum(cell.photos for cell in found)
    for one, other in combinations(clusters, 2):
        (x, y), (other_x, other_y) = (_pixels(each.latitude, each.longitude, zoom) for each in (one, other))
        assert (x - other_x) ** 2 + (y - other_y) ** 2 >= (SPACING_PX - 1e-6) ** 2
    for cluster in clusters:
        assert cluster.bounds.contains(cluster.latitude, cluster.longitude)


@pytest.mark.postgresql
def test_a_map_of_any_scale_counts_all_photos_in_few_rows(database: Database, tmp_path: Path) -> None:
    library = StoredPhotos.with_tiny_model(database, tmp_path)
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
def test_photos_are_counted_by_cell_and_copies_at_one_position_once(library: StoredPhotos) -> None:
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


def test_the_circle_of_a_cell_has_its_photos(library: StoredPhotos) -> None:
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
