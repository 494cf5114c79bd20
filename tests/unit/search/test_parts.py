"""Typed text as parts and their query, and what the start of a text may mean."""
# ruff: noqa: DTZ001, RUF001 - cameras know no time zone; periods have dashes

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from tagger.positions.cities import find_cities
from tagger.query.counts import CityCount, FolderCount, LandmarkCount, TripSummary
from tagger.query.options import PhotoQuery
from tagger.query.photo_conditions import NamedFile
from tagger.search.names import (
    Kind,
    Meaning,
    camera_names,
    city_names,
    countries_of,
    countries_of_landmarks,
    country_names,
    file_meanings,
    folder_names,
    foreign_city_names,
    journey_names,
    landmark_names,
    outcome_names,
    region_names,
    trip_names,
)
from tagger.search.text_query import MAX_WORDS, MOST, UnderstoodText, suggest, understand
from tagger.texts.names import foreign_names
from tagger.trips.grouping import Span, Trip, VisitedPlace

TODAY = date(2024, 1, 5)


def landmark(slug: str, name: str, photos: int, country: str = "France", *others: str) -> LandmarkCount:
    return LandmarkCount(slug, name, country, None, "Paris", 48.9, 2.3, photos, others, own=False)


LANDMARKS = [
    landmark("eiffel-tower", "Eiffel Tower", 9, "France", "Tour Eiffel", "Eiffelturm"),
    landmark("colosseum", "Colosseum", 8, "Italy", "Kolosseum", "Colisée", "Coliseo", "Đấu trường La Mã"),
    landmark("christ", "Christ the Redeemer", 7, "Brazil", "Christusstatue", "Cristo Redentor"),
    landmark("cave", "Phong Nha Cave", 6, "Vietnam", "Phong Nha-Kẻ Bàng"),
    landmark("louvre", "Louvre", 5),
    landmark("palace", "Palais des Papes", 4, "France", "Papal palace of Provence"),
    landmark("cologne", "Cologne Cathedral", 3, "Germany", "Kölner Dom", "Hohe Domkirche"),
    landmark("taj-mahal", "Taj Mahal", 3, "India", "ताज महल"),
    landmark("clerigos-tower", "Clérigos Tower", 2, "Portugal"),
    landmark("tower-bridge", "Tower Bridge", 0, "United Kingdom"),
    landmark("lombardy-opera", "Opera of Lombardy", 0, "Italy"),
    landmark("ganh-da-dia", "Gành Đá Đĩa", 6, "Vietnam", "Sea Cliff of Stone Plates"),
    landmark("redeemer", "Cristo Rei", 1, "Portugal", "Tượng Chúa Kitô Vua"),
    landmark("opera-house", "Sydney Opera House", 2, "Australia", "Nhà hát Opera Sydney"),
    landmark("hoi-an", "Hoi An Ancient Town", 2, "Vietnam", "Hội An"),
    landmark("niagara", "Niagara Falls", 3, "United States"),
    landmark("liberty", "Statue of Liberty", 2, "United States"),
    landmark("bridge", "Golden Gate Bridge", 2, "United States"),
]


def city(name: str, photos: int) -> CityCount:
    (found,) = find_cities(name, 1)
    return CityCount(found.name, found.region, found.country, 45.0 + photos / 100, 4.0, 3.0, photos)


CITIES = [
    CityCount("Paris", "Île-de-France", "France", 48.86, 2.35, 7.5, 20),
    CityCount("Paris", "Texas", "United States", 33.66, -95.55, 5.0, 2),
    CityCount("New York City", "New York", "United States", 40.7, -74.0, 20.0, 8),
    CityCount("Buffalo", "New York", "United States", 42.9, -78.8, 5.0, 3),
    CityCount("Aix-en-Provence", "Provence-Alpes-Côte d'Azur", "France", 43.53, 5.45, 5.0, 9),
    CityCount("Edinburgh", "Scotland", "United Kingdom", 55.95, -3.19, 5.0, 4),
    CityCount("Lyon", "Rhône", "France", 45.76, 4.84, 3.0, 10),
    *map(city, ("Rome, Lazio", "Milan, Lombardy", "Florence, Tuscany", "Munich", "Lisbon", "Hanoi", "Ho Chi Minh City", "Delhi", "Avignon", "Łódź", "Da Lat", "Hoi An"), range(30, 42)),
]  # fmt: skip


