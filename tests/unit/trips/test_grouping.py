"""Grouping visits into trips, their names and dates: what ends a trip, what is none, and what makes no difference."""
# ruff: noqa: DTZ001 - cameras record no time zone

from dataclasses import replace
from datetime import date, datetime, timedelta

import pytest
from hypothesis import given, strategies as st
from support.trip_visits import (
    ARLES,
    AT_SEA,
    AVIGNON,
    BERLIN,
    CITIES,
    HAMBURG,
    LUENEBURG,
    NICE,
    NOWHERE,
    PARIS,
    ROME,
    TOKYO,
    City,
    Shot,
    contains,
    everyday,
    libraries,
    shots,
    visits,
)

from tagger import trips as segments
from tagger.geo import distance_km
from tagger.texts.text_format import dates_text
from tagger.trips.grouping import REACH, group_trips, place_name, visited_places

AT_HOME = everyday(HAMBURG)
LYON = City(replace(PARIS.place, region="Rhône", city="Lyon"), 45.76, 4.84)
NUREMBERG = City(replace(BERLIN.place, region="Bavaria", city="Nuremberg"), 49.45, 11.08)
DASH = "\N{EN DASH}"


def ids(*found: list[Shot]) -> list[str]:
    return [trip.id for trip in group_trips(visits(*found))]


def test_photos_away_from_home_are_a_trip():
    trips = group_trips(visits(AT_HOME, shots("2019-05-03", "2019-05-09", ARLES, AVIGNON)))
    assert [(trip.id, trip.name) for trip in trips] == [("2019-05-03-arles-and-avignon", "Arles and Avignon")]
    assert (trips[0].first, trips[0].last) == (datetime(2019, 5, 3, 10), datetime(2019, 5, 9, 17))
    assert [(place.city, place.photos) for place in trips[0].places] == [("Arles", 12), ("Avignon", 9)]
    assert ids(shots("2019-05-03", "2019-05-09", HAMBURG)) == ["2019-05-03-hamburg"]
    assert ids(AT_HOME) == []
    assert ids(AT_HOME, shots("2019-06-01", "2019-06-10", HAMBURG, LUENEBURG)) == []
    holidays = [shots(f"{year}-07-05", f"{year}-07-25", NICE) for year in range(2015, 2022)]
    assert len(ids(*holidays)) == 7
    moved = everyday(HAMBURG, 2018) + everyday(PARIS, 2019) + everyday(PARIS, 2020)
    assert ids(moved) == []
    assert ids(moved, everyday(PARIS, 2021), shots("2021-08-03", "2021-08-05", HAMBURG)) == [
        "2021-08-03-hamburg"
    ]


def test_a_trip_ends_at_home_and_has_neither_departure_nor_return():
    home = shots("2019-05-06", "2019-05-06", HAMBURG)
    assert ids(
        AT_HOME, shots("2019-05-04", "2019-05-05", ARLES), home, shots("2019-05-07", "2019-05-08", ARLES)
    ) == ["2019-05-04-arles", "2019-05-07-arles"]
    departure = shots("2019-05-03", "2019-05-03", HAMBURG, hours=[6])
    back = shots("2019-05-05", "2019-05-05", HAMBURG, hours=[22])
    (trip,) = group_trips(visits(AT_HOME, departure, shots("2019-05-03", "2019-05-05", ARLES), back))
    assert not contains(trip, departure[0])
    assert not contains(trip, back[0])


@pytest.mark.parametrize(
    ("home", "second", "city", "number"),
    [
        (PARIS, "2019-05-05", NICE, 1),
        (PARIS, "2019-05-06", NICE, 2),
        (PARIS, "2019-05-06", AVIGNON, 1),
        (PARIS, "2019-05-09", AVIGNON, 2),
        (HAMBURG, "2019-05-13", NICE, 1),
        (HAMBURG, "2019-05-15", NICE, 2),
        (HAMBURG, "2019-05-06", ROME, 2),
    ],
)
def test_a_gap_in_time_ends_a_trip_and_longer_ones_in_one_place_and_abroad(home, second, city, number):
    later = shots(second, "2019-05-16", city)
    # The camera of the trip is not always the one of home.
    at_home = [shot for shot in everyday(home, camera=2) if shot.at.month != 5]
    assert len(ids(at_home, shots("2019-05-03", "2019-05-04", ARLES), later)) == number


def test_a_gap_or_a_jump_abroad_ends_a_trip_and_a_plane_does_not():
    journey = shots("2019-05-03", "2019-05-05", ARLES), shots("2019-05-10", "2019-05-12", ARLES)
    at_home = shots("2019-05-07", "2019-05-07", HAMBURG, camera=2)
    assert (len(ids(AT_HOME, *journey)), len(ids(AT_HOME, *journey, at_home))) == (1, 2)
    paris = shots("2019-05-03", "2019-05-05", PARIS)
    assert ids(paris, shots("2019-05-06", "2019-05-09", ROME)) == ["2019-05-03-paris", "2019-05-06-rome"]
    excursion, back = shots("2019-05-06", "2019-05-06", ROME), shots("2019-05-07", "2019-05-09", PARIS)
    assert ids(paris, excursion, back) == ["2019-05-03-paris"]


