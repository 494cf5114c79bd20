"""Dates in typed text."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagger.library.search.matching import parse_dates


@pytest.mark.parametrize(
    ("text", "name", "first", "end"),
    [
        ("2024", "2024", date(2024, 1, 1), date(2025, 1, 1)),
        ("May 2019", "May 2019", date(2019, 5, 1), date(2019, 6, 1)),
        ("sept. 2019", "September 2019", date(2019, 9, 1), date(2019, 10, 1)),
        ("2019-12", "December 2019", date(2019, 12, 1), date(2020, 1, 1)),
        ("05/2019", "May 2019", date(2019, 5, 1), date(2019, 6, 1)),
        ("2019-05-03", "3 May 2019", date(2019, 5, 3), date(2019, 5, 4)),
        ("3.5.2019", "3 May 2019", date(2019, 5, 3), date(2019, 5, 4)),
        ("May 3rd, 2019", "3 May 2019", date(2019, 5, 3), date(2019, 5, 4)),
        ("29 Feb 2024", "29 February 2024", date(2024, 2, 29), date(2024, 3, 1)),
        ("1990s", "1990s", date(1990, 1, 1), date(2000, 1, 1)),
        ("2019 to 2021", "2019 to 2021", date(2019, 1, 1), date(2022, 1, 1)),
        ("2019-2021", "2019 to 2021", date(2019, 1, 1), date(2022, 1, 1)),
        ("summer 2016", "Summer 2016", date(2016, 6, 1), date(2016, 9, 1)),
        ("Winter, 2016", "Winter 2016", date(2016, 12, 1), date(2017, 3, 1)),
        ("Last year", "2023", date(2023, 1, 1), date(2024, 1, 1)),
        ("last month", "December 2023", date(2023, 12, 1), date(2024, 1, 1)),
        ("yesterday", "4 January 2024", date(2024, 1, 4), date(2024, 1, 5)),
    ],
)
def test_dates_are_read_as_people_write_them(text: str, name: str, first: date, end: date) -> None:
    found = parse_dates(text, today=date(2024, 1, 5))
    assert found is not None
    assert (found.name, found.first, found.end) == (name, first, end)


@pytest.mark.parametrize(
    "text",
    ["", "may", "201", "0019", "9999", "2019-13", "29 Feb 2023", "31.4.2019", "3/5/2019", "mai 2019", "2021-2019", "ma2019"],
)  # fmt: skip
def test_other_texts_are_no_dates(text: str) -> None:
    assert parse_dates(text) is None


@given(st.text(max_size=20))
def test_any_text_may_be_typed(text: str) -> None:
    found = parse_dates(text)
    assert found is None or found.first < found.end


@given(
    st.dates(date(1800, 1, 1), date(2199, 12, 31)),
    st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%d %B %Y", "%b %d, %Y"]),
)
def test_every_day_is_found_in_every_form(day: date, form: str) -> None:
    found = parse_dates(day.strftime(form))
    assert found is not None
    assert (found.first, found.end) == (day, day + timedelta(days=1))
