"""What typed text matches: names, also with typing errors, further names of countries, and dates.

Case, accents and punctuation do not matter.
"""

import calendar
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import IntEnum
from typing import Generic, TypeVar

from tagger.library.catalog.landmarks import normalize_name

T = TypeVar("T")
_NOT_OF_WORDS = re.compile(r"[\W_]+")
_WITHIN_WORDS = re.compile(r"['\u2019.]")
_LEAST_INSIDE = 3
"""Letters that a name may have anywhere: fewer are in too many."""


class Match(IntEnum):
    """How a name matches, the best first."""

    WHOLE = 0
    START = 1
    START_OF_WORD = 2
    WORDS = 3
    """Every word of the text starts one of the name, in any order."""
    INSIDE = 4
    SIMILAR = 5
    """Every word of the text starts one of the name but for one typing error, or two in a long word."""


def folded(name: str) -> str:
    """The form in which names are compared: words of letters and digits, with one space between."""
    joined = _WITHIN_WORDS.sub("", normalize_name(name))
    return _NOT_OF_WORDS.sub(" ", joined).strip()


@dataclass(frozen=True)
class _Name(Generic[T]):
    text: str  # folded
    words: tuple[tuple[str, int], ...]  # each with its letters
    thing: T


class NameIndex(Generic[T]):
    """Things by their names, in order of preference: of several that match equally well, the first is the best."""

    def __init__(self, things: Iterable[tuple[T, Iterable[str]]]) -> None:
        self._names = [
            _Name(text, tuple((word, _letters(word)) for word in text.split()), thing)
            for thing, names in things
            for text in dict.fromkeys(filter(None, map(folded, names)))
        ]

    def find(self, text: str) -> list[tuple[Match, T]]:
        """The things with a name that contains the text, the best first; each once."""
        words = folded(text).split()
        if not words:
            return []
        whole = " ".join(words)
        return _best((_match(name.text, whole, words), name.thing) for name in self._names)

    def named(self, text: str) -> list[T]:
        """The things with exactly this name, in order of preference; each once."""
        whole = folded(text)
        return list({id(name.thing): name.thing for name in self._names if name.text == whole}.values())

    def find_similar(self, text: str) -> list[tuple[Match, T]]:
        """The things of which a name resembles the text; each once."""
        words = [(word, _letters(word)) for word in folded(text).split()]
        if not words:
            return []
        return _best(
            (Match.SIMILAR if all(_has_similar(name.words, word) for word in words) else None, name.thing)
            for name in self._names
        )


def is_similar_start(text: str, word: str, errors: int) -> bool:
    """Whether at most so many errors (a letter too many, missing, wrong, or two swapped) make `text` from the start of `word`."""
    if not text:
        return True
    length = 0
    for letter, other in zip(text, word, strict=False):
        if letter != other:
            break
        length += 1
    text, word = text[length:], word[length:]
    if not text:
        return True
    if not errors:
        return False
    left = errors - 1
    return (
        is_similar_start(text[1:], word, left)
        or (bool(word) and is_similar_start(text[1:], word[1:], left))
        or (bool(word) and is_similar_start(text, word[1:], left))
        or (text[:2] == word[1::-1] and len(word) > 1 and is_similar_start(text[2:], word[2:], left))
    )


