"""Dates in typed text: years, seasons, months, weeks, days, christmas and new year, in several languages.

Case and accents do not matter. Days come before months only with dots, as in 3.5.2019: others write 3/5/2019
for another day. Seasons are those of the north; a winter is named after the year in which it begins.

A text without a year is read with one: `last summer` with a year near today, `May` with that of the date beside
it, and alone with a leap year, for the days or months of any year.
"""

import re
from dataclasses import dataclass
from datetime import date, timedelta

from tagger.search.date_words import (
    A_YEAR_AGO,
    AFTER,
    AROUND,
    BEFORE,
    BETWEEN,
    FROM,
    LAST,
    MONTH,
    ON_THIS_DAY,
    PERIODS,
    SINCE,
    THIS,
    TO,
    TODAY,
    UNTIL,
    WEEK,
    YEAR,
    YESTERDAY,
    months_by_name,
    plain_dates,
)

_FIRST_YEAR, _LAST_YEAR = 1800, 2199
_LEAP_YEAR = 2000  # has all days of any year
_ONE_DAY = timedelta(days=1)
_LONGEST_SEASON = timedelta(days=92)
_AROUND = timedelta(days=4)

_YEAR = r"(?P<year>\d{4})"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|er|\.)?"
_NAME = r"(?P<name>[^\d\s,./-]{2,12})\.?"
_FORMS = tuple(
    map(
        re.compile,
        (
            rf"{_YEAR}(?P<decade>(?<=0)'?s)?",
            rf"{_YEAR}[-/.](?P<month>\d{{1,2}})(?:[-/.](?P<day>\d{{1,2}}))?",
            rf"(?:(?P<day>\d{{1,2}})\. ?)?(?P<month>\d{{1,2}})\. ?{_YEAR}",
            rf"(?P<month>\d{{1,2}})[/-]{_YEAR}",
            rf"(?:{_DAY} )?{_NAME},? {_YEAR}(?:[/-](?P<next_year>\d{{2}}|\d{{4}}))?",
            rf"{_NAME} {_DAY},? {_YEAR}",
            rf"{_YEAR},? {_NAME}(?: {_DAY})?",
        ),
    )
)
_SHORT_YEAR = re.compile(r"(?P<rest>.*[^\W\d].*[^\d']|\d{1,2}\. ?\d{1,2}\. ?)'?(?P<year>\d\d)")
_DAY_OF_MONTH = re.compile(r".*\d.*[^\W\d].*|.*[^\W\d].*\d.*")

Days = tuple[date, date]
"""The first day, and the one after the last."""


@dataclass(frozen=True)
class Dates:
    """Days from `first` to before `end`, of which one may be open; or of any year, as months or days."""

    first: date | None = None
    end: date | None = None
    months: tuple[int, ...] = ()
    days: tuple[date, ...] = ()

    def has_any(self, first: date, last: date) -> bool:
        """Whether some day from the first to the last is one of these."""
        if self.months or self.days:
            days = (first + timedelta(days=each) for each in range((last - first).days + 1))
            return any(day.month in self.months or day.replace(year=_LEAP_YEAR) in self.days for day in days)
        return (self.end is None or first < self.end) and (self.first is None or self.first <= last)


def parse_dates(text: str, today: date) -> Dates | None:
    """The dates that a text names; None: none, or no days of a calendar. `today`: for `last year`."""
    return _parse(plain_dates(text), today) or dates_with_short_year(text, today)


def dates_with_short_year(text: str, today: date) -> Dates | None:
    """The dates of a text whose last two figures are a year: a month in `september 24`, and `summer '22`."""
    match = _SHORT_YEAR.fullmatch(plain_dates(text))
    if match is None:
        return None
    year = today.year // 100 * 100 + int(match["year"])
    return _parse(f"{match['rest']}{year - 100 * (year > today.year)}", today)