def trip(id_: str, name: str, first: datetime, *places: tuple[str, str, str]) -> TripSummary:
    last = first + timedelta(days=2)
    visited = tuple(VisitedPlace(*place, 0.0, 0.0, 3) for place in places)
    trip = Trip(id_, name, (Span(1, first, last),), visited, (first.date(), last.date()))
    return TripSummary(trip, 9, (), None)


TRIPS = [
    trip("tuscany", "Florence and Siena", datetime(2022, 5, 7), ("Florence", "Tuscany", "Italy")),
    trip("rome", "Rome", datetime(2021, 4, 2), ("Rome", "Lazio", "Italy")),
    trip("hanoi", "Hanoi", datetime(2020, 4, 2), ("Hanoi", "Hanoi", "Vietnam")),
]
TRIPS_OF_ALL = (
    "trip Florence and Siena, 7–9 May 2022, trip Rome, 2–4 April 2021 or trip Hanoi, 2–4 April 2020"
)
TO_ITALY = "trip Florence and Siena, 7–9 May 2022 or trip Rome, 2–4 April 2021"
FOLDERS = [
    FolderCount("/photos", "", "/photos", 0, 30),
    FolderCount("/home/you/Album", "", "/home/you/Album", 0, 30),
    FolderCount("Paris", "2019/Paris", "/photos/2019/Paris", 2, 12),
    FolderCount("2019", "2019", "/photos/2019", 1, 12),
    *(FolderCount("home", f"{n}/home", f"/photos/{n}/home", 2, 3) for n in range(7)),
    FolderCount("Old prints", "Old prints", "/photos/Old prints", 1, 3),
]


def files(start: str, limit: int) -> Sequence[Meaning]:
    every = [NamedFile(f"paris-{n}.jpg", "2019", f"/photos/2019/paris-{n}.jpg") for n in range(1, 9)]
    return file_meanings([file for file in every if file.name.startswith(start)][:limit])


COUNTRIES = countries_of(countries_of_landmarks(LANDMARKS), CITIES)
LISTS = (
    (
        landmark_names(LANDMARKS),
        country_names(COUNTRIES),
        camera_names({"Canon EOS 5D": ["canon", "eos 5d"], "Apple iPhone 12": ["apple", "apple iphone 12"]}),
        outcome_names(),
    ),
    (city_names(CITIES), region_names(CITIES)),
    (country_names(COUNTRIES, foreign_names), foreign_city_names(CITIES)),
    (journey_names(TRIPS), trip_names(TRIPS)),
    (folder_names(FOLDERS),),
)
NAMES = [names for each in LISTS for names in each]


def understood(text: str) -> UnderstoodText:
    return understand(text, LISTS, files, TODAY)


