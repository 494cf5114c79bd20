"""The values that accepted tags add to a photo's metadata."""

from dataclasses import replace

import pytest

from tagger.metadata.tag_fields import (
    POSITION_ERROR_M,
    NamedLandmark,
    PositionEstimate,
    TagFields,
    keyword_key,
    make_tag_fields,
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


def position_of(*landmarks: NamedLandmark) -> PositionEstimate | None:
    return make_tag_fields(landmarks, gps=True).position


@pytest.mark.parametrize(
    "other",
    [
        "ST PETER'S BASILICA",
        "St Peter\u2019s Basilica",
        "St Peter\u02bcs Basilica",
        "St Peter\u2018s Basilica",
        "St\u00a0Peter's Basilica",
        " St  Peter's\u202fBasilica ",
    ],
)
def test_spellings_of_one_keyword_have_one_key(other: str) -> None:
    assert keyword_key(other) == keyword_key("St Peter's Basilica")
    assert keyword_key("Sankt Peter") != keyword_key("St Peter")
    assert keyword_key("St Peters Basilica") != keyword_key(other)


def test_no_accepted_tags_yield_no_values() -> None:
    tag_fields = make_tag_fields((), gps=True, description=True)
    assert tag_fields == TagFields()
    assert not tag_fields


def test_keywords_are_names_and_paths_start_outermost() -> None:
    tag_fields = make_tag_fields((TOWER, WALL))
    assert tag_fields
    assert tag_fields.landmarks == (TOWER, WALL)
    assert tag_fields.keywords == ("Eiffel Tower", "Great Wall")
    assert tag_fields.paths == (
        ("Places", "France", "Paris", "Eiffel Tower"),
        ("Places", "China", "Great Wall"),
    )


def test_landmarks_of_one_name_share_a_keyword() -> None:
    other = replace(TOWER, slug="eiffel-tower-las-vegas", country="United States", city="Las Vegas")
    tag_fields = make_tag_fields((TOWER, other))
    assert tag_fields.keywords == ("Eiffel Tower",)
    assert len(tag_fields.paths) == 2
    assert len(tag_fields.landmarks) == 2


def test_position_and_description_are_optional() -> None:
    plain = make_tag_fields((TOWER,))
    assert (plain.position, plain.description) == (None, None)
    tag_fields = make_tag_fields((TOWER, WALL), description=True)
    assert tag_fields.description == "Eiffel Tower, Paris, France; Great Wall, China"


def test_point_landmark_gives_the_position() -> None:
    assert position_of(TOWER) == PositionEstimate(48.8584, 2.2945, POSITION_ERROR_M)
    assert position_of(TOWER, ARCH) == position_of(TOWER)


def test_an_estimate_counts_before_the_landmark() -> None:
    estimate = PositionEstimate(48.8, 2.2, 700.0, "neighbour")
    assert make_tag_fields((TOWER,), gps=True, estimate=estimate).position == estimate
    only = make_tag_fields((), gps=True, estimate=estimate, description=True)
    assert only == TagFields(position=estimate)
    assert only


@pytest.mark.parametrize("extent", ["line", "area", "multi", None])
def test_landmark_that_is_not_a_point_gives_no_position(extent: str | None) -> None:
    assert position_of(replace(TOWER, extent=extent)) is None


def test_distant_landmarks_give_no_position() -> None:
    assert position_of(TOWER, WALL) is None
    assert position_of(TOWER, ARCH, WALL) is None


def test_best_landmark_gives_the_position() -> None:
    assert position_of(replace(TOWER, extent="area"), ARCH) is None
    assert position_of(replace(TOWER, latitude=None), ARCH) is None


def test_landmark_without_coordinates_contradicts_nothing() -> None:
    assert position_of(TOWER, replace(WALL, latitude=None)) == position_of(TOWER)
