"""The sights at which photos were taken: stored with positions, named by an upgrade, found by queries and searches."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.tables import ledgers, positions
from tagger.errors import SightNotFound
from tagger.positions import update as position_updates
from tagger.positions.update import name_sights
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.search.text_query import place_near, text_query

LOUVRE, LIBERTY, STREET = (48.8611, 2.3358), (40.6896, -74.0450), (48.8390, 2.2925)


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    return library


def _sights(library: PositionLibrary) -> dict[int, str | None]:
    with library.database.read() as connection:
        rows = connection.execute(select(positions.c.photo_id, positions.c.sight))
        return {row.photo_id: row.sight for row in rows}


def _found(library: PositionLibrary, **options: Any) -> set[str]:
    return {Path(photo.path).name for photo in find_tagged(library.database, PhotoQuery(**options), {})}


@pytest.mark.postgresql
def test_a_photo_knows_the_sight_at_which_it_was_taken_and_queries_find_it(library: PositionLibrary) -> None:
    louvre, liberty, street = (
        library.shot(0, gps=LOUVRE),
        library.shot(600, gps=LIBERTY),
        library.shot(1200, gps=STREET),
    )
    library.update()
    assert _sights(library) == {louvre: "Louvre Museum", liberty: "Statue of Liberty", street: None}
    (photo,) = find_tagged(library.database, PhotoQuery(sight=("louvre",)), {})
    assert photo.position is not None
    assert photo.position.sight is not None
    assert (photo.position.sight.name, photo.position.sight.kind) == ("Louvre Museum", "museum")
    assert photo.position.sight.distance_m < 20
    assert photo.position.whole_place == "Louvre Museum, Paris, France"
    assert len(_found(library, sight=("louvre", "statue of liberty"))) == 2
    with pytest.raises(SightNotFound, match="xyzzy"):
        _found(library, sight=("xyzzy",))


def test_an_estimate_of_kilometres_names_no_sight(library: PositionLibrary) -> None:
    library.shot(0, gps=LOUVRE)
    between = library.shot(60)
    library.shot(120, gps=STREET)
    library.update()
    assert _sights(library)[between] is None


def test_a_search_finds_a_sight_in_any_language_and_with_other_words(library: PositionLibrary) -> None:
    library.shot(0, gps=LOUVRE)
    library.shot(600, gps=(35.3606, 138.7274))
    library.update()
    for text, sight in {
        "louvre": "Louvre Museum",
        "monte fuji": "Mount Fuji",
        "富士山": "Mount Fuji",
    }.items():
        understood = text_query(library.database, text, {})
        assert understood.query.sight == (sight,), text


def test_a_place_near_can_be_any_sight_of_the_world(library: PositionLibrary) -> None:
    library.shot(0, gps=STREET)
    library.update()
    near = place_near(library.database, "machu picchu", {})
    assert near is not None
    assert (round(near.latitude), round(near.longitude)) == (-13, -73)


@pytest.mark.postgresql
def test_an_upgrade_names_the_sights_of_stored_positions_page_by_page(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    shots = [library.shot(600 * number, gps=LOUVRE if number % 2 else STREET) for number in range(7)]
    library.update()
    expected = _sights(library)
    with library.database.write() as connection:
        connection.execute(update(positions).values(sight=None))
        connection.execute(update(ledgers).values(sights_to=0))
    monkeypatch.setattr(position_updates, "_SIGHTS_PAGE", 3)
    pages = []
    names = position_updates.sight_names

    def interrupted(rows: list[tuple[float, float, float]]) -> list[str | None]:
        pages.append(len(rows))
        if len(pages) == 2:
            raise KeyboardInterrupt
        return names(rows)

    monkeypatch.setattr(position_updates, "sight_names", interrupted)
    with pytest.raises(KeyboardInterrupt):
        name_sights(library.database)
    name_sights(library.database)
    assert pages == [3, 3, 3, 1, 0]
    assert _sights(library) == expected
    assert sum(sight is not None for sight in expected.values()) == len(shots) // 2
