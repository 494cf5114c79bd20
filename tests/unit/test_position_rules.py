"""The rules of other programs that position estimates are compared with, on cases made by hand."""

from collections.abc import Callable

import numpy as np
import pytest

from bench.positions.answers import Answers
from bench.positions.ours import meetings, tagger, tagger_of_one_clock
from bench.positions.peers import exiftool, osxphotos, photoprism
from bench.positions.photos import CAMERA, PHONE, Photos

HOUR_S = 3600.0
NONE = float("nan")


def photos(*taken: tuple[float, float, float], device: int = PHONE) -> Photos:
    """Photos as hours, and latitude and longitude of their GPS."""
    hours, latitude, longitude = np.array(taken, np.float64).T
    count = len(hours)
    nothing = np.full(count, np.nan)
    return Photos(
        at=HOUR_S * hours,
        clock=HOUR_S * hours,
        utc=HOUR_S * hours,
        is_dated=np.ones(count, np.bool_),
        device=np.full(count, device),
        latitude=np.zeros(count),
        longitude=np.zeros(count),
        gps_latitude=latitude,
        gps_longitude=longitude,
        gps_error_m=np.where(np.isnan(latitude), np.nan, 10.0),
        landmark_latitude=nothing,
        landmark_longitude=nothing,
        landmark_error_m=nothing,
        landmark_id=np.full(count, -1),
        zone_s=np.zeros(count),
        kind=np.zeros(count, np.int64),
    )


def unknown(hours: float) -> tuple[float, float, float]:
    return hours, NONE, NONE


def found(answers: Answers, photo: int) -> tuple[float, float] | None:
    if np.isnan(answers.latitude[photo]):
        return None
    return round(float(answers.latitude[photo]), 4), round(float(answers.longitude[photo]), 4)


@pytest.mark.parametrize("rule", [osxphotos, exiftool, photoprism])
def test_without_gps_nothing_is_located(rule: Callable[[Photos], Answers]) -> None:
    assert np.isnan(rule(photos(unknown(0), unknown(1))).latitude).all()


def test_osxphotos_takes_the_nearest_photo_within_an_hour() -> None:
    answers = osxphotos(
        photos((0, 48.0, 2.0), unknown(0.4), unknown(0.5), (1, 49.0, 3.0), unknown(2), unknown(2.1))
    )
    assert [found(answers, photo) for photo in (1, 2, 4, 5)] == [(48.0, 2.0), (49.0, 3.0), (49.0, 3.0), None]


def test_exiftool_interpolates_between_fixes_of_half_an_hour() -> None:
    answers = exiftool(photos((0, 48.0, 2.0), unknown(0.1), (0.4, 48.4, 2.4)))
    assert found(answers, 1) == (48.1, 2.1)


def test_exiftool_takes_the_nearest_fix_where_fixes_are_farther_apart() -> None:
    answers = exiftool(
        photos(unknown(-0.6), unknown(-0.5), (0, 48.0, 2.0), unknown(0.4), unknown(1), (2, 49.0, 3.0))
    )
    assert [found(answers, photo) for photo in (0, 1, 3, 4)] == [None, (48.0, 2.0), (48.0, 2.0), None]


def test_photoprism_interpolates_between_the_two_nearest() -> None:
    answers = photoprism(photos((0, 48.0, 2.0), unknown(1), (4, 48.04, 2.0)))
    assert found(answers, 1) == (48.01, 2.0)
    assert answers.error_m[1] == pytest.approx(4448 / 20, rel=0.01)


def test_photoprism_extrapolates_by_the_root_of_the_seconds() -> None:
    answers = photoprism(photos((0, 48.0, 2.0), (1, 48.0, 2.36), unknown(1 + 1 / 9), unknown(21)))
    assert found(answers, 2) == (48.0, round(2 + 0.36 * np.sqrt(4000) / 3600, 4))
    assert found(answers, 3) is None  # at 27 km/h, the accuracy after 20 h is worse than 1 km


def test_photoprism_gives_the_place_of_the_nearest_where_the_two_are_far_apart() -> None:
    taken = photos((0, 48.0, 2.0), unknown(1), (4, 49.0, 2.0))
    assert found(photoprism(taken), 1) is None
    assert found(photoprism(taken, places=True), 1) == (48.0, 2.0)


def test_photoprism_gives_the_place_of_an_only_photo_within_36_hours() -> None:
    taken = photos((0, 48.0, 2.0), unknown(36.9), unknown(37.1))
    assert [found(photoprism(taken, places=True), photo) for photo in (1, 2)] == [(48.0, 2.0), None]


def test_photoprism_takes_the_middle_of_positions_that_nobody_moves_between() -> None:
    answers = photoprism(photos((0, 48.0, 2.0), unknown(0.001), (0.002, 48.008, 2.0)))
    assert found(answers, 1) == (48.004, 2.0)


def test_the_tagger_takes_each_device_for_a_line_of_its_own() -> None:
    taken = photos((0, 48.0, 2.0), unknown(0.1), (0.2, 48.0, 2.0))
    taken.device[1] = CAMERA
    assert found(tagger(taken, 2 * HOUR_S), 1) is None
    assert found(tagger_of_one_clock(taken, 2 * HOUR_S), 1) == (48.0, 2.0)


def test_the_tagger_locates_photos_by_a_device_that_was_there_too() -> None:
    days = [(24.0 * day, 48.0 + day, 2.0) for day in range(3)]
    taken = photos(*days, *((hours + 0.1, latitude, 2.0) for hours, latitude, _ in days), unknown(48.3))
    taken.device[3:6] = CAMERA
    assert found(tagger(taken, 2 * HOUR_S), 6) == (50.0, 2.0)
    taken.device[6] = CAMERA
    assert found(tagger(taken, 2 * HOUR_S), 6) == (50.0, 2.0)
    taken.device[2], taken.gps_latitude[3] = PHONE, 10.0
    assert meetings(taken).are_companions is False
