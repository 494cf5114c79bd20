"""From accepted tags to what a photo's metadata is to hold."""

from dataclasses import replace

import pytest

from tagger.metadata.additions import (
    POSITION_ERROR_M,
    Additions,
    NamedLandmark,
    Position,
    additions_for,
)

TOWER = NamedLandmark(
    "eiffel-tower",
    "Eiffel Tower",
    country="France",
    region="Île-de-France",
    city="Paris",
    latitude=48.8584,
    longitude=2.2945,
    extent="point",
    score=0.9,
    model="m",
)
ARCH = replace(TOWER, slug="arch", name="Arc de Triomphe", latitude=48.8738, longitude=2.2950)
WALL = NamedLandmark("great-wall", "Great Wall", country="China", latitude=40.4, longitude=116.6)


def position_of(*landmarks: NamedLandmark) -> Position | None:
    return additions_for(landmarks, gps=True).position


def test_without_accepted_tags_nothing_of_ours_is_to_be_left() -> None:
    additions = additions_for((), gps=True, description=True)
    assert additions == Additions()
    assert not additions


def test_keywords_are_names_and_paths_lead_from_the_outside_in() -> None:
    additions = additions_for((TOWER, WALL))
    assert additions
    assert additions.landmarks == (TOWER, WALL)
    assert additions.keywords == ("Eiffel Tower", "Great Wall")
    assert additions.paths == (
        ("Places", "France", "Paris", "Eiffel Tower"),
        ("Places", "China", "Great Wall"),
    )


def test_a_landmark_of_no_known_place_stands_directly_below_places() -> None:
    assert additions_for((NamedLandmark("x", "Somewhere"),)).paths == (("Places", "Somewhere"),)


def test_two_landmarks_of_one_name_are_one_keyword_and_two_paths() -> None:
    other = replace(TOWER, slug="eiffel-tower-las-vegas", country="United States", city="Las Vegas")
    additions = additions_for((TOWER, other))
    assert additions.keywords == ("Eiffel Tower",)
    assert len(additions.paths) == 2
    assert len(additions.landmarks) == 2


def test_position_and_description_come_only_when_asked_for() -> None:
    plain = additions_for((TOWER,))
    assert (plain.position, plain.description) == (None, None)
    asked = additions_for((TOWER, WALL), description=True)
    assert asked.description == "Eiffel Tower, Paris, France; Great Wall, China"


def test_a_point_is_where_the_photo_was_taken_give_or_take() -> None:
    assert position_of(TOWER) == Position(48.8584, 2.2945, POSITION_ERROR_M)
    assert position_of(TOWER, ARCH) == position_of(TOWER)


@pytest.mark.parametrize("extent", ["line", "area", "multi", None])
def test_a_landmark_that_is_no_point_says_nothing_of_where_the_camera_was(extent: str | None) -> None:
    assert position_of(replace(TOWER, extent=extent)) is None


def test_landmarks_far_from_each_other_contradict_each_other_wherever_they_rank() -> None:
    assert position_of(TOWER, WALL) is None
    assert position_of(TOWER, ARCH, WALL) is None


def test_only_the_best_landmark_gives_the_place() -> None:
    assert position_of(replace(TOWER, extent="area"), ARCH) is None
    assert position_of(replace(TOWER, latitude=None), ARCH) is None


def test_a_landmark_without_a_place_contradicts_nothing() -> None:
    assert position_of(TOWER, replace(WALL, latitude=None)) == position_of(TOWER)


def test_zero_degrees_are_a_place() -> None:
    assert position_of(replace(TOWER, latitude=0.0, longitude=0.0)) == Position(0.0, 0.0, POSITION_ERROR_M)
    assert position_of(replace(TOWER, latitude=0.0, longitude=0.0), ARCH) is None
