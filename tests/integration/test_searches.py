"""What searches find: the lists of names behind them, and questions in one library."""
# ruff: noqa: RUF001 - periods have dashes

from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path
from unicodedata import normalize

import pytest
from hypothesis import HealthCheck, example, given, settings, strategies as st
from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError
from support.databases import query_plans
from support.models import ARTIFACT
from support.position_library import PositionLibrary

from tagger.database.tables import landmarks, photos
from tagger.errors import SearchTextInvalid
from tagger.kept.trips import find_trip, rename_trip
from tagger.landmarks import find_landmark
from tagger.query.counts import city_counts, folder_counts, landmark_counts
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import files_by_name, searched_name
from tagger.registry import add_model
from tagger.search import text_query as texts
from tagger.search.text_query import text_query, unfamiliar_names
from tagger.tags import record_photos

PATHS = (
    "top.jpg", "a/IMG_1.jpg", "a/b/img_2.JPG", "a/b/IMG_10.jpg", "a b/Été.jpg", "a/b/100%_x.jpg",
    "z/.jpg",
)  # fmt: skip


@pytest.mark.postgresql
def test_files_are_found_by_the_start_of_their_names(library):
    for path in (*PATHS, "gone/IMG_0.jpg"):
        library.photo(path)
    library.gone("gone/IMG_0.jpg")

    def names(start: str, limit: int = 9) -> list[str]:
        return [file.name for file in files_by_name(library.database, {}, start, limit)]

    assert names("img_") == ["IMG_1.jpg", "IMG_10.jpg", "img_2.JPG"]
    assert names("IMG_10") == ["IMG_10.jpg"]
    assert names("img", 1) == names("img")[:1]
    assert names("100%_") == ["100%_x.jpg"]
    assert names("Été") == ["Été.jpg"]
    assert names("g_1") == names("a/") == []


# Letters whose cases are no pairs, or that consist of others.
DOTLESS_I, LONG_S, SIGMA = "\N{LATIN SMALL LETTER DOTLESS I}", "\N{LATIN SMALL LETTER LONG S}", "\u03c3"
LETTERS = "aikszÆØŁÄŸßẞﬁİǅΣςΐᾳДйḌệ한Ⴀა" + DOTLESS_I + LONG_S + SIGMA
NAME_OF_WORDS = st.text(LETTERS + " ", min_size=1, max_size=12).map(str.strip).filter(bool)
CASES = (str, str.lower, str.upper, str.title, str.swapcase, str.casefold)


@pytest.mark.postgresql
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=NAME_OF_WORDS,
    form=st.sampled_from(["NFC", "NFD"]),
    case=st.sampled_from(CASES),
    typed_form=st.sampled_from(["NFC", "NFD"]),
    typed_case=st.sampled_from(CASES),
)
@example("ærø", "NFC", str, "NFC", str.upper)
@example("ΟΔΟΣ", "NFD", str, "NFC", str.lower)
@example(f"straße i{DOTLESS_I}", "NFC", str, "NFC", str.upper)
@example("İ", "NFC", str, "NFD", str.lower)
@example("ΐᾳ", "NFD", str.upper, "NFC", str)
def test_files_are_found_whatever_the_case_of_their_names(library, name, form, case, typed_form, typed_case):
    stored = normalize(form, case(f"{name} 12.jpg"))
    with suppress(IntegrityError):  # an earlier example stored it
        library.photo(f"a/{stored}")

    typed = normalize(typed_form, typed_case(f"{name} 12.jpg"))
    assert stored in [file.name for file in files_by_name(library.database, {}, typed, 999)]
    assert stored in [file.name for file in files_by_name(library.database, {}, typed[:-7], 999)]
    assert searched_name(typed) == searched_name(stored)


