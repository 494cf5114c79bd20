"""Names of landmarks: what they may be, languages, slugs; and what people call countries and cities.

Names of cities in the reader's language are those of tagger/shipped/cities.names.tsv.
"""

import importlib.resources
import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache

from blake3 import blake3

from tagger.errors import LandmarkInvalid
from tagger.texts.text_format import (
    INVISIBLE,
    N_,
    UNDECOMPOSED,
    country_name,
    gettext,
    has_controls,
    reader_language,
    territory_of,
)

# A language tag, like `de` or `zh-Hant` (BCP 47).
LANGUAGE_PATTERN = r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$"


def name_in_language(name: str, names: Mapping[str, str], language: str | None) -> str:
    """The name in a language: for `de-AT` that of `de-AT`, else of `de`, else `name`."""
    while language:
        if language in names:
            return names[language]
        language = language.rpartition("-")[0]
    return name


SLUG_PATTERN = r"^[a-z0-9]+(-[a-z0-9]+)*$"


def slug_of_name(name: str) -> str | None:
    """The slug of a name: `Père-Lachaise` → `pere-lachaise`. None for a name of another script."""
    plain = unicodedata.normalize("NFKD", name.lower().translate(UNDECOMPOSED))
    slug = "-".join(
        re.findall(r"[a-z0-9]+", plain.encode("ascii", "ignore").decode().lower())
    )
    has_lost_letters = any(
        letter.isalpha() and not letter.isascii() for letter in plain
    )
    if has_lost_letters and not re.search("[a-z]", slug):  # `Храм 2` is not `2`
        return None
    return slug or None


def digest_slug(prefix: str, text: str) -> str:
    """A slug for a text of another script, always the same for the same text: `landmark-1f0c9a3e`."""
    return f"{prefix}-{blake3(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


# Characters of a name, country, region or city.
MAX_TEXT = 200
# A landmark keeps the names of those that were merged into it.
MAX_SLUG = 100
# Characters of a language tag, as BCP 47 recommends.
MAX_LANGUAGE = 35


# Texts of a landmark, as errors name them.
FIELDS = (N_("name"), N_("alias"), N_("country"), N_("region"), N_("city"))


def invalid_text(field: str, reason: str, **values: object) -> LandmarkInvalid:
    """The error of a text: pages show it in the reader's language."""
    return LandmarkInvalid(reason=f"{gettext(field)}: {gettext(reason, **values)}")


def clean_text(text: str, field: str) -> str:
    """The text in Unicode's composed form, without invisible marks and double spaces. It may be empty.

    Raises:
        LandmarkInvalid: it has a line break or another control character, is not Unicode, or is too long.
    """
    if has_controls(text):
        raise invalid_text(
            field, N_("it has a line break or another control character")
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise invalid_text(field, N_("it is not UTF-8")) from error
    if len(text) > MAX_TEXT:
        raise invalid_text(
            field,
            N_("it has %(count)s characters, more than %(limit)s"),
            count=len(text),
            limit=MAX_TEXT,
        )
    return " ".join(unicodedata.normalize("NFC", INVISIBLE.sub("", text)).split())


def clean_name(text: str, field: str = "name") -> str:
    """A text with at least one letter, digit or symbol.

    Raises:
        LandmarkInvalid: as `clean_text`, or it has none.
    """
    name = clean_text(text, field)
    if not any(unicodedata.category(character)[0] in "LNS" for character in name):
        raise invalid_text(field, N_("it has no letter, digit or symbol"))
    return name


def optional_text(value: str | None, column: str) -> str | None:
    """The clean text; None for an empty one.

    Raises:
        LandmarkInvalid: the text is invalid.
    """
    return None if value is None else clean_text(value, column) or None


def check_slug(slug: str) -> str:
    """Raises:
    LandmarkInvalid: the text is no slug; the message proposes one.
    """
    if not re.fullmatch(SLUG_PATTERN, slug) or len(slug) > MAX_SLUG:
        proposal = (slug_of_name(slug) or "old-town-hall")[:MAX_SLUG].strip("-")
        reason = (
            f"slug: it must be lower-case letters from a to z, digits and single hyphens, at most "
            f"{MAX_SLUG}, like {proposal}"
        )
        raise LandmarkInvalid(reason=reason)
    return slug


def check_language(language: str) -> str:
    """Raises:
    LandmarkInvalid: it is no language tag.
    """
    if len(language) > MAX_LANGUAGE or not re.fullmatch(LANGUAGE_PATTERN, language):
        raise LandmarkInvalid(
            reason=f"language: {language[:40]!r} is no language tag, like de or zh-Hant"
        )
    return language


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


# Languages besides English, and those of the country itself, in which names of countries are known.
LANGUAGES = ("de", "fr", "es", "pt", "it", "nl", "hi", "vi")


@lru_cache(maxsize=300)
def foreign_names(country: str) -> tuple[str, ...]:
    """The names of a country in LANGUAGES and its own languages; none of one that CLDR does not know."""
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


# Those of the file, in its order; other readers get the English or local names.
_CITY_LANGUAGES = ("de", "es", "fr", "pt")


def city_name(city: str, area: str | None) -> str:
    """The name of a city of a region or country, given in English; itself if no other is known."""
    language = (reader_language() or "").split("-")[0]
    return (
        _city_names(language).get((city, area), city)
        if language in _CITY_LANGUAGES
        else city
    )


def place_text(city: str | None, country: str | None) -> str:
    """City and country in the reader's language, as far as they are known."""
    names = city and city_name(city, country), country and country_name(country)
    return ", ".join(filter(None, names))


@cache
def _city_names(language: str) -> dict[tuple[str, str | None], str]:
    file = importlib.resources.files("tagger") / "shipped" / "cities.names.tsv"
    names: dict[tuple[str, str | None], str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        city, region, country, *of_languages = line.split("\t")
        if name := of_languages[_CITY_LANGUAGES.index(language)]:
            names.setdefault((city, region), name)
            names.setdefault((city, country), name)  # the largest city comes first
    return names
