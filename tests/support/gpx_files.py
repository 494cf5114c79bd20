"""GPX documents for tests of tracks."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tagger.database.connection import Database
from tagger.positions.tracks import AddedTrack, read_track, store_track, track_spool

Point = tuple[float, float, float]  # Seconds since START, latitude, longitude

START = datetime(2019, 5, 3, 8, tzinfo=UTC)
START_S = START.timestamp()


def gpx_text(*segments: Iterable[Point]) -> str:
    inner = "".join(
        f"<trkseg>{''.join(point_text(*point) for point in segment)}</trkseg>" for segment in segments
    )
    return f'<?xml version="1.0"?>\n<gpx version="1.1"><trk><name>Walk</name>{inner}</trk></gpx>\n'


def point_text(seconds: float, latitude: float, longitude: float) -> str:
    time = (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    return f'<trkpt lat="{latitude!r}" lon="{longitude!r}"><ele>35.0</ele><time>{time}</time></trkpt>\n'


def write_gpx(file: Path, *segments: Iterable[Point]) -> Path:
    file.write_text(gpx_text(*segments))
    return file


def walk(
    count: int, *, start_s: float = 0, step_s: float = 10, latitude: float = 48.0, longitude: float = 2.0
) -> Sequence[Point]:
    """Points of a walk to the north, about a metre a second at steps of 10 s."""
    return [(start_s + step_s * number, latitude + 1e-4 * number, longitude) for number in range(count)]


def add_track(database: Database, file: Path) -> AddedTrack:
    with track_spool() as spool:
        track = read_track(database, file, spool)
        with database.write() as connection:
            return store_track(connection, track, spool)