def test_files_are_found_by_names_of_words_and_signs_and_by_their_path(library):
    names = ("Paris (1).jpg", "Paris 2019.jpg", "not me.jpg", "a,  b & c.jpg", "-x.jpg", "Old Town.JPG")
    for name in names:
        library.photo(f"a/{name}")
    for name in names:
        for text in (name, f' "{name.upper()}" '):
            assert text_query(library.database, text, {}).query.under == (library.root / "a" / name,)
    with pytest.raises(SearchTextInvalid):
        text_query(library.database, "old town", {})
    query = text_query(library.database, "old town.jpg 2019", {}).query
    assert (query.under, query.year) == ((library.root / "a/Old Town.JPG",), (2019,))
    library.photo("a/IMG_1.jpg")
    library.photo("b/IMG_1.jpg")
    paths = [file.path for file in files_by_name(library.database, {}, "img_1.", 9)]
    assert paths == [str(library.root / "a/IMG_1.jpg"), str(library.root / "b/IMG_1.jpg")]
    query = PhotoQuery(under=(Path(paths[1]),), any_rank=True)
    assert [photo.path for photo in find_tagged(library.database, query)] == [paths[1]]


@pytest.mark.postgresql
def test_a_day_without_a_year_is_found_in_every_year(library):
    times = [datetime.fromisoformat(day) for day in ("2019-01-12", "2023-01-12T23:59:59", "2020-02-29T08")]
    for time in (*times, *map(datetime.fromisoformat, ("2023-01-13", "2023-02-12")), None):
        library.photo(f"{time}.jpg", ("eiffel-tower", 0.9, True), taken_at=time)

    def found(text: str) -> set[str]:
        query = text_query(library.database, text, {}).query
        return {Path(photo.path).stem for photo in find_tagged(library.database, query)}

    assert found("12 january") == {str(time) for time in times[:2]}
    assert found("29 feb") == {str(times[2])}
    assert found("12 january 2023") == {str(times[1])}
    assert found("12 january or 29 february") == set(map(str, times))
    assert found("not 12 january") == {str(times[2]), "2023-01-13 00:00:00", "2023-02-12 00:00:00", "None"}


def test_files_and_folders_are_read_and_counted_along_an_index(library):
    with query_plans(library.database, "photos.path") as plans:
        files_by_name(library.database, {}, "img_", 9)
    assert "ix_photos_name" in plans[0]
    with query_plans(library.database, "photos.path") as plans:
        folder_counts(library.database, {})
    if library.database.is_sqlite:  # PostgreSQL reads the table
        assert "ix_photos_folder" in plans[0]
        assert "TEMP B-TREE" not in plans[0]


def test_the_circle_of_a_city_has_its_photos(library):
    places = [(48.85, 2.30), (48.90, 2.40), (48.86, 2.35)]
    for number, (latitude, longitude) in enumerate(places):
        library.photo(f"{number}.jpg")
        library.position(f"{number}.jpg", latitude, longitude, "France", city="Paris")
    library.photo("far.jpg")
    library.position("far.jpg", 33.66, -95.55, "United States", city="Paris")
    library.photo("sea.jpg")
    library.position("sea.jpg", 0, 0)
    paris, texan = city_counts(library.database)
    assert (paris.city, paris.country, paris.photos) == ("Paris", "France", 3)
    assert (texan.country, texan.photos) == ("United States", 1)
    for city in (paris, texan):
        query = PhotoQuery(near=f"{city.latitude},{city.longitude}", radius_km=city.radius_km)
        assert isinstance(query, PhotoQuery)
        assert len(list(find_tagged(library.database, query))) == city.photos


def test_folders_count_the_photos_below(library):
    for path in PATHS:
        library.photo(path)
    library.photo(b"a/odd-\xff/x.jpg")
    library.photo("gone/x.jpg")
    library.gone("gone/x.jpg")
    counts = {each.path: each.photos for each in folder_counts(library.database, {})}
    assert counts == {"": 7, "a": 4, "a/b": 3, "a b": 1, "z": 1}
    for each in folder_counts(library.database, {"photos": Path("/elsewhere")}):
        assert each.folder == str(Path("/elsewhere") / each.path)


def test_unknown_words_have_similar_names_and_landmarks_without_photos_are_found(library):
    library.photo("tower.jpg", ("eiffel-tower", 0.9, True))
    with pytest.raises(SearchTextInvalid, match=r"eif: .*Did you mean Eiffel Tower"):
        text_query(library.database, "eif 2019", {})
    with pytest.raises(SearchTextInvalid, match="no words"):
        text_query(library.database, " - ", {})
    with pytest.raises(SearchTextInvalid, match="June 2019: no photo can match"):
        text_query(library.database, "May 2019 June 2019", {})
    names = {"kelonia-oceania": "Kélonia", "bab-al-futuh-africa": "Bab al-Futuh", "other-slug": "Erg Chebbi"}
    with library.database.write() as connection:
        connection.execute(insert(landmarks), [{"slug": slug, "name": name} for slug, name in names.items()])
    for text in ("kelonia", "bab al futuh", "erg chebbi"):
        assert (
            list(find_tagged(library.database, text_query(library.database, text, {}).within(PhotoQuery())))
            == []
        )
    with library.database.read() as connection:
        slugs = [find_landmark(connection, name).slug for name in ("KELONIA", "bab al-futuh", "erg chebbi")]
    assert slugs == list(names)