@pytest.mark.parametrize("city", [ROME, TOKYO, HAMBURG])
def test_a_wrong_landmark_does_not_divide_a_trip(city):
    wrong = [Shot(datetime(2019, 5, 5, 14, minute), city, is_measured=False) for minute in (0, 1)]
    trip_shots = shots("2019-05-03", "2019-05-06", ARLES, AVIGNON, hours=[9, 12, 18])
    (trip,) = group_trips(visits(AT_HOME, trip_shots, wrong))
    assert (trip.id, trip.last) == ("2019-05-03-arles-and-avignon", datetime(2019, 5, 6, 18))
    assert all(contains(trip, shot) for shot in wrong + trip_shots)


def test_a_day_trip_needs_ten_photos_and_a_trip_goes_on_across_midnight():
    assert ids(AT_HOME, shots("2019-05-04", "2019-05-04", BERLIN, hours=range(9, 18))) == []
    assert ids(AT_HOME, shots("2019-05-04", "2019-05-04", BERLIN, hours=range(9, 19))) == [
        "2019-05-04-berlin"
    ]
    assert ids(AT_HOME, shots("2019-12-28", "2020-01-02", ROME, hours=[0, 23])) == ["2019-12-28-rome"]
    before = shots("2019-05-03", "2019-05-04", PARIS, hours=[9, 16])
    assert len(ids(before, shots("2019-05-04", "2019-05-06", TOKYO, hours=[14, 20]))) == 1
    west, east = (City(HAMBURG.place, -16.8, longitude) for longitude in (-179.9, 179.7))
    (place,) = visited_places(visits(shots("2019-05-01", "2019-05-02", west, east)))
    assert place.longitude == pytest.approx(179.9)


def test_cameras_that_are_together_are_on_one_trip_and_people_apart_on_two():
    (trip,) = group_trips(
        visits(
            AT_HOME,
            shots("2019-05-03", "2019-05-09", ARLES),
            shots("2019-05-04", "2019-05-04", AVIGNON, camera=2),
            shots("2019-05-08", "2019-05-10", AVIGNON, camera=2),
        )
    )
    assert trip.id == "2019-05-03-arles"
    assert trip.last == datetime(2019, 5, 10, 17)
    # What the second camera took in between belongs to the trip, with or without a position.
    assert [(span.camera_id, span.first.day, span.last.day) for span in trip.spans] == [(1, 3, 9), (2, 4, 10)]
    assert ids(
        AT_HOME,
        shots("2019-05-03", "2019-05-09", ARLES),
        shots("2019-05-04", "2019-05-08", ROME, camera=2),
    ) == ["2019-05-03-arles", "2019-05-04-rome"]


def test_trips_of_one_day_and_name_have_different_ids():
    # Abroad, the cameras of one country are on one trip.
    milan = City(replace(ROME.place, region="Lombardy", city="Milan"), 45.46, 9.19)
    assert ids(
        everyday(milan, camera=4),
        shots("2019-05-03", "2019-05-05", AT_SEA),
        [Shot(shot.at, shot.city, 2) for shot in shots("2019-05-03", "2019-05-05", ROME)],
        [
            Shot(shot.at + timedelta(minutes=1), replace(ROME, latitude=41.2), 3)
            for shot in shots("2019-05-03", "2019-05-05", ROME)
        ],
    ) == ["2019-05-03-64-8-s-62-9-w", "2019-05-03-rome", "2019-05-03-rome-2"]


def days_of(*found: list[Shot]) -> list[tuple[int, int]]:
    return [(trip.days[0].day, trip.days[1].day) for trip in group_trips(visits(AT_HOME, *found))]


def test_a_day_beside_a_trip_without_a_known_position_belongs_to_it_up_to_a_photo_elsewhere():
    trip = shots("2019-05-03", "2019-05-05", ARLES)
    before, after = shots("2019-05-02", "2019-05-02", NOWHERE), shots("2019-05-06", "2019-05-07", NOWHERE)
    assert days_of(trip, before, after) == [(2, 6)]
    (found,) = group_trips(visits(AT_HOME, trip, before, after))
    assert found.id == "2019-05-03-arles"
    assert [contains(found, shot) for shot in (before[0], after[2], after[3])] == [True, True, False]
    other_camera = shots("2019-05-06", "2019-05-06", NOWHERE, camera=2)
    assert days_of(trip, other_camera) == [(3, 5)]
    home = shots("2019-05-06", "2019-05-06", HAMBURG, hours=[12])
    unknown = shots("2019-05-06", "2019-05-06", NOWHERE, hours=[9, 15])
    (found,) = group_trips(visits(AT_HOME, trip, home, unknown))
    assert [contains(found, shot) for shot in (*unknown, *home)] == [True, False, False]


