"""Visits that the database keeps: whatever changes, what is read is what photos and positions say."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import Connection, delete, insert, literal, select, update
from support.position_library import NOON, PositionLibrary

from tagger.database.connection import Database, open_database
from tagger.database.tables import cameras, photos, positions, roots, visit_changes, visits
from tagger.positions.update import update_positions
from tagger.transfer.copying import copy_database
from tagger.transfer.integrity import MENDED, check_database
from tagger.trips.visits import read_visits, update_some_visits, update_visits

PLACES = (("France", "Paris", 48.86, 2.35), ("Italy", "Rome", 41.9, 12.5), (None, None, 0.0, 179.9))
MIDNIGHT = NOON.replace(year=2023, month=12, day=30, hour=0)
DAYS = 4


def _rounded(connection: Connection) -> list[tuple[object, ...]]:
    return sorted(
        (
            each.camera_id,
            each.first,
            each.last,
            each.place,
            each.photos,
            round(each.latitude, 6),
            round(each.longitude, 6),
            each.is_located,
            each.is_measured,
            each.is_dated,
            each.folder,
        )
        for each in read_visits(connection)
    )


def _from_scratch(connection: Connection) -> list[tuple[object, ...]]:
    connection.execute(delete(visits))
    rows = [
        {"camera_id": camera_id, "day": MIDNIGHT.date() + timedelta(days=number)}
        for camera_id in (1, 2)
        for number in range(DAYS + 2)
    ]
    connection.execute(insert(visit_changes), rows)
    return _rounded(connection)


def _facts(random: Random) -> dict[str, object]:
    """A camera, a time on a few days around New Year, also midnight, and what else visits follow from."""
    minutes = random.choice((0, random.randrange(1, 24 * 60)))
    taken_at = MIDNIGHT + timedelta(days=random.randrange(DAYS), minutes=minutes)
    return {
        "camera_id": random.choice((1, 1, 2, None)),
        "taken_at": random.choice((taken_at, taken_at, None)),
        "utc_offset_s": random.choice((None, 3600)),
        "origin": random.choice((None, None, None, "screenshot")),
        "gone_since": random.choice((None, None, None, NOON.astimezone())),
    }


def _position(random: Random) -> dict[str, object]:
    country, city, latitude, longitude = random.choice(PLACES)
    near = {"latitude": latitude + random.random() / 100, "longitude": longitude + random.random() / 100}
    source = random.choice(("camera", "landmark", "neighbour"))
    return {**near, "country": country, "city": city, "source": source, "error_m": 10.0, "evidence": {}}


def _change(connection: Connection, random: Random, number: int) -> None:
    """Change a photo or a position in one of the ways in which the program does."""
    ids = connection.scalars(select(photos.c.id).order_by(photos.c.id)).all()
    photo_id = random.choice([*ids, 0])
    this = photos.c.id == photo_id
    way = random.randrange(7)
    if way < 2 or not photo_id:
        path = f"{random.choice(('a', 'b/c'))}/{number}.jpg"
        row = {
            "root_id": 1,
            "path": path,
            "path_bytes": b"",
            "size_bytes": 1,
            "mtime_ns": 1,
            **_facts(random),
        }
        connection.execute(insert(photos).values(row))
    elif way == 2:
        connection.execute(update(photos).where(this).values(_facts(random)))
    elif way == 3:
        connection.execute(update(photos).where(this).values(path=literal("moved/") + photos.c.path))
    elif way == 4:
        connection.execute(delete(positions).where(positions.c.photo_id == photo_id))
        connection.execute(insert(positions).values(photo_id=photo_id, **_position(random)))
    elif way == 5:
        moved = update(positions).where(positions.c.photo_id == photo_id)
        connection.execute(moved.values(_position(random)))
    else:
        connection.execute(
            delete(photos if number % 2 else positions).where(
                this if number % 2 else positions.c.photo_id == photo_id
            )
        )


@pytest.fixture
def two_cameras(database: Database) -> Iterator[Database]:
    with database.write() as connection:
        connection.execute(insert(roots).values(name="r", location="/r", location_bytes=b""))
        connection.execute(insert(cameras), [{"key": key, "name": key} for key in "ab"])
    return database


@pytest.mark.postgresql
@pytest.mark.parametrize("seed", range(3))
def test_visits_that_are_kept_are_those_computed_from_scratch(two_cameras: Database, seed: int) -> None:
    random = Random(seed)
    for number in range(60):
        with two_cameras.write() as connection:
            for part in range(random.randrange(1, 4)):
                _change(connection, random, 10 * number + part)
            if random.random() < 0.4:
                update_some_visits(connection)
        if number % 6 == 5:
            assert list(check_database(two_cameras)) == []
            with two_cameras.write(dry_run=True) as connection:
                assert _rounded(connection) == _from_scratch(connection)


def test_the_check_finds_visits_that_do_not_follow(database: Database, tmp_path: Path) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    library.shot(0, gps=(48.86, 2.35))
    library.update()
    assert list(check_database(database)) == []
    with database.write() as connection:
        connection.execute(update(visits).values(photos=2))
    assert list(check_database(database)) == [
        f"camera 1, 2024-05-03: its visits do not follow from photos and positions; {MENDED}"
    ]


@pytest.mark.postgresql
def test_a_change_without_a_consequence_leaves_visits_alone(database: Database, tmp_path: Path) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    library.shot(0, gps=(48.86, 2.35))
    update_positions(database)
    with database.write() as connection:
        connection.execute(update(photos).values(size_bytes=photos.c.size_bytes + 1, gone_since=None))
    with database.read() as connection:
        assert connection.execute(select(visit_changes)).all() == []
        assert len(connection.execute(select(visits)).all()) == 1


def test_an_update_of_positions_tells_its_progress_for_each_page_of_visits(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    for day in range(3):
        library.shot(day * 1440, gps=(48.86, 2.35))
    monkeypatch.setattr("tagger.trips.visits.PAGE", 1)
    stored = []

    def stop_at_second(step: str, _done: int, _total: int | None) -> None:
        if step != "finding trips":
            return
        with database.read() as connection:
            stored.append(len(connection.execute(select(visits)).all()))
        if stored[-1] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        update_positions(database, stop_at_second)
    assert stored == [1, 2]
    update_positions(database)
    with database.read() as connection:
        assert len(connection.execute(select(visits)).all()) == 3


def test_a_copy_has_the_visits(database: Database, tmp_path: Path) -> None:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    library.shot(0, gps=(48.86, 2.35))
    update_visits(database)
    url = f"sqlite:///{tmp_path / 'copy.db'}"
    copy_database(database, url)
    copy = open_database(url)
    with database.read() as connection, copy.read() as copied:
        assert _rounded(copied) == _rounded(connection) != []
        assert copied.execute(select(visit_changes)).all() == []
    copy.close()
