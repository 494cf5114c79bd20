"""What people call countries: in English, and in other languages."""

from functools import lru_cache

from tagger.system.text_format import territory_of

_EVERYDAY_NAMES = {
    "Cabo Verde": ("Cape Verde",),
    "China": ("PRC",),
    "Czechia": ("Czech Republic",),
    "Democratic Republic of the Congo": ("DRC", "DR Congo", "Zaire"),
    "Eswatini": ("Swaziland",),
    "Iran": ("Persia",),
    "Myanmar": ("Burma",),
    "Netherlands": ("Holland",),
    "South Africa": ("RSA",),
    "South Korea": ("Korea", "Republic of Korea"),
    "Timor-Leste": ("East Timor",),
    "Turkey": ("Türkiye",),
    "United Arab Emirates": ("Emirates",),
    "United Kingdom": ("GB", "Great Britain", "Britain"),
    "United States": ("USA", "United States of America", "America", "Amerika"),
    "Vatican City": ("Holy See", "Vatican"),
}


def english_names(country: str) -> tuple[str, ...]:
    """The name of a country itself, its initials (UK, US, UAE), and what else people call it."""
    words = [word for word in country.split() if word[0].isupper()]
    initials = ("".join(word[0] for word in words),) if len(words) > 1 else ()
    return (country, *initials, *_EVERYDAY_NAMES.get(country, ()))


LANGUAGES = ("de", "fr", "es", "pt", "it", "nl", "hi", "vi")
"""Countries and dates are known by their names in these languages besides English, and countries by those in their own."""


@lru_cache(maxsize=300)
def foreign_names(country: str) -> tuple[str, ...]:
    """The names of a country in LANGUAGES and in those of the country itself; none of one that CLDR does not know by this name."""
    from babel import Locale, UnknownLocaleError
    from babel.languages import get_official_languages

    territory = territory_of(country)
    if territory is None:
        return ()
    names = []
    for language in dict.fromkeys((*LANGUAGES, *get_official_languages(territory))):
        try:
            names.append(Locale.parse(language).territories[territory])
        except (KeyError, UnknownLocaleError):  # CLDR has a language without texts
            continue
    return tuple(names)
