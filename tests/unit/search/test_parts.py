"""Typed text as parts and their query, and what the start of a text may mean."""

import time
from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.library.query.counts import CityCount, FolderCount, LandmarkCount
from tagger.library.query.options import PhotoQuery
from tagger.library.query.photo_conditions import NamedFile
from tagger.library.search.names import (
    Kind,
    Meaning,
    camera_names,
    city_names,
    countries_of,
    country_names,
    file_meanings,
    folder_names,
    foreign_names,
    landmark_names,
    outcome_names,
    region_names,
)
from tagger.library.search.parts import MAX_WORDS, MOST, UnderstoodText, suggest, understand

TODAY = date(2024, 1, 5)


def landmark(slug: str, name: str, photos: int, country: str = "France", *others: str) -> LandmarkCount:
    return LandmarkCount(slug, name, country, None, "Paris", 48.9, 2.3, photos, others, own=False)


LANDMARKS = [
    landmark("eiffel-tower", "Eiffel Tower", 9, "France", "Tour Eiffel", "Eiffelturm"),
    landmark("louvre", "Louvre", 5),
    landmark("clerigos-tower", "Clérigos Tower", 2, "Portugal"),
    landmark("tower-bridge", "Tower Bridge", 0, "United Kingdom"),
]
CITIES = [
    CityCount("Paris", "Île-de-France", "France", 48.86, 2.35, 7.5, 20),
    CityCount("Lyon", "Rhône", "France", 45.76, 4.84, 3.0, 10),
]
FOLDERS = [
    FolderCount("/photos", "", "/photos", 0, 30),
    FolderCount("Paris", "2019/Paris", "/photos/2019/Paris", 2, 12),
    FolderCount("2019", "2019", "/photos/2019", 1, 12),
]


def files(start: str, limit: int) -> Sequence[Meaning]:
    every = [NamedFile(f"paris-{n}.jpg", "2019", f"/photos/2019/paris-{n}.jpg") for n in range(1, 9)]
    return file_meanings([file for file in every if file.name.startswith(start)][:limit])


COUNTRIES = countries_of(LANDMARKS, CITIES)
LISTS = (
    (
        landmark_names(LANDMARKS),
        country_names(COUNTRIES),
        camera_names({"Canon EOS 5D": ["canon", "eos 5d"], "Apple iPhone 12": ["apple", "apple iphone 12"]}),
        outcome_names(),
    ),
    (city_names(CITIES), region_names(CITIES)),
    (country_names(COUNTRIES, foreign_names),),
    (folder_names(FOLDERS),),
)
NAMES = [names for each in LISTS for names in each]


def understood(text: str) -> UnderstoodText:
    return understand(text, LISTS, files, TODAY)


def parts(text: str) -> list[tuple[str, str, list[str]]]:
    return [
        (
            part.text,
            part.meanings[0].kind.value if part.meanings else "",
            [each.label for each in part.meanings],
        )
        for part in understood(text).parts
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("eiffelturm 2019", [("eiffelturm", "landmark", ["Eiffel Tower"]), ("2019", "date", ["2019"])]),
        ("Photos of the Eifel Tower, in Paris!", [("Eifel Tower", "landmark", ["Eiffel Tower"]), ("Paris", "city", ["Paris"])]),
        ("tower", [("tower", "landmark", ["Eiffel Tower", "Clérigos Tower"])]),
        ("tower bridge", [("tower bridge", "landmark", ["Tower Bridge"])]),
        ("frankreich im Sommer 2016", [("frankreich", "country", ["France"]), ("im Sommer 2016", "date", ["1 June \N{EN DASH} 31 August 2016"])]),
        ("frankrich", [("frankrich", "country", ["France"])]),
        ("île de france", [("île de france", "region", ["Île-de-France"])]),
        ("iphone lyon", [("iphone", "camera", ["Apple iPhone 12"]), ("lyon", "city", ["Lyon"])]),
        ("2019/Paris", [("2019/Paris", "folder", ["Paris"])]),
        ("paris-8", [("paris-8", "file", ["paris-8.jpg"])]),
        ("unbekannt paris may", [("unbekannt", "outcome", ["Unknown"]), ("paris", "city", ["Paris"]), ("may", "date", ["May"])]),
        ("not reviewed", [("not reviewed", "outcome", ["Without a verdict"])]),
        ("cats at the beach in paris", [("cats", "", []), ("at", "", []), ("the", "", []), ("beach", "", []), ("paris", "city", ["Paris"])]),
        ("the", []),
        ("", []),
    ],
)  # fmt: skip
def test_a_text_is_divided_into_parts(text: str, expected: list[tuple[str, str, list[str]]]) -> None:
    assert parts(text) == expected


