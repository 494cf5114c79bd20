"""What thirty searches find in one library, with the landmarks of the shipped model, on both databases."""
# ruff: noqa: RUF001 - periods have dashes

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import select
from support.models import ARTIFACT
from support.position_library import PositionLibrary

from tagger.database.connection import Database
from tagger.database.tables import photos
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.registry.registered_models import add_model
from tagger.search import text_query as texts
from tagger.search.text_query import text_query
from tagger.tags.contents import record_photos

PARIS, BERLIN, COLOGNE = (48.8584, 2.2945), (52.5191, 13.4011), (50.9413, 6.9583)
BONN, DRESDEN, HOI_AN = (50.7353, 7.1022), (51.0519, 13.7416), (15.8773, 108.3279)
ROME, AGRA, DELHI = (41.8902, 12.4922), (27.1751, 78.0421), (28.5535, 77.2588)
SHOTS = [
    ("Paris", "2023-09-24", PARIS, "eiffel-tower", 3),
    ("Paris", "2023-09-25", PARIS, "", 2),
    ("Koeln", "2024-09-24", COLOGNE, "cologne-cathedral", 2),
    ("Berlin", "2024-12-24", BERLIN, "berlin-cathedral", 2),
    ("Berlin", "2024-12-26", BERLIN, "", 2),
    ("Anna", "2025-11-29", DRESDEN, "frauenkirche-dresden", 2),
    ("Vietnam", "2025-01-04", HOI_AN, "hoi-an-ancient-town", 2),
    ("Vietnam", "2025-01-06", HOI_AN, "", 5),
    ("Italien", "2022-05-06", ROME, "colosseum", 3),
    ("Italien", "2022-05-08", ROME, "pantheon-rome", 2),
    ("Indien", "2022-11-03", AGRA, "taj-mahal", 3),
    ("Indien", "2022-11-05", DELHI, "lotus-temple", 2),
    *(("Alltag", f"{year}-{month:02}-10", BONN, "", 1) for year in (2022, 2023) for month in range(1, 13)),
    ("Scans", None, None, "golden-temple", 2),
]
"""Folders, days, positions, landmarks and numbers of photos. At home, in Bonn, there is one each month."""

TODAY = date(2026, 11, 29)
SEARCHES = [
    ("pariss", "Paris", 5),  # read as Paris; no word of an alias like "Parish"
    ("parrish", None, 0),
    ("hoi an", "Hội An Ancient Town or Hoi An", 7),
    ("trip to italy", "trip Colosseum, 6–8 May 2022", 5),
    ("reise nach indien", "trip Taj Mahal, 3–5 November 2022", 5),
    ("urlaub 2022", "trip Taj Mahal, 3–5 November 2022 or trip Colosseum, 6–8 May 2022", 10),
    ("holiday in may", "trip Colosseum, 6–8 May 2022", 5),
    ("september 24", "24 September", 5),
    ("september 2024", "September 2024", 2),
    ("november", "November", 9),
    ("christmas", "24 December – 26 December", 4),
    ("weihnachten in berlin", "Berlin, 24 December – 26 December", 4),
    ("on this day", "29 November", 2),
    ("today a year ago", "29 November 2025", 2),
    ("heute vor einem jahr", "29 November 2025", 2),
    ("without date", "without a date", 2),
    ("ohne datum", "without a date", 2),
    ("cologne", "Köln", 2),
    ("around cologne", "around Köln", 26),  # with Bonn
    ("um köln 2024", "around Köln, 2024", 2),
    ("kirche", "Berlin Cathedral, Cologne Cathedral, Dresden Frauenkirche", 6),
    ("church", "Berlin Cathedral, Cologne Cathedral, Dresden Frauenkirche", 6),
    ("église à berlin", "Berlin Cathedral, Cologne Cathedral, Dresden Frauenkirche, Berlin", 2),
    ("temple", "Golden Temple, Lotus Temple", 4),
    ("tempel in indien", "Golden Temple, Lotus Temple, India", 4),
    ("home", None, 0),  # the photos are below /home
    ("alltag", "in Alltag", 24),
    ("india or anna", "India or in Anna", 9),
    ("vietnam not hoi an", "Vietnam, not Hội An Ancient Town, not Hoi An", 0),
    ("frankreich 2023 ohne eiffelturm", "France, 2023, not Eiffel Tower", 2),
    ("2024 or 2025 in germany", "Germany, 2024, 2025", 8),
]


@pytest.fixture
def library(database: Database, tmp_path: Path) -> PositionLibrary:
    found = PositionLibrary(database, tmp_path / "home" / "you" / "Pictures", add_model(database, ARTIFACT))
    camera = found.camera()
    for folder, day, position, landmark, count in SHOTS:
        for number in range(count):
            taken_at = datetime.fromisoformat(f"{day}T12:00") + timedelta(minutes=number) if day else None
            latitude, longitude = position or (None, None)
            tags = [(landmark, 0.95, True)] if landmark else []
            where = {"camera_id": camera, "latitude": latitude, "longitude": longitude}
            found.photo(f"{folder}/{day}-{landmark}-{number}.jpg", *tags, taken_at=taken_at, **where)
    with database.write() as connection:
        record_photos(connection, connection.scalars(select(photos.c.id)).all())
    found.update()
    return found


@pytest.mark.postgresql
def test_thirty_searches_find_what_people_mean(
    library: PositionLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(texts, "this_day", lambda: TODAY)
    found = []
    for text, _, _ in SEARCHES:
        try:
            understood = text_query(library.database, text, {})
        except texts.SearchTextInvalid:
            found.append((text, None, 0))
        else:
            query = understood.within(PhotoQuery(any_rank=True))
            count = sum(1 for _ in find_tagged(library.database, query))
            found.append((text, understood.words, count))
    assert found == SEARCHES
