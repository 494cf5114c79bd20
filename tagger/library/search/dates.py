"""Dates in typed text: a year, a month, a day, a decade, or a range of years."""

import calendar
import re
from dataclasses import dataclass
from datetime import date, timedelta

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


@dataclass(frozen=True)
class DateRange:
    """Days from `first` to before `end`. `name` is how people write it, like `May 2019`."""

    name: str
    first: date
    end: date


def parse_dates(text: str) -> DateRange | None:
    """The dates that a text names, in English or in digits; None: none, or days that no calendar has.

    Days before months only with dots, as in 3.5.2019: others write 3/5/2019 for another day.
    """
    plain = " ".join(text.casefold().split())
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
        first = date(year, month, 1)
        return DateRange(f"{calendar.month_name[month]} {year}", first, first + timedelta(days=days))
    if not 1 <= int(day_text) <= days:
        return None
    first = date(year, month, int(day_text))
    return DateRange(f"{first.day} {calendar.month_name[month]} {year}", first, first + timedelta(days=1))


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