def test_the_query_has_the_options_of_all_parts() -> None:
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


def test_what_is_left_out_is_said() -> None:
    assert understood("eiffel tower").note == ""
    assert understood("dogs and cats in paris").note == (
        "Left out: “dogs and cats”, which is no date and no name in this library."
    )
    contradiction = understood("May 2019 paris June 2019")
    assert contradiction.note == "Left out: “June 2019”, which contradicts the rest."
    assert contradiction.words == "Paris, May 2019"
    assert understood("unknown eiffel tower").options == {"unknown": "1"}


def test_only_the_first_words_of_a_long_text_are_read() -> None:
    found = understood("2019 " * (MAX_WORDS - 1) + "paris eiffel tower")
    assert found.words == "Paris, 2019"
    assert found.note == "Left out: “eiffel tower”, since a search has at most 24 words."


def test_a_text_of_many_short_words_is_divided_at_once() -> None:
    words = [first + second for first in "abcdefgh" for second in "ijklmnop"]
    folders = [
        FolderCount(f"{word} {number}", f"{word}{number}", "/photos", 1, 1)
        for word in words
        for number in range(50)
    ]
    lists = (*LISTS, (folder_names(folders),))
    started_s = time.process_time()
    found = understand(" ".join(words), lists, files, TODAY)
    assert time.process_time() - started_s < 1
    assert len(found.unread.split()) == len(words) - MAX_WORDS


def test_lists_are_read_until_every_word_is_understood() -> None:
    read = []

    def lists() -> Sequence[Sequence[object]]:
        for number, each in enumerate(LISTS):
            read.append(number)
            yield each

    for text, last in (("eiffel tower 2019", 0), ("paris", 1), ("frankreich", 2), ("eifel", 3)):
        read.clear()
        understand(text, lists(), files, TODAY)
        assert read == list(range(last + 1)), text


@given(st.text(max_size=40))
def test_any_text_may_be_typed(text: str) -> None:
    found = understood(text)
    assert len(found.parts) <= len(text.split())
    assert len(suggest(text, NAMES, files, TODAY)) <= MOST


# ---------- suggestions ----------


def found(text: str) -> list[Meaning]:
    return suggest(text, NAMES, files, TODAY)


def labels(text: str) -> list[tuple[str, str]]:
    return [(each.kind.value, each.label) for each in found(text)]


def test_each_kind_leads_to_its_photos() -> None:
    assert [(each.label, each.detail, each.photos, each.options) for each in found("tour eif")] == [
        ("Eiffel Tower", "Paris, France", 9, {"landmark": "eiffel-tower"})
    ]
    assert found("fra")[0].options == {"country": "France"}
    assert found("lyon")[0].options == {"near": "45.76,4.84", "radius_km": "3.0"}
    assert found("paris-8")[0].options == {"under": "/photos/2019/paris-8.jpg", "any_rank": "1"}


def test_kinds_stay_together_and_the_best_match_comes_first() -> None:
    assert labels("paris") == [
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


def test_parts_together_come_first_and_an_unfinished_last_part_is_completed() -> None:
    assert found("paris 2019 canon")[0].options == understood("paris 2019 canon").options
    assert labels("paris 2019 canon")[0] == ("photos", "Paris, Canon EOS 5D, 2019")
    (louvre,) = found("2019 lou")
    assert louvre.options == {"year": ("2019",), "landmark": ("louvre",)}


def test_similar_names_are_found_only_where_no_name_starts_so() -> None:
    assert labels("eifel") == [("landmark", "Eiffel Tower")]
    assert labels("pari") == labels("paris")
    assert labels("parsi") == [("city", "Paris"), ("folder", "Paris")]


def test_what_has_no_photos_is_not_suggested() -> None:
    assert labels("tower bridge") == []
    assert labels("uk") == []


def test_no_more_are_suggested_than_a_list_shows() -> None:
    many = [landmark(f"a-{n}", f"Abbey {n}", 1, f"Abland {n}") for n in range(99)]
    names = (landmark_names(many), country_names(countries_of(many, ())))
    kinds = [each.kind for each in suggest("ab", names, lambda *_: (), TODAY)]
    assert kinds == [Kind.LANDMARK] * 4 + [Kind.COUNTRY] * 2


def test_no_text_means_nothing() -> None:
    assert found("") == found("  ") == []