_OTHER_NAMES = {
    "Albania": ("Albanien", "Albanie"),
    "Algeria": ("Algerien", "Algérie", "Argelia"),
    "Argentina": ("Argentinien", "Argentine"),
    "Armenia": ("Armenien", "Arménie"),
    "Australia": ("Australien", "Australie"),
    "Austria": ("Österreich", "Autriche"),
    "Belarus": ("Weißrussland", "Biélorussie"),
    "Belgium": ("België", "Belgique", "Belgien", "Bélgica", "Belgio"),
    "Bolivia": ("Bolivien", "Bolivie"),
    "Bosnia and Herzegovina": ("Bosnia", "Bosnien", "Bosnie"),
    "Brazil": ("Brasil", "Brasilien", "Brésil", "Brasile"),
    "Bulgaria": ("Bulgarien", "Bulgarie"),
    "Cabo Verde": ("Cape Verde", "Kap Verde", "Cap-Vert"),
    "Cambodia": ("Kambodscha", "Cambodge", "Camboya", "Cambogia"),
    "Canada": ("Kanada",),
    "Chile": ("Chili", "Cile"),
    "China": ("PRC", "Chine", "Cina"),
    "Colombia": ("Kolumbien", "Colombie"),
    "Croatia": ("Hrvatska", "Kroatien", "Croatie", "Croacia", "Croazia"),
    "Cuba": ("Kuba",),
    "Cyprus": ("Zypern", "Chypre", "Chipre", "Cipro"),
    "Czechia": ("Czech Republic", "Česko", "Tschechien", "Tchéquie", "Chequia", "Cechia"),
    "Democratic Republic of the Congo": ("DRC", "DR Congo", "Zaire"),
    "Denmark": ("Danmark", "Dänemark", "Danemark", "Dinamarca", "Danimarca"),
    "Egypt": ("Misr", "Ägypten", "Égypte", "Egipto", "Egitto"),
    "Estonia": ("Eesti", "Estland", "Estonie"),
    "Eswatini": ("Swaziland",),
    "Ethiopia": ("Äthiopien", "Éthiopie", "Etiopía"),
    "Finland": ("Suomi", "Finnland", "Finlande", "Finlandia"),
    "France": ("Frankreich", "Francia"),
    "Georgia": ("Georgien", "Géorgie"),
    "Germany": ("Deutschland", "Allemagne", "Alemania", "Germania"),
    "Greece": ("Hellas", "Ellada", "Griechenland", "Grèce", "Grecia"),
    "Hungary": ("Magyarország", "Ungarn", "Hongrie", "Hungría", "Ungheria"),
    "Iceland": ("Ísland", "Islande", "Islandia", "Islanda"),
    "India": ("Bharat", "Indien", "Inde"),
    "Indonesia": ("Indonesien", "Indonésie"),
    "Iran": ("Persia",),
    "Iraq": ("Irak",),
    "Ireland": ("Éire", "Irland", "Irlande", "Irlanda"),
    "Israel": ("Israele",),
    "Italy": ("Italia", "Italien", "Italie"),
    "Ivory Coast": ("Côte d'Ivoire", "Elfenbeinküste", "Costa de Marfil", "Costa d'Avorio"),
    "Jamaica": ("Jamaika", "Jamaïque"),
    "Japan": ("Nippon", "Nihon", "Japon", "Giappone"),
    "Jordan": ("Jordanien", "Jordanie", "Jordania", "Giordania"),
    "Kenya": ("Kenia",),
    "Latvia": ("Latvija", "Lettland", "Lettonie", "Letonia", "Lettonia"),
    "Lebanon": ("Libanon", "Liban", "Líbano", "Libano"),
    "Lithuania": ("Lietuva", "Litauen", "Lituanie", "Lituania"),
    "Luxembourg": ("Luxemburg", "Luxemburgo", "Lussemburgo"),
    "Madagascar": ("Madagaskar",),
    "Malaysia": ("Malaisie", "Malasia"),
    "Malta": ("Malte",),
    "Mexico": ("México", "Mexiko", "Mexique", "Messico"),
    "Mongolia": ("Mongolei", "Mongolie"),
    "Morocco": ("Marokko", "Maroc", "Marruecos", "Marocco"),
    "Myanmar": ("Burma", "Birma", "Birmanie"),
    "Netherlands": ("Holland", "Nederland", "Niederlande", "Pays-Bas", "Países Bajos", "Paesi Bassi"),
    "New Zealand": ("Neuseeland", "Nouvelle-Zélande", "Nueva Zelanda", "Nuova Zelanda"),
    "North Macedonia": ("Macedonia", "Nordmazedonien", "Macédoine du Nord"),
    "Norway": ("Norge", "Norwegen", "Norvège", "Noruega", "Norvegia"),
    "Peru": ("Pérou",),
    "Philippines": ("Philippinen", "Filipinas", "Filippine"),
    "Poland": ("Polska", "Polen", "Pologne", "Polonia"),
    "Portugal": ("Portogallo",),
    "Romania": ("România", "Rumänien", "Roumanie", "Rumania"),
    "Russia": ("Rossiya", "Russland", "Russie", "Rusia"),
    "Saudi Arabia": ("Saudi-Arabien", "Arabie saoudite", "Arabia Saudí"),
    "Serbia": ("Srbija", "Serbien", "Serbie"),
    "Singapore": ("Singapur", "Singapour"),
    "Slovakia": ("Slovensko", "Slowakei", "Slovaquie", "Eslovaquia", "Slovacchia"),
    "Slovenia": ("Slovenija", "Slowenien", "Slovénie", "Eslovenia"),
    "South Africa": ("RSA", "Südafrika", "Afrique du Sud", "Sudáfrica", "Sudafrica"),
    "South Korea": ("Republic of Korea", "Korea", "Südkorea", "Corée du Sud", "Corea del Sur"),
    "Spain": ("España", "Spanien", "Espagne", "Spagna"),
    "Sweden": ("Sverige", "Schweden", "Suède", "Suecia", "Svezia"),
    "Switzerland": ("Schweiz", "Suisse", "Svizzera", "Suiza"),
    "Syria": ("Syrien", "Syrie", "Siria"),
    "Tanzania": ("Tansania", "Tanzanie"),
    "Thailand": ("Thaïlande", "Tailandia"),
    "Timor-Leste": ("East Timor",),
    "Tunisia": ("Tunesien", "Tunisie", "Túnez"),
    "Turkey": ("Türkiye", "Türkei", "Turquie", "Turquía", "Turchia"),
    "Ukraine": ("Ukraina", "Ucrania", "Ucraina"),
    "United Arab Emirates": ("Emirates",),
    "United Kingdom": (
        "GB",
        "Great Britain",
        "Britain",
        "England",
        "Scotland",
        "Wales",
        "Großbritannien",
        "Royaume-Uni",
        "Reino Unido",
        "Regno Unito",
    ),
    "United States": (
        "USA",
        "United States of America",
        "America",
        "Amerika",
        "États-Unis",
        "Estados Unidos",
        "Stati Uniti",
    ),
    "Vatican City": ("Holy See", "Vatikanstadt", "Vatican", "Vaticano"),
    "Vietnam": ("Viêt Nam",),
}
"""What people call countries: their own names, and those in German, French, Spanish and Italian."""


