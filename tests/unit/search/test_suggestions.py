"""What typed text may mean: kinds, their order, and how many."""

from collections.abc import Sequence

from tagger.library.query.counts import CityCount, FolderCount, LandmarkCount
from tagger.library.query.photo_conditions import NamedFile
from tagger.library.search.suggestions import (
    MOST,
    Kind,
    Suggestion,
    city_names,
    country_index,
    folder_names,
    landmark_names,
    suggest,
)


def landmark(slug: str, name: str, photos: int, country: str = "France", *others: str) -> LandmarkCount:
    return LandmarkCount(slug, name, country, None, "Paris", 48.9, 2.3, photos, others, own=False)


LANDMARKS = [
    landmark("eiffel-tower", "Eiffel Tower", 9, "France", "Tour Eiffel"),
    landmark("louvre", "Louvre", 5),
    landmark("tower-bridge", "Tower Bridge", 0, "United Kingdom"),
]
CITIES = [
    CityCount("Paris", "Île-de-France", "France", 48.86, 2.35, 7.5, 20),
    CityCount("Lyon", None, "France", 45.76, 4.84, 3.0, 10),
]
FOLDERS = [
    FolderCount("/photos", "", "/photos", 0, 30),
    FolderCount("Paris", "2019/Paris", "/photos/2019/Paris", 2, 12),
    FolderCount("2019", "2019", "/photos/2019", 1, 12),
]


def files(start: str, limit: int) -> Sequence[NamedFile]:
    every = [NamedFile(n, f"paris-{n}.jpg", f"2019/paris-{n}.jpg") for n in range(1, 9)]
    return [file for file in every if file.name.startswith(start)][:limit]


NAMES = (
    landmark_names(LANDMARKS),
    country_index(LANDMARKS, CITIES),
    city_names(CITIES),
    folder_names(FOLDERS),
)


def found(text: str) -> list[Suggestion]:
    return suggest(text, NAMES, files)


def labels(text: str) -> list[tuple[str, str]]:
    return [(each.kind.value, each.label) for each in found(text)]


def test_each_kind_leads_to_its_photos() -> None:
    assert [(each.label, each.detail, each.photos, each.options) for each in found("tour eif")] == [
        ("Eiffel Tower", "Paris, France", 9, {"landmark": "eiffel-tower"})
    ]
    assert found("fra")[0].options == {"country": "France"}
    assert found("lyon")[0].options == {"near": "45.76,4.84", "radius_km": "3.0"}
    assert [each.id for each in found("paris-8")] == ["8"]


def test_kinds_stay_together_and_the_best_match_comes_first() -> None:
    assert labels("paris") == [
        ("city", "Paris"),
        ("folder", "Paris"),
        ("file", "paris-1.jpg"),
        ("file", "paris-2.jpg"),
        ("file", "paris-3.jpg"),
    ]
    date, folder = found("2019")[:2]
    assert (date.kind, date.options["taken_after"], date.options["taken_before"]) == (
        Kind.DATE,
        "2019-01-01",
        "2020-01-01",
    )
    assert (folder.label, folder.detail, folder.photos) == ("2019", "/photos", 12)
    assert folder.options["under"] == "/photos/2019"


def test_similar_names_are_found_only_where_no_name_starts_so() -> None:
    assert labels("eifel") == [("landmark", "Eiffel Tower")]
    assert labels("pari") == labels("paris")
    assert labels("parsi") == [("city", "Paris"), ("folder", "Paris")]


def test_landmarks_without_photos_are_not_suggested() -> None:
    assert labels("tower bridge") == []
    assert labels("uk") == []


def test_no_more_are_suggested_than_a_list_shows() -> None:
    many = [landmark(f"a-{n}", f"Abbey {n}", 1, f"Abland {n}") for n in range(99)]
    names = (landmark_names(many), country_index(many, ()))
    kinds = [each.kind for each in suggest("ab", names, lambda *_: ())]
    assert kinds == [Kind.LANDMARK] * 4 + [Kind.COUNTRY] * 2
    assert len(suggest("a", NAMES, files)) <= MOST


def test_no_text_means_nothing() -> None:
    assert found("") == found("  ") == []
