"""Photos counted by cells of a grid, on both databases."""

from random import Random

import pytest
from support.stored_photos import StoredPhotos

from tagger.library.query.find import find_tagged
from tagger.library.query.option_values import Near
from tagger.library.query.options import PhotoQuery
from tagger.library.query.position_clusters import PositionCell, merge_cells, position_cells


@pytest.mark.postgresql
def test_photos_of_a_cell_are_counted_by_source(library: StoredPhotos) -> None:
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
    camera, neighbour = (
        PositionCell("camera", 2, 48.80, 48.90, 2.30, 2.40, None, "France", 2),
        PositionCell("neighbour", 2, 48.85, 48.86, 2.35, 2.35, None, None, 4),
    )
    south = PositionCell("camera", 1, -33.9, -33.9, -70.6, -70.6, None, None, 5)
    cells = position_cells(library.database)
    assert merge_cells(cells, 1) == [south, camera, neighbour]
    assert (round(camera.latitude, 6), round(camera.longitude, 6), camera.place) == (48.85, 2.35, "France")
    assert 6.6 < camera.radius_km < 6.9
    assert south.radius_km > 0


def test_the_circle_of_a_cell_has_its_photos(library: StoredPhotos) -> None:
    random = Random(1)
    for n in range(60):
        spread = random.choice((0.01, 1, 90))
        library.photo(f"{n}.jpg")
        source = random.choice(("camera", "neighbour"))
        longitude = random.choice((-180.0, 2.0, 179.9)) + random.uniform(0, 0.1)
        library.position(f"{n}.jpg", random.uniform(-spread, spread), longitude, source=source)
    for degrees in (3, 50, 360):
        cells = merge_cells(position_cells(library.database), degrees)
        assert sum(cell.photos for cell in cells) == 60
        for cell in cells:
            near = Near(round(cell.latitude, 4), round(cell.longitude, 4), cell.radius_km)
            query = PhotoQuery(near=near, position=cell.source)  # type: ignore[arg-type]
            assert len(list(find_tagged(library.database, query))) >= cell.photos
