"""What people call countries."""

import pytest

from tagger.library.search.matching import Match
from tagger.library.search.names import country_names, foreign_names

COUNTRIES = dict.fromkeys(
    ("United Kingdom", "United States", "Germany", "Czechia", "Ivory Coast", "Egypt", "Vietnam")
)


@pytest.mark.parametrize(
    ("text", "country"),
    [("uk", "United Kingdom"), ("England", "United Kingdom"), ("USA", "United States"), ("czech republic", "Czechia")],
)  # fmt: skip
def test_countries_have_initials_and_everyday_names(text: str, country: str) -> None:
    match, meaning = country_names(COUNTRIES).find(text)[0]
    assert (match, meaning.label) == (Match.WHOLE, country)


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("deutschland", "Germany"),
        ("Allemagne", "Germany"),
        ("Alemanha", "Germany"),
        ("जर्मनी", "Germany"),
        ("cesko", "Czechia"),
        ("Cote dIvoire", "Ivory Coast"),
        ("مصر", "Egypt"),
        ("Việt Nam", "Vietnam"),
        ("Etats-Unis", "United States"),
    ],
)
def test_countries_have_names_in_other_languages_and_their_own(text: str, country: str) -> None:
    match, meaning = country_names(COUNTRIES, foreign_names).find(text)[0]
    assert (match, meaning.label) == (Match.WHOLE, country)


def test_a_country_that_is_not_known_has_no_other_names() -> None:
    assert foreign_names("Atlantis") == ()