def _parse(plain: str, today: date) -> Dates | None:
    dates = _single(plain, today) or _range(plain, today) or _open(plain, today)
    if dates or not AROUND.search(plain):
        return dates
    dates = _single(AROUND.sub("", plain).strip(), today)
    if dates and dates.days:
        return _of_any_year(dates.days[0] - _AROUND, dates.days[0] + _AROUND + len(dates.days) * _ONE_DAY)
    if dates and dates.first and dates.end:
        more = max((dates.end - dates.first) // 2, _AROUND)
        return Dates(dates.first - more, dates.end + more)
    return None


def _single(plain: str, today: date) -> Dates | None:
    if ON_THIS_DAY.fullmatch(plain):
        return Dates(days=(today.replace(year=_LEAP_YEAR),))
    if days := _of_one_year(plain, today):
        return Dates(*days)
    days = _in_year(plain, _LEAP_YEAR)
    return _of_any_year(*days) if days else None


def _of_any_year(first: date, end: date) -> Dates:
    days = [first + each * _ONE_DAY for each in range((end - first).days)]
    if first.day == end.day == 1:
        return Dates(months=tuple(dict.fromkeys(day.month for day in days)))
    return Dates(days=tuple(day.replace(year=_LEAP_YEAR) for day in days))


def _range(plain: str, today: date) -> Dates | None:
    """Dates from one to another: `2019 to 2021`, `November to February`, `between May and August 2019`."""
    plain = FROM.sub("", plain, count=1).removesuffix(" तक")
    ends = [(plain[: each.start()], plain[each.end() :]) for each in TO.finditer(plain)]
    if between := BETWEEN.fullmatch(plain):
        ends = [tuple(filter(None, between.groups()))]
    for begin, end in ends:
        if dates := _from_to(begin, end, today):
            return dates
    return None


def _from_to(begin: str, end: str, today: date) -> Dates | None:
    first, last = _of_one_year(begin, today), _of_one_year(end, today)
    is_of_any_year = not (first or last)
    if is_of_any_year:
        first = _in_year(begin, _LEAP_YEAR)
    first = first or _beside(begin, last, -1)
    last = last or _beside(end, first, 1)
    if not (first and last) or first >= last:
        return None
    if not is_of_any_year:
        return Dates(first[0], last[1])
    dates = _of_any_year(first[0], last[1])
    return dates if dates.months and begin != end else None


def _beside(plain: str, other: Days | None, step: int) -> Days | None:
    """The days of a text without a year, in the last year before others (-1) or the next one after them (1)."""
    # Beside dates that are longer than a season, it is not clear which year is meant, nor whether figures
    # at the end are a day: `May 2022 to June 24`.
    if other is None or other[1] - other[0] > _LONGEST_SEASON or plain[-1:].isdigit():
        return None
    for year in (other[0].year, other[0].year + step):
        days = _in_year(plain, year)
        if days and (days[0] - other[0]) * step > timedelta(0):
            return days
    return None


def _open(plain: str, today: date) -> Dates | None:
    """Dates from a time on, or up to one: `since 2020`, `before May 2019`."""
    word, _, rest = plain.partition(" ")
    days = _of_one_year(rest, today)
    if days is None:
        return None
    if word in SINCE | AFTER:
        return Dates(first=days[word in AFTER])
    if word in BEFORE | UNTIL:
        return Dates(end=days[word in UNTIL])
    return None


def _of_one_year(plain: str, today: date) -> Days | None:
    """Days whose year is in the text, or follows from today: `yesterday`, `last month`, `this summer`."""
    words = plain.split()
    without_today = " ".join(word for word in words if word not in TODAY)
    is_last = not LAST.isdisjoint(words)
    name = " ".join(word for word in words if word not in LAST | THIS)
    if plain in TODAY | YESTERDAY:
        plain = str(today - _ONE_DAY * (plain in YESTERDAY))
    elif without_today != plain and A_YEAR_AGO.fullmatch(without_today):
        plain = f"{today.year - 1}-{today:%m-%d}"
    elif len(words) == 2 and name in words:
        if name in WEEK:
            monday = today - timedelta(days=today.weekday() + 7 * is_last)
            return monday, monday + timedelta(days=7)
        if name in YEAR:
            plain = str(today.year - is_last)
        elif name in MONTH:
            plain = f"{today.replace(day=1) - _ONE_DAY * is_last:%Y-%m}"
        else:
            # The last one is the last that is over, and this one the last that has begun.
            years = (_in_year(name, today.year - back) for back in range(3))
            return next((days for days in years if days and days[is_last] <= today), None)
    return _with_year(plain)


def _in_year(plain: str, year: int) -> Days | None:
    """The days in a year of a text without one: `May`, `summer`, `3 May`."""
    is_name = plain in PERIODS or plain in months_by_name()
    return _with_year(f"{plain} {year}") if is_name or _DAY_OF_MONTH.fullmatch(plain) else None


def _with_year(plain: str) -> Days | None:
    for form in _FORMS:
        match = form.fullmatch(plain)
        if match and _FIRST_YEAR <= int(match["year"]) <= _LAST_YEAR and (days := _calendar_days(match)):
            return days
    return None


def _calendar_days(match: re.Match[str]) -> Days | None:
    groups = match.groupdict()
    year, name, month, day = int(groups["year"]), groups.get("name"), groups.get("month"), groups.get("day")
    next_year = groups.get("next_year")
    if name in PERIODS and not day:
        first, end = (date.fromisoformat(f"{year + years}-{text}") for years, text in PERIODS[name])
        is_in_both = first.month == 12 and str(year + 1).endswith(next_year or "")
        return (first, end) if is_in_both or not next_year else None
    number = _month_of(name) if name else month and int(month)
    if next_year or (name and number is None):
        return None
    try:
        first = date(year, 1 if number is None else number, int(day or 1))
    except ValueError:
        return None
    if day:
        return first, first + _ONE_DAY
    if number:
        return first, (first + timedelta(days=31)).replace(day=1)
    return first, date(year + (10 if groups.get("decade") else 1), 1, 1)


def _month_of(name: str) -> int | None:
    """The month of a name, or of three letters at its start, if these are of one month."""
    months = months_by_name()
    if name in months:
        return months[name]
    numbers = {number for word, number in months.items() if len(name) > 2 and word.startswith(name)}
    return numbers.pop() if len(numbers) == 1 else None