UNKNOWN = ", which is no date and no name in this library"
SO_PARIS = "“Paris” is also a city: Paris, Texas, United States."
# Questions with what they mean, and what is left out of them.
QUESTIONS = [
    # landmarks
    ("eiffelturm 2019", "Eiffel Tower, 2019"),
    ("Photos of the Eifel Tower, in Paris!", "Eiffel Tower, Paris", "", SO_PARIS),
    ("tower", "Eiffel Tower, Clérigos Tower"),
    ("tower bridge", "Tower Bridge"),
    ("đấu trường la mã", "Colosseum"),
    ("papal palace", "Palais des Papes"),
    # countries
    ("frankreich im Sommer 2016", "France, 1 June – 31 August 2016"),
    # regions, and what resembles them
    ("île de france", "Île-de-France"),
    ("lombardy", "Lombardy"),
    # cities in other languages
    ("Rom", "Rome"),
    ("Roma 2021", "Rome, 2021"),
    ("Hà Nội", "Hanoi"),
    ("रोम", "Rome"),
    # dates
    ("2018 or 2019", "2018, 2019"),
    # trips, folders, files and cameras
    ("trip to rome", "trip Rome, 2–4 April 2021"),
    ("Reise nach Mailand", f"Milan, {TRIPS_OF_ALL}"),
    ("trip to italy", TO_ITALY),
    ("Reise nach Italien", TO_ITALY),
    ("voyage en Italie", TO_ITALY),
    ("viaje a Italia", TO_ITALY),
    ("viagem para Itália", TO_ITALY),
    ("chuyến đi Việt Nam", "trip Hanoi, 2–4 April 2020"),
    ("इटली की यात्रा", TO_ITALY),
    ("siena", "trip Florence and Siena, 7–9 May 2022"),
    ("2019/Paris", "in Paris"),
    ("old prints", "in Old prints"),
    ("paris-8", "in paris-8.jpg"),
    ("iphone lyon", "Lyon, Apple iPhone 12"),
    # outcomes and positions
    ("unbekannt lyon may", "Lyon, May, unknown"),
    ("not reviewed", "without a verdict"),
    ("ohne GPS", "without GPS"),
    ("without location", "without a position"),
    # or, and not
    ("france or germany", "France, Germany"),
    ("louvre oder kölner dom", "Louvre, Cologne Cathedral"),
    ("Hanoi or Saigon", "Hanoi or Ho Chi Minh City"),
    ("Hanoi oder in Saigon", "Hanoi or Ho Chi Minh City"),
    ("Hanói o Saigón 2019", "2019, Hanoi or Ho Chi Minh City"),
    ("Hà Nội hoặc Sài Gòn", "Hanoi or Ho Chi Minh City"),
    ("दिल्ली या रोम", "Delhi or Rome"),
    ("tower or trip to rome", "Eiffel Tower, Clérigos Tower or trip Rome, 2–4 April 2021"),
    ("old prints or lombardy or germany", "in Old prints, Lombardy or Germany"),
    ("rome or milan 2019 or 2020", "2019, 2020, Rome or Milan"),
    ("not vietnam", "not Vietnam"),
    ("2019 but not the louvre", "2019, not Louvre"),
    ("rome -colosseum", "Rome, not Colosseum"),
    ("rome !colosseum", "Rome, not Colosseum"),
    ("2016 -2015", "2016, not 2015"),
    ("photos/2019/Paris", "in Paris"),
    ("no germany or france", "not Germany, not France"),
    ("lyon nicht louvre", "Lyon, not Louvre"),
    ("lyon sans la tour eiffel", "Lyon, not Eiffel Tower"),
    ("roma sin el coliseo", "Rome, not Colosseum"),
    ("roma não coliseo", "Rome, not Colosseum"),
    ("không phải Hà Nội", "not Hanoi"),
    ("रोम ताज महल नहीं", "Rome, not Taj Mahal"),
    ("ताज महल के बिना रोम", "Rome, not Taj Mahal"),
    ("not unknown", "not unknown"),
    ("dogs or cats not rome", "not Rome", "“dogs or cats”"),
    ("lyon not dogs", "Lyon", "“not dogs”"),
    ("lyon not", "Lyon", "“not”"),
    ("lyon or not rome", "Lyon", "“not rome”, since a search cannot join this and the rest with “or”"),
    ("unknown or failed", "unknown", "“failed”, since a search cannot join this and the rest with “or”"),
    # words that mean nothing
    ("easter", "", "“easter”"),
    ("mailamd", "", "“mailamd”", "Did you mean Milan?"),
    ("eifel", "", "“eifel”", "Did you mean Eiffel Tower?"),
    ("cats at the beach in rome", "Rome", "“cats at the beach”"),
    ('"collosseum" rome', "Rome", "“collosseum”", "Did you mean Colosseum?"),
    ("May 2019 lyon June 2019", "Lyon, May 2019", "“June 2019”, which contradicts the rest"),
    # whole names before words of names
    ("da lat or hanoi", "Ðà Lạt or Hanoi"),
    ("Ganh Da Dia", "Gành Đá Đĩa"),
    ("New York", "New York City", "", "“New York” is also a state or region: New York, United States."),
    ("new york united states", "New York City", "", "“new york united states” is also a state or region: New York, United States."),
    ("Paris Texas", "Paris"),
    ("england", "", "“england”"),
    ("uk", "United Kingdom"),
    # part of a name is no match beside words that are left out
    ("new zealand", "", "“new zealand”", "Did you mean New York, New York City or Buffalo?"),
    ("chùa ở Ấn Độ", "India", "“chùa”", "Did you mean Cristo Rei?"),
    ("nha tho", "", "“nha tho”", "Did you mean Phong Nha Cave, Portugal or Sydney Opera House?"),
    ("nhà thờ 2019", "Cologne Cathedral, 2019"),
    ("statue of unity", "", "“statue of unity”", "Did you mean Statue of Liberty?"),
    ("golden temple", "", "“golden temple”", "Did you mean Golden Gate Bridge?"),
    ("golden gate at sunset in france", "France", "“golden gate at sunset”", "Did you mean Golden Gate Bridge?"),
    ("eifel tower at night", "Eiffel Tower", "“night”"),
    ("statue liberty", "Statue of Liberty"),
    ("liberty in new york", "Statue of Liberty, New York City", "", "“new york” is also a state or region: New York, United States."),
    # photos without a landmark
    *((words, "unknown") for words in (
        "not tagged", "untagged", "untagged photos", "without landmark", "without a landmark", "no place", "no places", "no landmark", "without any tags",
        "nicht getaggt", "ohne Wahrzeichen", "kein Ort", "Fotos ohne Ort", "ungetaggt", "ohne Sehenswürdigkeit", "non taguées", "sans monument", "pas de lieu", "aucun lieu",
        "sin etiquetar", "sin monumento", "sin lugar", "ningún lugar", "sem lugar", "sem ponto turístico", "não marcadas", "nenhum lugar",
        "बिना टैग", "बिना जगह", "जगह नहीं", "दर्शनीय स्थल के बिना", "không có địa điểm", "chưa gắn thẻ", "không có địa danh",
        "onbekend", "senza luogo", "Unbekannte Fotos", "desconocidas",
    )),
    ("rome not tagged", "Rome, unknown"),
    ("not a landmark", "not a landmark"),
    ("not processed", "not processed yet"),
    # typing errors are suggested, or guessed in few letters of many
    ("colloseum", "", "“colloseum”", "Did you mean Colosseum?"),
    ("pariss", "Paris"),
    ("Florenx", "", "“Florenx”", "Did you mean Florence?"),
    ("unkown", "", "“unkown”", "Did you mean Unknown?"),
    ("frnace", "France"),
    ("edimburgo", "Edinburgh"),
    # and
    ("rome and milan", "Rome or Milan"),
    ("Rom und Mailand 2019", "2019, Rome or Milan"),
    ("Rome et Milan", "Rome or Milan"),
    ("Roma y Milán", "Rome or Milan"),
    ("Hà Nội và Sài Gòn", "Hanoi or Ho Chi Minh City"),
    ("रोम और दिल्ली", "Rome or Delhi"),
    ("rome, milan", "Rome or Milan"),
    ("rome and the eiffel tower", "Rome or Eiffel Tower"),
    ("france and germany", "France, Germany"),
    ("lyon, france", "Lyon"),
    ("rome and 2019", "Rome, 2019"),
    ("rome and not the colosseum", "Rome, not Colosseum"),
    ("favourites and unknown", "unknown, favourites"),
    ("où est Rome", "Rome", "“où est”"),
    # letters that look alike
    ("ŁÓDŹ", "Łódź"),
    # holidays
    ("around christmas 2024", "20–30 December 2024"),
    ("12 january or 3 may in rome", "Rome, 12 January, 3 May"),
    ("christmas", "24 December – 26 December"),
    ("Weihnachten in Rom", "Rome, 24 December – 26 December"),
    ("not christmas", "not 24 December – 26 December"),
    ("an diesem Tag in Rom", "Rome, 5 January"),
    ("september 23", "23 September", "", "“september 23” is read as a day. For the month, search for September 2023."),
    ("without date", "without a date"),
    ("recently added rome", "Rome, recently added"),
    ("zuletzt hinzugefügt", "recently added"),
    ("hinzugefügt", "", "“hinzugefügt”"),
    # around a place
    ("around milan", "around Milan"),
    ("around france", "France"),
    ("around the colosseum", "Colosseum"),
    # trips of some dates
    ("urlaub 2022", "trip Florence and Siena, 7–9 May 2022"),
    ("trips since 2021", TO_ITALY),
    ("trips 2018", f"2018, {TRIPS_OF_ALL}"),
    # kinds of landmarks
    ("kirche", "Cologne Cathedral"),
    ("towers", "Eiffel Tower, Clérigos Tower"),
    ("Turm in Paris", "Eiffel Tower, Clérigos Tower, Paris", "", SO_PARIS),
    ("golden church", "Cologne Cathedral", "“golden”", "Did you mean Golden Gate Bridge?"),
    ("temple", "", "“temple”"),
    # landmarks and cities of one name
    ("hoi an", "Hoi An Ancient Town or Hoi An"),
    ("इंडिया", "", "“इंडिया”"),
    # folders of one name, and those above a root
    ("album", "in Album"),
    ("home", "in 7 folders: home"),
    ("", ""),
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words", "left_out", "hints"),
    [(*each, "", "")[:4] for each in QUESTIONS],
    ids=[each[0] for each in QUESTIONS],
)
def test_a_question_means_what_people_mean(text, words, left_out, hints):
    found = understood(text)
    note = f"Left out: {left_out}{UNKNOWN if '”, ' not in left_out else ''}." if left_out else ""
    assert (found.words, found.note, found.hints) == (words, note, hints)


