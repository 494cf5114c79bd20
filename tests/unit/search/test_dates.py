"""Dates in typed text."""

from datetime import date, timedelta

import pytest
from hypothesis import given, strategies as st

from tagger.search.dates import Dates, dates_with_short_year, parse_dates

TODAY = date(2024, 1, 5)


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("2024", "2024-01-01", "2025-01-01"),
        ("May 2019", "2019-05-01", "2019-06-01"),
        ("2019-12", "2019-12-01", "2020-01-01"),
        ("05/2019", "2019-05-01", "2019-06-01"),
        ("2019-05-03", "2019-05-03", "2019-05-04"),
        ("3.5.2019", "2019-05-03", "2019-05-04"),
        ("25/12/2020", "2020-12-25", "2020-12-26"),
        ("12/25/2020", "2020-12-25", "2020-12-26"),
        ("5/5/2020", "2020-05-05", "2020-05-06"),
        ("May 3rd, 2019", "2019-05-03", "2019-05-04"),
        ("29 Feb 2024", "2024-02-29", "2024-03-01"),
        ("1990s", "1990-01-01", "2000-01-01"),
        ("2019 to 2021", "2019-01-01", "2022-01-01"),
        ("between 2019 and 2021", "2019-01-01", "2022-01-01"),
        ("May to August 2019", "2019-05-01", "2019-09-01"),
        ("summer 2016", "2016-06-01", "2016-09-01"),
        ("Last year", "2023-01-01", "2024-01-01"),
        ("last week", "2023-12-25", "2024-01-01"),
        ("yesterday", "2024-01-04", "2024-01-05"),
        ("since 2020", "2020-01-01", None),
        ("after May 2019", "2019-06-01", None),
        ("before May 2019", None, "2019-05-01"),
        ("until 2019", None, "2020-01-01"),
        ("März 2019", "2019-03-01", "2019-04-01"),
        ("von Mai bis Juli 2019", "2019-05-01", "2019-08-01"),
        ("1er août 2019", "2019-08-01", "2019-08-02"),
        ("l'année dernière", "2023-01-01", "2024-01-01"),
        ("3 de mayo de 2019", "2019-05-03", "2019-05-04"),
        ("मई 2019", "2019-05-01", "2019-06-01"),
        ("tháng 5 năm 2019", "2019-05-01", "2019-06-01"),
        ("năm ngoái", "2023-01-01", "2024-01-01"),
    ],
)  # fmt: skip
def test_dates_are_read_as_people_write_them(text, first, end):
    limits = (day and date.fromisoformat(day) for day in (first, end))
    assert parse_dates(text, TODAY) == Dates(*limits)


@pytest.mark.parametrize(
    ("text", "months"),
    [
        ("May", (5,)),
        ("décembre", (12,)),
        ("summer", (6, 7, 8)),
        ("Winter", (12, 1, 2)),
        ("June to August", (6, 7, 8)),
        ("November to February", (11, 12, 1, 2)),
        ("december-january", (12, 1)),
        ("spring to winter", (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 1, 2)),
    ],
)  # fmt: skip
def test_months_and_seasons_without_a_year_are_those_of_any(text, months):
    assert parse_dates(text, TODAY) == Dates(months=months)


@pytest.mark.parametrize(
    "text",
    [
        "from November to February", "between November and February", "von November bis Februar",
        "zwischen November und Februar", "de novembre à février", "de novembre jusqu'en février",
        "entre novembre et février", "de noviembre a febrero", "desde noviembre hasta febrero",
        "entre noviembre y febrero", "de novembro a fevereiro", "de novembro até fevereiro",
        "entre novembro e fevereiro", "da novembre a febbraio", "fra novembre e febbraio",
        "van november tot februari", "november t/m februari", "tussen november en februari",
        "नवंबर से फ़रवरी", "नवंबर से फ़रवरी तक", "नवंबर और फ़रवरी के बीच", "từ tháng 11 đến tháng 2", "giữa tháng 11 và tháng 2",
    ],
)  # fmt: skip
def test_periods_are_read_in_each_language(text):
    assert parse_dates(text, TODAY) == Dates(months=(11, 12, 1, 2))


