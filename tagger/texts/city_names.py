"""Names of cities in the reader's language, from tagger/shipped/cities.names.tsv."""

import importlib.resources
from functools import cache

from tagger.texts.text_format import country_name, reader_language

# Those of the file, in its order; other readers get the English or local names.
_LANGUAGES = ("de", "es", "fr", "pt")


def city_name(city: str, area: str | None) -> str:
    """The name of a city of a region or country, given in English; itself if no other is known."""
    language = (reader_language() or "").split("-")[0]
    return _names(language).get((city, area), city) if language in _LANGUAGES else city


def place_text(city: str | None, country: str | None) -> str:
    """City and country in the reader's language, as far as they are known."""
    names = city and city_name(city, country), country and country_name(country)
    return ", ".join(filter(None, names))


@cache
def _names(language: str) -> dict[tuple[str, str | None], str]:
    file = importlib.resources.files("tagger") / "shipped" / "cities.names.tsv"
    names: dict[tuple[str, str | None], str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        city, region, country, *of_languages = line.split("\t")
        if name := of_languages[_LANGUAGES.index(language)]:
            names.setdefault((city, region), name)
            names.setdefault((city, country), name)  # the largest city comes first
    return names