def test_days_beside_trips_belong_to_one():
    trip = shots("2019-05-03", "2019-05-05", ARLES, folder="arles/")
    after = shots("2019-05-06", "2019-05-11", NOWHERE, folder="arles/")
    home = shots("2019-05-13", "2019-05-13", HAMBURG)
    assert days_of(trip, after, home) == [(3, 11)]
    assert days_of(trip, after, [replace(shot, folder="arles/") for shot in home]) == [(3, 6)]
    assert days_of(trip, after[:3], after[-3:], home) == [(3, 6)]
    unknown = shots("2019-05-06", "2019-05-06", NOWHERE, folder="rome/")
    before, after = (
        shots("2019-05-03", "2019-05-05", PARIS),
        shots("2019-05-07", "2019-05-09", ROME, folder="rome/"),
    )
    assert days_of(before, unknown, after) == [(3, 6), (7, 9)]
    first = shots("2019-05-03", "2019-05-04", ARLES, hours=[6, 7])
    second = shots("2019-05-05", "2019-05-06", AVIGNON, hours=[21, 22])
    assert len(ids(everyday(PARIS), first, second)) == 1


def test_days_that_follow_each_other_in_one_country_abroad_are_one_trip_of_all_cameras():
    first, second = (
        shots("2019-05-03", "2019-05-05", PARIS),
        shots("2019-05-06", "2019-05-08", NICE, camera=2),
    )
    assert days_of(first, second) == [(3, 8)]
    assert days_of(first, second, shots("2019-05-05", "2019-05-05", HAMBURG, hours=[20])) == [(3, 5), (6, 8)]
    in_germany = (
        shots("2019-05-03", "2019-05-05", BERLIN),
        shots("2019-05-06", "2019-05-08", NUREMBERG, camera=2),
    )
    assert days_of(*in_germany) == [(3, 5), (6, 8)]


def test_places_are_compared_as_often_as_there_are_visits(monkeypatch):
    calls = []

    def count(*position: float) -> float:
        calls.append(position)
        return distance_km(*position)

    monkeypatch.setattr(segments, "distance_km", count)
    of_years = []
    for years in (4, 8):
        calls.clear()
        found = [
            *(shot for year in range(2010, 2010 + years) for shot in everyday(HAMBURG, year)),
            *(
                shot
                for year in range(2010, 2010 + years)
                for camera in (1, 2)
                for shot in shots(f"{year}-07-02", f"{year}-07-28", *CITIES[1:], camera=camera)
            ),
        ]
        every = list(visits(found))
        group_trips(every)
        of_years.append(len(calls) / len(every))
    assert of_years[1] < 1.2 * of_years[0]
    assert of_years[1] < 6


@given(libraries(), st.randoms(use_true_random=False))
def test_order_makes_no_difference(found, order):
    trips = group_trips(visits(found))
    assert trips == sorted(trips, key=lambda trip: trip.first)
    order.shuffle(found)
    assert group_trips(visits(found)) == trips


@given(libraries())
def test_a_trip_depends_only_on_photos_near_it_in_time(found):
    for trip in group_trips(visits(found)):
        begin, end = datetime.fromisoformat(trip.id[:10]) - REACH, trip.last + REACH
        assert trip in group_trips(visits([shot for shot in found if begin <= shot.at < end]))


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("2019-05-03", "2019-05-03", "3 May 2019"),
        ("2019-05-03", "2019-05-09", f"3{DASH}9 May 2019"),
        ("2019-04-30", "2019-05-03", f"30 April {DASH} 3 May 2019"),
        ("2019-12-28", "2020-01-02", f"28 December 2019 {DASH} 2 January 2020"),
    ],
)
def test_dates_leave_out_what_they_have_in_common(first, last, text):
    assert dates_text(date.fromisoformat(first), date.fromisoformat(last)) == text


@pytest.mark.parametrize(
    ("cities", "name"),
    [
        ([PARIS, PARIS, NICE], "Paris"),
        ([AVIGNON, ARLES], "Arles and Avignon"),
        ([AVIGNON, AVIGNON, AVIGNON, ARLES, NICE], "Provence-Alpes-Côte d'Azur"),
        ([PARIS, PARIS, PARIS, LYON, NICE], "France"),
        ([ARLES, AVIGNON, NICE, PARIS], "Provence-Alpes-Côte d'Azur and Île-de-France"),
        ([ARLES, AVIGNON, NICE, ARLES, AVIGNON, PARIS], "Provence-Alpes-Côte d'Azur"),
        ([PARIS, NICE, ROME, AVIGNON], "France and Italy"),
        ([PARIS, NICE, ROME, BERLIN], "France, Germany and Italy"),
        ([PARIS, AT_SEA, AT_SEA], "Paris"),
        ([AT_SEA], "64.8° S, 62.9° W"),
    ],
)
def test_the_smallest_place_with_most_photos_names_a_trip(cities, name):
    photos = shots("2019-05-01", f"2019-05-{len(cities):02}", *cities)
    assert place_name(visited_places(visits(photos))) == name
