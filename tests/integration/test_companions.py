"""Cameras that are used together: found by `locate`, stored, and forgotten when photos say otherwise."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.tables import cameras, photos, position_changes
from tagger.library.catalog.contents import record_photos
from tagger.library.positions import companions
from tagger.library.positions.locating import EstimateSettings, PositionCounts, locate

DAY = 24 * 60
EIFFEL = ("eiffel-tower", 0.97, True)
GATE = ("brandenburg-gate", 0.97, True)
PARIS, BERLIN, TURIN = (48.8584, 2.2945), (52.5163, 13.3777), (45.0703, 7.6869)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera("camera|canon", clock_offset_s=7200, clock_source="given")
    library.camera("camera|pixel")
    return library


@pytest.mark.postgresql
def test_a_camera_and_a_phone_locate_each_others_photos(library: PositionLibrary) -> None:
    _travel(library)
    photo = library.shot(DAY + 40)
    of_phone = library.shot(2 * DAY + 5, camera=2, utc_offset_s=7200)
    (found,) = _locate(library).companions
    assert found == companions.Companions(("camera|canon", "camera|pixel"), 4, 4)
    assert _stored(library) == {1: 1, 2: 1}
    assert library.found()[photo] == ("neighbour", *BERLIN)
    assert library.found()[of_phone][0] == "neighbour"
    assert _locate(library).moved == 0


def test_cameras_whose_time_is_not_known_in_utc_are_alone(library: PositionLibrary) -> None:
    with library.database.write() as connection:
        connection.execute(update(cameras).values(clock_offset_s=None, clock_source=None))
    library.camera("camera|nikon", clock_offset_s=-700_000_000, clock_source="given")
    for minutes, gps in ((0, PARIS), (DAY, BERLIN), (2 * DAY, (45.0, 7.0))):
        library.shot(minutes, gps=gps)
        library.shot(minutes, camera=2, gps=gps)
        library.shot(minutes, camera=3, gps=gps)
    assert _locate(library).companions == []


def test_companions_part_when_photos_say_otherwise(library: PositionLibrary) -> None:
    _travel(library)
    photo = library.shot(DAY + 40)
    _locate(library)
    assert photo in library.found()
    with library.database.write() as connection:
        connection.execute(update(photos).where(photos.c.camera_id == 2).values(latitude=10.0))
        of_phone = connection.scalars(select(photos.c.id).where(photos.c.camera_id == 2)).all()
        record_photos(connection, of_phone)
    assert _locate(library).companions == []
    assert _stored(library) == {1: None, 2: None}
    assert photo not in library.found()


def test_a_clock_that_is_set_moves_photos_of_companions(library: PositionLibrary) -> None:
    """The phone's photo without GPS was near a landmark that the camera photographed an hour later."""
    _travel(library)
    library.shot(10 * DAY, EIFFEL)
    of_phone = library.shot(10 * DAY, camera=2, utc_offset_s=7200)
    _locate(library)
    assert library.found()[of_phone] == ("neighbour", *PARIS)
    _locate(library, canon=10800)
    assert of_phone not in library.found()


def test_a_dry_run_stores_no_companions(library: PositionLibrary) -> None:
    _travel(library)
    library.update()
    assert len(_locate(library, dry_run=True).companions) == 1
    assert _stored(library) == {1: None, 2: None}
    with library.database.read() as connection:
        assert connection.execute(select(position_changes)).all() == []


def _travel(library: PositionLibrary) -> None:
    """Four days: the camera sees landmarks, the phone has GPS, and stays longer on the second day."""
    for minutes, landmark, gps in ((0, EIFFEL, PARIS), (DAY, GATE, BERLIN), (2 * DAY, EIFFEL, PARIS)):
        library.shot(minutes, landmark)
        library.shot(minutes + 5, camera=2, gps=gps, utc_offset_s=7200)
    library.shot(3 * DAY, gps=TURIN)
    library.shot(3 * DAY + 5, camera=2, gps=TURIN, utc_offset_s=7200)
    library.shot(DAY + 60, camera=2, gps=BERLIN, utc_offset_s=7200)


def _locate(library: PositionLibrary, *, dry_run: bool = False, **clocks: int) -> PositionCounts:
    settings = EstimateSettings(None, clocks)
    return locate(library.database, settings, None, lambda _done, _total: None, dry_run=dry_run)


def _stored(library: PositionLibrary) -> dict[int, Any]:
    with library.database.read() as connection:
        return {row.id: row.companions_id for row in connection.execute(select(cameras))}
