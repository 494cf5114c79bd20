"""Cameras that tracks cannot locate, because nobody knows how their clocks are set."""

from pathlib import Path

from support.gpx_files import START, walk, write_gpx
from support.position_library import NOON, PositionLibrary

from tagger.database.connection import Database
from tagger.library.positions.clocks import UnknownClock, unknown_clocks
from tagger.library.positions.tracks import add_track


def test_cameras_with_photos_around_a_track_are_named(database: Database, tmp_path: Path) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    few, many = library.camera("camera|few"), library.camera("camera|many")
    known = library.camera("camera|known", clock_offset_s=7200, clock_source="given")
    folder = library.camera("1/scans/")
    days = (START.replace(tzinfo=None) - NOON).total_seconds() / 60
    for camera in (few, many, many, known, folder):
        library.shot(days + 60, camera=camera)
    library.shot(days + 60, camera=few, utc_offset_s=0)
    library.shot(days + 60, camera=few, gps=(48.0, 2.0))
    library.shot(days + 60 * 40, camera=few)
    assert unknown_clocks(database) == []
    for number in range(2):
        add_track(database, write_gpx(tmp_path / f"{number}.gpx", walk(20, start_s=3600 * number)))
    assert unknown_clocks(database) == [UnknownClock("camera|many", 2), UnknownClock("camera|few", 1)]