def test_guesses_are_said_and_only_the_first_words_of_a_long_text_are_read():
    guesses = [(words, each.label) for words, each in understood("eifel tower in germani 2019").guesses]
    assert guesses == [("eifel tower", "Eiffel Tower"), ("germani", "Germany")]
    assert understood('"eifel tower" 2019').guesses == []
    found = understood("2019 " * (MAX_WORDS - 1) + "paris eiffel tower")
    assert found.words == "Paris, 2019"
    assert found.note == "Left out: “eiffel tower”, since a search has at most 24 words."
    words = [first + second for first in "abcdefgh" for second in "ijklmnop"]
    folders = [
        FolderCount(f"{word} {number}", f"{word}{number}", "/photos", 1, 1)
        for word in words
        for number in range(50)
    ]
    found = understand(" ".join(words), (*LISTS, (folder_names(folders),)), files, TODAY)
    assert len(found.parts[-1].text.split()) == len(words) - MAX_WORDS


def test_lists_are_read_until_every_word_has_its_options():
    found = understood("eiffel tower may louvre 2018 2019")
    assert found.options == {
        "landmark": ("eiffel-tower", "louvre"),
        "year": ("2018", "2019"),
        "calendar_month": ("5",),
    }
    assert found.query == PhotoQuery(
        landmark=("eiffel-tower", "louvre"), year=(2018, 2019), calendar_month=(5,)
    )
    assert found.words == "Eiffel Tower, Louvre, 2018, 2019, May"
    assert understood("since 2019 canon").options == {"taken_after": "2019-01-01", "camera": ("Canon EOS 5D",), "any_rank": "1"}  # fmt: skip
    assert understood("unknown eiffel tower").options == {"unknown": "1"}
    read = []

    def lists() -> Sequence[Sequence[object]]:
        for number, each in enumerate(LISTS):
            read.append(number)
            yield each

    lasts = {"eiffel tower 2019": 0, "paris": 1, "frankreich": 2, "mailand": 2, "eifel": 4}
    for text, last in lasts.items():
        read.clear()
        understand(text, lists(), files, TODAY)
        assert read == list(range(last + 1)), text


