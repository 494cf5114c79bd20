"""Texts, numbers and times as people read them, in the language of the reader; filters of templates.

Without a reader they are English: for commands, the API and logs. The page sets it for each request. Numbers,
dates and lists are formatted by CLDR, in English as in Britain; only English periods and units are not.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cache
from gettext import NullTranslations
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from babel import Locale

# What a library says of an invalid value, and how this program says it.
_VALIDATION = (
    (r"^Value error, ", ""),
    (r"^Input should be a valid integer.*", "it must be a whole number"),
    (r"^Input should be a valid number.*", "it must be a number"),
    (r"^Input should be ", "it must be "),
    (r"^String should ", "it must "),
    (r"^Field required", "it is required"),
)
_THIN = "\u202f"  # narrow no-break space
_UNITS = (
    (2**30, "GB", "gigabyte"),
    (2**20, "MB", "megabyte"),
    (2**10, "kB", "kilobyte"),
)


def invalid_text(message: str) -> str:
    """Why a value is invalid, in plain words, from the message of the library that validates it."""
    for pattern, plain in _VALIDATION:
        message = re.sub(pattern, plain, message)
    return message


@dataclass(frozen=True)
class Language:
    """A language other than English: its tag as in BCP 47, and the texts in it."""

    tag: str
    catalogue: NullTranslations

    @property
    def locale(self) -> "Locale":
        return _locale(self.tag)


@cache
def _locale(tag: str) -> "Locale":
    from babel import Locale  # most commands start without it

    return Locale.parse(tag, sep="-")


_reader: ContextVar[Language | None] = ContextVar(
    "language of the reader", default=None
)


@contextmanager
def in_language(language: Language | None) -> Iterator[None]:
    """Return texts in this language within the context, also in threads that copy it; None: in English."""
    token = _reader.set(language)
    try:
        yield
    finally:
        _reader.reset(token)


_zone: ContextVar["ZoneInfo | None"] = ContextVar(
    "time zone of the reader", default=None
)


@contextmanager
def in_zone(zone: "ZoneInfo | None") -> Iterator[None]:
    """Return times of the program in this zone within the context; None: in that of this machine."""
    token = _zone.set(zone)
    try:
        yield
    finally:
        _zone.reset(token)


def reader_zone() -> "ZoneInfo | None":
    """The zone of the reader; None: it is not known."""
    return _zone.get()


def _reader_time(time: date) -> date:
    # A time of the program in the reader's zone. A day, and a camera's time, which has no zone, as it is.
    if isinstance(time, datetime) and time.tzinfo is not None:
        return time.astimezone(_zone.get())
    return time


def _reader_locale() -> "Locale":
    language = _reader.get()
    return _locale("en-GB") if language is None else language.locale


def reader_language() -> str | None:
    """The tag of the reader's language; None: English, or there is no reader."""
    language = _reader.get()
    return None if language is None else language.tag


def gettext(text: str, /, **values: object) -> str:
    """The text in the reader's language, with the values in its placeholders."""
    language = _reader.get()
    found = text if language is None else language.catalogue.gettext(text)
    return found % values if values else found


def ngettext(one: str, more: str, number: int, /, **values: object) -> str:
    """The text for a number, which is also the value of `%(count)s`."""
    language = _reader.get()
    if language is None:
        found = one if number == 1 else more
    else:
        found = language.catalogue.ngettext(one, more, number)
    return found % {"count": number_text(number), **values}


def N_(text: str) -> str:  # noqa: N802 - its usual name
    """The text itself: marks one that is put into the catalogues here, and translated where it is shown."""
    return text


def NN_(one: str, more: str) -> tuple[str, str]:  # noqa: N802
    """The texts for numbers, as `N_`."""
    return one, more


def plain_number(text: str) -> str:
    """The text, for `int` and `float`, which also read numbers as Python code writes them.

    Raises:
        ValueError: it has a separator, as `1_000` has.
    """
    if "_" in text:
        raise ValueError(f"{text!r} is not a number")
    return text