def test_trips_are_found_by_their_names_and_places(database, tmp_path):
    library = PositionLibrary.with_tiny_model(database, tmp_path)
    library.camera()
    for day in range(3):
        library.shot(day * 24 * 60, gps=(48.8584, 2.2945))
        library.shot(day * 24 * 60 + 5, gps=(48.8584, 2.2945))
    library.update()
    with database.write() as connection:
        rename_trip(connection, find_trip(connection, "2024-05-03-paris"), "Honeymoon")
    for text in ("honeymoon", "honeymon", "trip honeymoon", "trip to Paris", "trip"):
        assert text_query(database, text, {}).query.trip == "2024-05-03-paris"
    with pytest.raises(SearchTextInvalid, match="nothing in the library has this name"):
        text_query(database, "qwertz", {})


def test_a_place_that_was_just_taught_is_found_before_photos_are_counted_again(library):
    familiar = {count.landmark for count in landmark_counts(library.database)}
    with library.database.write() as connection:
        values = {"slug": "grandmas-house", "name": "Grandma's House"}
        library.landmark_ids["grandmas-house"] = connection.execute(
            insert(landmarks).values(values).returning(landmarks.c.id)
        ).scalar_one()
    library.photo("house.jpg", ("grandmas-house", 0.9, True))
    names = unfamiliar_names(library.database, "house", familiar)
    assert [(each.label, each.photos) for _, each in names.find("house")] == [("Grandma's House", 1)]


PARIS, BERLIN, COLOGNE = (48.8584, 2.2945), (52.5191, 13.4011), (50.9413, 6.9583)
BONN, DRESDEN, HOI_AN = (50.7353, 7.1022), (51.0519, 13.7416), (15.8773, 108.3279)
ROME, AGRA, DELHI = (41.8902, 12.4922), (27.1751, 78.0421), (28.5535, 77.2588)
# Folders, days, positions, landmarks and numbers of photos. At home, in Bonn, there is one each month.
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

SEARCHES = [
    ("pariss", "Paris", 5),  # read as Paris; no word of an alias like "Parish"
    ("hoi an", "Hội An Ancient Town or Hoi An", 7),
    ("reise nach indien", "trip Taj Mahal, 3–5 November 2022", 5),
    ("holiday in may", "trip Colosseum, 6–8 May 2022", 5),
    ("september 24", "24 September", 5),
    ("christmas", "24 December – 26 December", 4),
    ("on this day", "29 November", 2),
    ("without date", "without a date", 2),
    ("around cologne", "around Köln", 26),  # with Bonn
    ("église à berlin", "Berlin Cathedral, Cologne Cathedral, Dresden Frauenkirche, Berlin", 2),
    ("home", None, 0),  # the photos are below /home
    ("vietnam not hoi an", "Vietnam, not Hội An Ancient Town, not Hoi An", 0),
    ("frankreich 2023 ohne eiffelturm", "France, 2023, not Eiffel Tower", 2),
    ("2024 or 2025 in germany", "Germany, 2024, 2025", 8),
]


@pytest.fixture
def whole_library(database, tmp_path) -> PositionLibrary:
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
def test_searches_find_what_people_mean(whole_library, monkeypatch):
    monkeypatch.setattr(texts, "this_day", lambda: date(2026, 11, 29))
    found = []
    for text, _, _ in SEARCHES:
        try:
            understood = text_query(whole_library.database, text, {})
        except texts.SearchTextInvalid:
            found.append((text, None, 0))
        else:
            query = understood.within(PhotoQuery(any_rank=True))
            count = sum(1 for _ in find_tagged(whole_library.database, query))
            found.append((text, understood.words, count))
    assert found == SEARCHES