@given(st.text(max_size=40))
def test_any_text_may_be_typed(text):
    found = understood(text)
    assert len(found.parts) <= len(text.split())
    assert len(suggest(text, NAMES, files, TODAY)) <= MOST


# ---------- suggestions ----------


def found(text: str) -> list[Meaning]:
    return suggest(text, NAMES, files, TODAY)


def labels(text: str) -> list[tuple[str, str]]:
    return [(each.kind.value, each.label) for each in found(text)]


def test_suggestions_lead_to_photos_by_kind_and_the_best_match_comes_first():
    assert [(each.label, each.detail, each.photos, each.options) for each in found("tour eif")] == [
        ("Eiffel Tower", "Paris, France", 9, {"landmark": "eiffel-tower"})
    ]
    assert found("fra")[0].options == {"country": "France"}
    assert found("lyon")[0].options == {"near": "45.76,4.84", "radius_km": "3.0"}
    assert found("paris-8")[0].options == {"under": "/photos/2019/paris-8.jpg", "any_rank": "1"}
    assert labels("paris") == [
        ("city", "Paris"),
        ("city", "Paris"),
        ("folder", "Paris"),
        ("file", "paris-1.jpg"),
        ("file", "paris-2.jpg"),
        ("file", "paris-3.jpg"),
    ]
    date_, folder = found("2019")[:2]
    assert (date_.kind, date_.options) == (Kind.DATE, {"year": ("2019",), "any_rank": "1"})
    assert (folder.label, folder.detail, folder.photos) == ("2019", "/photos", 12)
    assert folder.options["under"] == "/photos/2019"