def with_ascii_digits(text: str) -> str:
    """The text with 0 to 9 for the digits of all scripts."""
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(letter)) if letter.isdecimal() else letter
        for letter in text
    )


def number_text(value: float, decimals: int = 0) -> str:
    """`12,345`, or `12,345.7` with one decimal."""
    from babel.numbers import format_decimal

    fraction = f".{'0' * decimals}" if decimals else ""
    return format_decimal(value, f"#,##0{fraction}", locale=_reader_locale())


def distance_text(metres: float) -> str:
    """`210 m`, `1.1 km`, `9,560 km`."""
    if metres < 995:
        return f"{number_text(metres)} m"
    km = round(metres / 1000, 1)
    return f"{number_text(km, 0 if km >= 10 or km.is_integer() else 1)} km"


def percent(part: float) -> str:
    """`83%`. Only 0 and 1 are written as 0% and 100%."""
    if 0 < part < 0.01:
        return f"<{percent(0.01)}"
    if 0.99 < part < 1:
        return f">{percent(0.99)}"
    from babel.numbers import format_percent

    return format_percent(round(part, 2), locale=_reader_locale())


def share(part: float) -> str:
    """`83.2%`, as a length in SVG."""
    return f"{100 * min(1.0, max(0.0, part)):.4g}%"


