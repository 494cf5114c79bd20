"""Cities by name: the largest first, in any case, with the region or country after a comma."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.library.positions.cities import find_cities


@pytest.mark.parametrize(
    ("text", "city", "country"),
    [
        ("pari", "Paris", "France"),
        ("são paul", "São Paulo", "Brazil"),
        ("SAO PAUL", "São Paulo", "Brazil"),
        ("arles", "Arles", "France"),
        ("orange, fr", "Orange", "France"),
        ("paris, tex", "Paris", "United States"),
    ],
)
def test_a_city_is_found_by_the_start_of_its_name(text: str, city: str, country: str) -> None:
    found = find_cities(text, 3)[0]
    assert (found.name, found.country) == (city, country)


def test_no_more_cities_are_found_than_the_limit() -> None:
    assert [len(find_cities("san", limit)) for limit in (0, 1, 7)] == [0, 1, 7]
    assert find_cities("no city of this name", 7) == []


@given(st.text(max_size=20))
def test_any_text_may_be_searched_for(text: str) -> None:
    assert len(find_cities(text, 2)) <= 2
