"""GPS positions that nobody can have reached from those of photos before or after."""

from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from support.position_library import NOON, PositionLibrary

from tagger.database.connection import Database
from tagger.library.positions import measured_positions as positions_of_images
from tagger.library.positions.measured_positions import (
    MeasuredPosition,
    contradicted_photos,
    measured_positions,
)

MAX_GAP_S = 7200.0
PARIS, ROME = (48.86, 2.29), (41.89, 12.49)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    return library


def measured(library: PositionLibrary) -> list[MeasuredPosition]:
    with library.database.read() as connection:
        return measured_positions(connection, range(1, 1000))


def contradicted(library: PositionLibrary, asked: list[MeasuredPosition]) -> set[int]:
    with library.database.read() as connection:
        return contradicted_photos(connection, asked, MAX_GAP_S)


@pytest.mark.postgresql
def test_a_photo_in_rome_between_two_in_paris_is_contradicted(library: PositionLibrary) -> None:
    shots = [
        library.shot(0, gps=PARIS),
        library.shot(10, gps=ROME),
        library.shot(20, gps=PARIS),
        library.shot(24 * 60, gps=ROME),
    ]
    assert contradicted(library, measured(library)) == {shots[1]}


def test_photos_of_other_cameras_and_impossible_years_say_nothing(library: PositionLibrary) -> None:
    library.camera("Nikon")
    library.shot(0, gps=PARIS)
    library.shot(10, gps=ROME, camera=2)
    library.shot(10, gps=ROME, camera=None)
    library.shot((NOON.replace(year=1980) - NOON) / timedelta(minutes=1), gps=ROME)
    assert contradicted(library, measured(library)) == set()


@pytest.mark.parametrize("longest", [1000, 3])
def test_the_answer_does_not_depend_on_which_photos_are_asked_about(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch, longest: int
) -> None:
    monkeypatch.setattr(positions_of_images, "_LONGEST_RUN", longest)
    rng, minutes = Random(7), 0.0
    for _ in range(40):
        minutes += rng.choice([5, 30, 110, 700])
        offset = rng.choice([None, None, 7200])
        library.shot(minutes, gps=rng.choice([PARIS, PARIS, ROME]), utc_offset_s=offset)
    asked = measured(library)
    one_by_one = [contradicted(library, [each]) for each in asked]
    together = contradicted(library, asked)
    assert together == set().union(*one_by_one)
    assert together
    assert len(together) < len(asked)