def country_names(country: str) -> tuple[str, ...]:
    """Every name of a country: this one, its initials (UK, US, UAE), and what else people call it."""
    words = [word for word in country.split() if word[0].isupper()]
    initials = ("".join(word[0] for word in words),) if len(words) > 1 else ()
    return (country, *initials, *_OTHER_NAMES.get(country, ()))


_FIRST_YEAR, _LAST_YEAR = 1800, 2199
_YEAR = r"(?P<year>\d{4})"
_NUMBERS = (
    re.compile(rf"{_YEAR}(?:[-/.](?P<month>\d{{1,2}})(?:[-/.](?P<day>\d{{1,2}}))?)?"),
    re.compile(rf"(?:(?P<day>\d{{1,2}})\. ?)?(?P<month>\d{{1,2}})\. ?{_YEAR}"),
    re.compile(rf"(?P<month>\d{{1,2}})[/-]{_YEAR}"),
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|\.)?"
_MONTH = r"(?P<name>[a-z]{3,9})\.?"
_NAMES = (
    re.compile(rf"(?:{_DAY} )?{_MONTH}[ ,]+{_YEAR}"),
    re.compile(rf"{_MONTH} {_DAY}[ ,]+{_YEAR}"),
    re.compile(rf"{_YEAR}[ ,]+{_MONTH}(?: {_DAY})?"),
)
_YEARS = re.compile(r"(?P<first>\d{4}) ?(?:-|\u2013|\.\.|to) ?(?P<last>\d{4})")
_DECADE = re.compile(r"(?P<year>\d{3}0)'?s")
_SEASONS = {"spring": 3, "summer": 6, "autumn": 9, "fall": 9, "winter": 12}
"""The first of their three months, in the north."""
_SEASON = re.compile(rf"(?P<season>{'|'.join(_SEASONS)})[ ,]+{_YEAR}")


@dataclass(frozen=True)
class DateRange:
    """Days from `first` to before `end`. `name` is how people write it, like `May 2019`."""

    name: str
    first: date
    end: date