@pytest.mark.parametrize(
    "text",
    [
        "autumn to spring", "vom Herbst bis zum Frühling", "de l'automne au printemps", "del otoño a la primavera",
        "do outono à primavera", "dall'autunno alla primavera", "van herfst tot lente", "शरद से वसंत", "mùa thu đến mùa xuân",
    ],
)  # fmt: skip
def test_periods_of_seasons_are_read_in_each_language(text):
    assert parse_dates(text, TODAY) == Dates(months=(9, 10, 11, 12, 1, 2, 3, 4, 5))


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("November 2022 to February 2023", "2022-11-01", "2023-03-01"),
        ("november 2022 to february", "2022-11-01", "2023-03-01"),
        ("between november and march 2023", "2022-11-01", "2023-04-01"),
        ("nov 2022-feb 2023", "2022-11-01", "2023-03-01"),
        ("winter 2022 to spring", "2022-12-01", "2023-06-01"),
        ("winter to january 2023", "2022-12-01", "2023-02-01"),
        ("3.11.2022 to february", "2022-11-03", "2023-03-01"),
        ("christmas 2022 to february", "2022-12-24", "2023-03-01"),
        ("May 2019 to August", "2019-05-01", "2019-09-01"),
        ("3 May to 5 June 2019", "2019-05-03", "2019-06-06"),
        ("christmas 2022 to new year", "2022-12-24", "2023-01-02"),
        ("winter 2022/23", "2022-12-01", "2023-03-01"),
        ("नवंबर 2022 से फ़रवरी 2023 तक", "2022-11-01", "2023-03-01"),
        ("2019 đến 2021", "2019-01-01", "2022-01-01"),
        ("den 3.5.2019", "2019-05-03", "2019-05-04"),
    ],
)
def test_months_without_a_year_are_those_beside_the_dates_with_one(text, first, end):
    assert parse_dates(text, TODAY) == Dates(date.fromisoformat(first), date.fromisoformat(end))


@pytest.mark.parametrize(
    "text",
    ["", "mar", "201", "0019", "9999", "2019-13", "29 Feb 2023", "31.4.2019", "3/5/2019", "jui 2019", "2021-2019", "ma2019", "2022 to march", "march to 2023", "may to may", "winter 2022/24", "may 2022/23", "2018 2019", "31 April", "since 3 May", "3 summer", "32 jan", "jui 3", "tower 2019", "q1 2023", "week 12 2023", "KW 12 2023", "last quarter", "easter 2023", "2 years ago", "a year ago"],
)  # fmt: skip
def test_other_texts_are_no_dates(text):
    assert parse_dates(text, TODAY) is None


@pytest.mark.parametrize(
    "text",
    [
        "12 January", "12 jan", "January 12", "Jan. 12th", "the 12th of January", "12. Januar", "am 12. Jänner", "12 janvier",
        "le 12 janvier", "12 de enero", "12 de janeiro", "12 gennaio", "12 januari", "12 जनवरी", "ngày 12 tháng 1",
    ],
)  # fmt: skip
def test_a_day_without_a_year_is_that_of_any(text):
    assert parse_dates(text, TODAY) == Dates(days=(date(2000, 1, 12),))
    assert parse_dates("29 February", TODAY) == Dates(days=(date(2000, 2, 29),))


@pytest.mark.parametrize(
    "text",
    [
        "on this day", "this day", "an diesem Tag", "ce jour-là", "este día", "tal día como hoy", "neste dia", "in questo giorno", "op deze dag",
        "आज के दिन", "ngày này",
    ],
)  # fmt: skip
def test_this_day_is_that_of_any_year(text):
    assert parse_dates(text, TODAY) == Dates(days=(date(2000, 1, 5),))


@pytest.mark.parametrize(
    "text",
    [
        "today a year ago", "a year ago today", "one year ago today", "heute vor einem Jahr", "aujourd'hui il y a un an", "hoy hace un año", "hoje há um ano",
        "oggi un anno fa", "vandaag een jaar geleden", "आज एक साल पहले",
    ],
)  # fmt: skip
def test_today_may_be_a_year_ago(text):
    assert parse_dates(text, TODAY) == Dates(date(2023, 1, 5), date(2023, 1, 6))
    assert parse_dates("today a year ago", date(2024, 2, 29)) is None


@pytest.mark.parametrize(
    ("text", "first", "end"),
    [
        ("summer 22", "2022-06-01", "2022-09-01"),
        ("Sommer '22", "2022-06-01", "2022-09-01"),
        ("christmas 23", "2023-12-24", "2023-12-27"),
        ("3.5.19", "2019-05-03", "2019-05-04"),
        ("2022 to 23", "2022-01-01", "2024-01-01"),
    ],
)
def test_two_figures_at_the_end_are_a_year_unless_they_are_a_day(text, first, end):
    dates = Dates(date.fromisoformat(first), date.fromisoformat(end))
    assert parse_dates(text, TODAY) == dates_with_short_year(text, TODAY) == dates
    assert parse_dates("September 23", TODAY) == Dates(days=(date(2000, 9, 23),))


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("christmas", ["12-24", "12-25", "12-26"]),
        ("new year", ["12-31", "01-01"]),
        ("Silvester", ["12-31", "01-01"]),
    ],
)
def test_holidays_without_a_year_are_those_of_any(text, days):
    found = parse_dates(text, TODAY)
    assert [f"{day:%m-%d}" for day in found.days] == days


@given(st.text(max_size=20), st.dates(date(1990, 1, 1), date(2100, 1, 1)))
def test_any_text_may_be_typed(text, today):
    found = parse_dates(text, today)
    assert found is None or found.first is None or found.end is None or found.first < found.end


@given(
    st.dates(date(1800, 1, 1), date(2199, 12, 31)),
    st.sampled_from(["%Y-%m-%d", "%d.%m.%Y", "%d %B %Y", "%b %d, %Y"]),
)
def test_every_day_is_found_in_every_form(day, form):
    assert parse_dates(day.strftime(form), TODAY) == Dates(day, day + timedelta(days=1))
