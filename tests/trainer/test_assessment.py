"""The answer at the end of training and of an evaluation."""

import pytest

from trainer.report.assessment import PHOTOS_OF, Assessment, photos_of_landmarks


def lines(
    photos: int = 40, right_tags: float = 0.9, precision: float = 0.98, **photos_of: int
) -> tuple[str, ...]:
    assessment = Assessment("test", photos, 0.95, right_tags, precision, {"distractors": 0.04}, photos_of)
    return tuple(assessment.lines("trainer export runs/a --out MODEL.pt"))


def test_each_figure_says_what_it_is_of() -> None:
    assert lines()[:3] == (
        "40 test photos of landmarks: 95.0 % have the right first prediction, 90.0 % get the right tag",
        "tags: 98.0 % are right",
        "distractors: 4.0 % get a false tag",
    )


def test_a_good_model_names_the_next_command() -> None:
    assert lines()[3:] == ("good enough to use", "next: trainer export runs/a --out MODEL.pt")


@pytest.mark.parametrize("figures", [{"right_tags": 0.69}, {"precision": 0.89}])
def test_a_poor_model_needs_more_photos(figures: dict[str, float]) -> None:
    answer, following = lines(**figures)[3:]  # type: ignore[arg-type]
    assert answer.startswith("not good enough to use: at least 70 % of the photos")
    assert following == "next: add photos, then train again"


def test_few_photos_do_not_decide() -> None:
    answer, following = lines(photos=19, right_tags=0.1)[3:]
    assert answer == "not known whether it is good enough to use: 20 test photos of landmarks are needed"
    assert following == "next: trainer export runs/a --out MODEL.pt"


def test_landmarks_with_few_photos_are_listed() -> None:
    assert lines(Mill=4, Tower=20, Arch=3)[3:5] == (
        "too few photos of Mill (4), Arch (3); add some, to 20 or more each, then train again",
        "good enough to use, apart from these landmarks",
    )


def test_a_model_whose_landmarks_all_have_few_photos_is_not_good_enough() -> None:
    assert lines(Mill=4, Arch=19)[4:] == (
        "not good enough to use yet: every landmark has too few photos",
        "next: add photos, then train again",
    )


def test_models_of_earlier_versions_do_not_say_how_many_photos_they_had() -> None:
    assert photos_of_landmarks({"photos": 40}) == {}
    assert photos_of_landmarks({PHOTOS_OF: {"Mill": 4}}) == {"Mill": 4}