def test_parts_together_come_first_and_an_unfinished_last_part_is_completed():
    assert found("paris 2019 canon")[0].options == understood("paris 2019 canon").options
    assert labels("paris 2019 canon")[0] == ("photos", "Paris, Canon EOS 5D, 2019")
    (louvre,) = found("2019 lou")
    assert louvre.options == {"year": ("2019",), "landmark": ("louvre",)}
    assert found("2020 or lou")[-1].options == {"any_of": ("year=2020|landmark=louvre",), "any_rank": "1"}
    assert found("paris not lou")[-1].options["without"] == ("landmark=louvre",)
    assert found("india or old prin")[-1].options["any_of"] == ("country=India|under=%2Fphotos%2FOld+prints",)


def test_similar_names_and_meanings_are_suggested_where_no_name_starts_so():
    assert labels("eiffle") == [("landmark", "Eiffel Tower")]
    assert labels("pari") == labels("paris")
    assert labels("parsi") == [("city", "Paris"), ("city", "Paris"), ("folder", "Paris")]
    assert labels("pasi") == []  # too short
    assert labels("turm")[0] == ("photos", "Eiffel Tower, Clérigos Tower")
    assert labels("around milan") == [("photos", "around Milan")]
    assert labels("hoi an")[:2] == [
        ("photos", "Hoi An Ancient Town or Hoi An"),
        ("landmark", "Hoi An Ancient Town"),
    ]
    assert labels("tower bridge") == labels("") == labels("  ") == []
    many = [landmark(f"a-{n}", f"Abbey {n}", 1, f"Abland {n}") for n in range(99)]
    names = (landmark_names(many), country_names(countries_of(countries_of_landmarks(many), ())))
    kinds = [each.kind for each in suggest("ab", names, lambda *_: (), TODAY)]
    assert kinds == [Kind.LANDMARK] * 3 + [Kind.COUNTRY] * 3