def parse_dates(text: str, today: date | None = None) -> DateRange | None:
    """The dates that a text names, in English or in digits; None: none, or days that no calendar has.

    Days before months only with dots, as in 3.5.2019: others write 3/5/2019 for another day. Seasons are those of the north; a
    winter is named after the year in which it begins. `today` decides about words like `last year`.
    """
    plain = " ".join(text.casefold().split())
    if (relative := _RELATIVE.get(plain)) is not None:
        return relative(today or datetime.now().astimezone().date())
    if match := _SEASON.fullmatch(plain):
        season, year = match["season"], int(match["year"])
        return _months(f"{season.capitalize()} {year}", year, _SEASONS[season], 3)
    if match := _YEARS.fullmatch(plain):
        return _years(int(match["first"]), int(match["last"]))
    if match := _DECADE.fullmatch(plain):
        year = int(match["year"])
        return _range(f"{year}s", year, year + 9)
    for pattern in (*_NUMBERS, *_NAMES):
        if match := pattern.fullmatch(plain):
            parts = match.groupdict()
            month = _month_number(parts["name"]) if "name" in parts else parts.get("month")
            if month is not None or "name" not in parts:
                return _calendar_range(parts["year"], month, parts.get("day"))
    return None


def _best(matches: Iterable[tuple[Match | None, T]]) -> list[tuple[Match, T]]:
    best: dict[int, tuple[Match, T]] = {}
    for match, thing in matches:
        if match is not None and (id(thing) not in best or match < best[id(thing)][0]):
            best[id(thing)] = match, thing
    return sorted(best.values(), key=lambda found: found[0])


def _match(name: str, text: str, words: Sequence[str]) -> Match | None:
    if text in name:
        if name == text:
            return Match.WHOLE
        if name.startswith(text):
            return Match.START
        if f" {text}" in name:
            return Match.START_OF_WORD
        return Match.INSIDE if len(text) >= _LEAST_INSIDE else None
    if len(words) > 1 and all(f" {word}" in f" {name}" for word in words):
        return Match.WORDS
    return None


def _has_similar(words: Iterable[tuple[str, int]], typed: tuple[str, int]) -> bool:
    word, letters = typed
    errors = 0 if len(word) < 4 else 1 if len(word) < 8 else 2
    for other, other_letters in words:
        # What was typed has few letters that the name does not have: this is fast, and decides nearly always.
        if (letters & ~other_letters).bit_count() <= errors and is_similar_start(word, other, errors):
            return True
    return False


def _letters(word: str) -> int:
    """The set of letters as bits; some letters share one."""
    letters = 0
    for letter in word:
        letters |= 1 << (ord(letter) & 63)
    return letters


def _calendar_range(year_text: str, month_text: str | None, day_text: str | None) -> DateRange | None:
    year = int(year_text)
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    if month_text is None:
        return _range(year_text, year, year)
    month = int(month_text)
    if not 1 <= month <= 12:
        return None
    days = calendar.monthrange(year, month)[1]
    if day_text is None:
        return _month(date(year, month, 1))
    return _day(date(year, month, int(day_text))) if 1 <= int(day_text) <= days else None


def _day(day: date) -> DateRange:
    return DateRange(f"{day.day} {calendar.month_name[day.month]} {day.year}", day, day + timedelta(days=1))


def _month(day: date) -> DateRange | None:
    """The month of a day."""
    return _months(f"{calendar.month_name[day.month]} {day.year}", day.year, day.month, 1)


def _months(name: str, year: int, month: int, count: int) -> DateRange | None:
    """So many months from this one on."""
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    after = month - 1 + count
    return DateRange(name, date(year, month, 1), date(year + after // 12, after % 12 + 1, 1))


_RELATIVE: Mapping[str, Callable[[date], DateRange | None]] = {
    "today": _day,
    "yesterday": lambda today: _day(today - timedelta(days=1)),
    "this month": _month,
    "last month": lambda today: _month(today.replace(day=1) - timedelta(days=1)),
    "this year": lambda today: _range(str(today.year), today.year, today.year),
    "last year": lambda today: _range(str(today.year - 1), today.year - 1, today.year - 1),
}
"""Dates that depend on the day on which they are typed."""


def _years(first: int, last: int) -> DateRange | None:
    if not first < last:
        return None
    return _range(f"{first} to {last}", first, last)


def _range(name: str, first: int, last: int) -> DateRange | None:
    if not _FIRST_YEAR <= first <= last <= _LAST_YEAR:
        return None
    return DateRange(name, date(first, 1, 1), date(last + 1, 1, 1))


def _month_number(name: str) -> str | None:
    """The number of a month by its name or the first three letters of it, or more."""
    for number in range(1, 13):
        if calendar.month_name[number].casefold().startswith(name):
            return str(number)
    return None