def rounded_duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3 h`, `4 days`."""
    minutes = round(seconds / 60)
    hours = round(minutes / 60)
    if seconds < 90:
        return _unit_text(max(1, round(seconds)), "s", "second")
    if minutes < 90:
        return _unit_text(minutes, "min", "minute")
    return (
        _unit_text(hours, "h", "hour")
        if hours < 48
        else _unit_text(round(hours / 24), "days", "day")
    )


def size(size_bytes: int) -> str:
    """`64 MB`, rounded down, so that a limit is not overstated."""
    for unit_bytes, unit, name in _UNITS:
        if size_bytes >= unit_bytes:
            return _unit_text(size_bytes // unit_bytes, unit, name)
    return _unit_text(size_bytes, "byte" if size_bytes == 1 else "bytes", "byte")


def _unit_text(number: int, unit: str, name: str) -> str:
    # A number with its unit; `name` is CLDR's of the unit.
    if language := _reader.get():
        from babel.units import format_unit

        if name == "day":
            return str(format_unit(number, name, "long", locale=language.locale))
        return str(format_unit(number, name, "short", locale=language.locale)).replace(
            " ", "\N{NO-BREAK SPACE}"
        )
    return (
        f"{number_text(number)}{_THIN}{unit}" if unit != "days" else f"{number} {unit}"
    )


def day_text(day: date) -> str:
    """`3 June 2024`; of a time of the program, the day in the reader's zone."""
    from babel.dates import format_date

    return format_date(_reader_time(day), "long", locale=_reader_locale())


def day_of_any_year_text(day: date) -> str:
    """`3 June`."""
    from babel.dates import format_skeleton

    return format_skeleton("MMMMd", day, locale=_reader_locale())


def month_text(month: int) -> str:
    """`June`."""
    from babel.dates import get_month_names

    return str(get_month_names("wide", "stand-alone", locale=_reader_locale())[month])


def month_of_year_text(day: date) -> str:
    """`June 2024`."""
    from babel.dates import format_skeleton

    return format_skeleton("yMMMM", day, locale=_reader_locale())


def moment_text(time: datetime) -> str:
    """`3 June 2024, 14:05`; of a time of the program, in the reader's zone."""
    return f"{day_text(time)}, {_reader_time(time):%H:%M}"


def dates_text(first: date, last: date) -> str:
    """The days in words: of one month, `3 to 9 May 2019` with a dash for the `to`."""
    end = day_text(last)
    if first == last:
        return end
    if language := _reader.get():
        from babel.dates import format_interval

        return str(format_interval(first, last, "yMMMMd", locale=language.locale))
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}\N{EN DASH}{end}"
    begin = day_of_any_year_text(first) if first.year == last.year else day_text(first)
    return f"{begin} \N{EN DASH} {end}"


def heading_text(first: date, last: date, place: str | None) -> str:
    """Days and the place of their photos: `Fri, 22 August 2025 · Athens`."""
    days = dates_text(first, last)
    if first == last:
        days = f"{weekday_text(first)}, {days}"
    return f"{days} · {place}" if place else days


def weekday_text(day: date) -> str:
    """`Fri`."""
    from babel.dates import format_date

    return format_date(day, "EEE", locale=_reader_locale())


def period_text(first: date, end: date) -> str:
    """The days from `first` to before `end`: whole years and months by their names."""
    last = end - timedelta(days=1)
    if first.day == 1 and end.day == 1:
        if first.month == end.month == 1:
            return (
                str(first.year)
                if first.year == last.year
                else f"{first.year}\N{EN DASH}{last.year}"
            )
        if (first.year, first.month) == (last.year, last.month):
            return month_of_year_text(first)
    return dates_text(first, last)


def list_text(names: Sequence[str], joined_by: Literal["and", "or"] = "and") -> str:
    """`Arles, Nîmes and Avignon`."""
    from babel.lists import format_list

    return format_list(
        names, "or" if joined_by == "or" else "standard", _reader_locale()
    )


# Countries whose names are not those of CLDR in English.
_TERRITORIES = {
    "Cabo Verde": "CV",
    "Cocos Islands": "CC",
    "Democratic Republic of the Congo": "CD",
    "Hong Kong": "HK",
    "Ivory Coast": "CI",
    "Macao": "MO",
    "Myanmar": "MM",
    "Republic of the Congo": "CG",
    "Turkey": "TR",
}


def country_name(country: str) -> str:
    """The name of a country that is given by its English one; the text itself if CLDR does not know it."""
    language = _reader.get()
    territory = None if language is None else territory_of(country)
    return (
        country
        if language is None or territory is None
        else language.locale.territories[territory]
    )


def territory_of(country: str) -> str | None:
    return _TERRITORIES.get(country) or _territories().get(_folded(country))


@cache
def _territories() -> dict[str, str]:
    names = _locale("en").territories.items()
    return {
        _folded(name.replace("&", "and").replace("St.", "Saint")): code
        for code, name in names
    }


def _folded(name: str) -> str:
    return " ".join(re.findall(r"\w+", without_accents(name).casefold()))


def has_controls(text: str) -> bool:
    return any(
        unicodedata.category(character) in {"Cc", "Zl", "Zp"} for character in text
    )


# Marks of direction and breaking, which come with copied texts: a name with them looks like one
# without.
#
# The joiners of emoji and of Persian and Indian scripts are not among them.
INVISIBLE = re.compile(
    "[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]"
)


_LETTERS = {
    "ß": "ss",
    "æ": "ae",
    "œ": "oe",
    "ø": "o",
    "ł": "l",
    "đ": "d",
    "ð": "d",
    "þ": "th",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",
}
_CAPITALS = {
    letter.upper(): plain.upper()
    for letter, plain in _LETTERS.items()
    if letter.upper() in "ÆŒØŁĐÐÞ"
}
# Latin letters that Unicode does not decompose into one of a to z and an accent.
UNDECOMPOSED = str.maketrans(_LETTERS | _CAPITALS)


def without_accents(text: str) -> str:
    """The text without accents, strokes, ligatures and invisible marks: `Łódź` is `Lodz`."""
    decomposed = unicodedata.normalize("NFKD", INVISIBLE.sub("", text))
    plain = "".join(
        letter for letter in decomposed if not unicodedata.combining(letter)
    )
    return plain.translate(UNDECOMPOSED)
