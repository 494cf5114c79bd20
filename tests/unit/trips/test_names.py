"""Names and dates of trips."""

from datetime import date

import pytest
from support.trip_visits import (
    ARLES,
    AT_SEA,
    AVIGNON,
    BERLIN,
    HAMBURG,
    NICE,
    PARIS,
    ROME,
    City,
    shots,
    visits,
)

from tagger.library.trips.grouping import place_name, visited_places
from tagger.system.text_format import dates_text

DASH = "\N{EN DASH}"


@pytest.mark.parametrize(
    ("first", "last", "text"),
    [
        ("2019-05-03", "2019-05-03", "3 May 2019"),
        ("2019-05-03", "2019-05-09", f"3{DASH}9 May 2019"),
        ("2019-04-30", "2019-05-03", f"30 April {DASH} 3 May 2019"),
        ("2019-12-28", "2020-01-02", f"28 December 2019 {DASH} 2 January 2020"),
    ],
)
def test_dates_leave_out_what_they_have_in_common(first: str, last: str, text: str) -> None:
    assert dates_text(date.fromisoformat(first), date.fromisoformat(last)) == text


@pytest.mark.parametrize(
    ("cities", "name"),
    [
        ([PARIS], "Paris"),
        ([PARIS, PARIS, NICE], "Paris"),
        ([AVIGNON, ARLES], "Arles and Avignon"),
        ([ARLES, AVIGNON, NICE], "Provence-Alpes-Côte d'Azur"),
        ([ARLES, AVIGNON, NICE, PARIS], "Provence-Alpes-Côte d'Azur"),
        ([PARIS, NICE, ROME, AVIGNON], "France"),
        ([PARIS, NICE, ROME, BERLIN], "France, Germany and Italy"),
        ([PARIS, AT_SEA, AT_SEA], "Paris"),
        ([AT_SEA], "64.8° S, 62.9° W"),
    ],
)
def test_the_smallest_place_with_most_photos_names_a_trip(cities: list[City], name: str) -> None:
    photos = shots("2019-05-01", f"2019-05-{len(cities):02}", *cities)
    assert place_name(visited_places(visits(photos))) == name


def test_places_on_both_sides_of_the_180th_meridian_have_their_middle_there() -> None:
    west, east = (City(HAMBURG.place, -16.8, longitude) for longitude in (-179.9, 179.7))
    (place,) = visited_places(visits(shots("2019-05-01", "2019-05-02", west, east)))
    assert place.longitude == pytest.approx(179.9)
