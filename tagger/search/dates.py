"""Dates in typed text: years, seasons, months, weeks, days, christmas and new year, in several languages.

Case and accents do not matter. Days come before months only with dots, as in 3.5.2019: others write 3/5/2019
for another day. Seasons are those of the north; a winter is named after the year in which it begins.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from tagger.search.date_words import (
    A_YEAR_AGO,
    AFTER,
    AROUND,
    BEFORE,
    BETWEEN,
    FROM,
    HOLIDAYS,
    LAST,
    MONTH,
    ON_THIS_DAY,
    SEASONS,
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
    if found := _single(plain, today) or _period(plain, today) or _open(plain, today):
        return found
    return _around(_single(AROUND.sub("", plain).strip(), today)) if AROUND.search(plain) else None


def _around(dates: Dates | None) -> Dates | None:
    """The dates with days before and after them: half as many each, and four at least."""
    if dates is None:
        return None
    if dates.days:
        first = dates.days[0] - timedelta(days=4)
        return Dates(days=_days(first, len(dates.days) + 8))
    if dates.first is None or dates.end is None:
        return None
    more = max((dates.end - dates.first) // 2, timedelta(days=4))
    return Dates(dates.first - more, dates.end + more)


_YEAR = r"(?P<year>\d{4})"
_NUMBERS = (
    re.compile(rf"{_YEAR}(?:[-/.](?P<month>\d{{1,2}})(?:[-/.](?P<day>\d{{1,2}}))?)?"),
    re.compile(rf"(?:(?P<day>\d{{1,2}})\. ?)?(?P<month>\d{{1,2}})\. ?{_YEAR}"),
    re.compile(rf"(?P<month>\d{{1,2}})[/-]{_YEAR}"),
)
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th|er|\.)?"
_NAME = r"(?P<name>[^\d\s,./-]{2,12})\.?"
_NAMES = (
    re.compile(rf"(?:{_DAY} )?{_NAME},? {_YEAR}(?:[/-](?P<next_year>\d{{2}}|\d{{4}}))?"),
    re.compile(rf"{_NAME} {_DAY},? {_YEAR}"),
    re.compile(rf"{_YEAR},? {_NAME}(?: {_DAY})?"),
    re.compile(rf"(?:{_DAY} )?{_NAME}"),
    re.compile(rf"{_NAME} {_DAY}"),
)
_LEAP_YEAR = 2000
"""It has all days of any year."""
_DECADE = re.compile(r"(?P<year>\d{3}0)'?s")
_SHORT_YEAR = re.compile(r"(?P<rest>.*[^\W\d].*[^\d']|\d{1,2}\. ?\d{1,2}\. ?)'?(?P<year>\d\d)")
_LONGEST_SEASON = timedelta(days=92)


def _open(plain: str, today: date) -> Dates | None:
    """Dates from a time on, or up to one: `since 2020`, `before May 2019`."""
    word, _, rest = plain.partition(" ")
    dates = _single(rest, today) if rest else None
    if dates is None or dates.first is None:
        return None
    if word in SINCE | AFTER:
        return Dates(first=dates.first if word in SINCE else dates.end)
    if word in BEFORE | UNTIL:
        return Dates(end=dates.first if word in BEFORE else dates.end)
    return None


def _period(plain: str, today: date) -> Dates | None:
    """Dates from one to another: `2019 to 2021`, `November to February`, `between May and August 2019`."""
    plain = FROM.sub("", plain, count=1).removesuffix(" तक")
    pairs = [(plain[: each.start()], plain[each.end() :]) for each in TO.finditer(plain)]
    if between := BETWEEN.fullmatch(plain):
        pairs = [tuple(filter(None, between.groups()))]
    for begin, end in pairs:
        first, last = _single(begin, today), _single(end, today)
        if first and last and (dates := _from_to(_beside(first, last, -1), _beside(last, first, 1))):
            return dates
    return None


def _beside(dates: Dates, other: Dates, step: int) -> Dates:
    """Months without a year in the last year before other dates (-1), or the next one after them (1).

    Beside dates that are longer than a season, it is not clear which year is meant.
    """
    if not dates.months or not other.first or not other.end or other.end - other.first > _LONGEST_SEASON:
        return dates
    for year in (other.first.year, other.first.year + step):
        found = _in_year(year, dates.months)
        if found and found.first and (found.first - other.first) * step > timedelta(0):
            return found
    return dates


def _from_to(first: Dates, last: Dates) -> Dates | None:
    if first.first and last.first and last.end and first.first < last.first:
        return Dates(first.first, last.end)
    if first.months and last.months and first != last:
        start, count = first.months[0], (last.months[-1] - first.months[0]) % 12 + 1
        return Dates(months=tuple((start + each - 1) % 12 + 1 for each in range(count)))
    return None


def _single(plain: str, today: date) -> Dates | None:
    if match := _DECADE.fullmatch(plain):
        return _years(int(match["year"]), int(match["year"]) + 9)
    for pattern in (*_NUMBERS, *_NAMES):
        if match := pattern.fullmatch(plain):
            found = _dates_of(match.groupdict())
            if found is not None:
                return found
    return _on_this_day(plain, today) or _relative(plain, today)


def _on_this_day(plain: str, today: date) -> Dates | None:
    """Today's day of any year, or of the year before: `on this day`, `today a year ago`."""
    if ON_THIS_DAY.fullmatch(plain):
        return Dates(days=(today.replace(year=_LEAP_YEAR),))
    words = plain.split()
    other_words = [word for word in words if word not in TODAY]
    if len(other_words) < len(words) and A_YEAR_AGO.fullmatch(" ".join(other_words)):
        return _calendar(today.year - 1, today.month, str(today.day))
    return None


def _dates_of(parts: Mapping[str, str | None]) -> Dates | None:
    name, year, day, next_year = (parts.get(part) for part in ("name", "year", "day", "next_year"))
    if name in HOLIDAYS and not day:
        return _holiday(int(year), HOLIDAYS[name]) if year else _of_each_year(HOLIDAYS[name])
    if name in SEASONS:
        months = _season_months(SEASONS[name])
        if day is not None or (next_year and not _is_winter_of(months, int(year or 0), next_year)):
            return None
        return _in_year(int(year), months) if year else Dates(months=months)
    is_whole = year is None and day is None
    month = _named_month(name, is_whole=is_whole) if name else int(parts.get("month") or 0) or None
    if year is None:
        return None if month is None else _of_any_year(month, day)
    if next_year or (name and month is None):
        return None
    return _calendar(int(year), month if parts.get("month") is None else int(parts["month"] or 0), day)


def _of_any_year(month: int, day: str | None) -> Dates | None:
    if day is None:
        return Dates(months=(month,))
    of_leap_year = _calendar(_LEAP_YEAR, month, day)
    return Dates(days=(of_leap_year.first,)) if of_leap_year and of_leap_year.first else None


def _is_winter_of(months: tuple[int, ...], year: int, next_year: str) -> bool:
    """Whether the months of a year end in the next one, as in `winter 2022/23`."""
    return months[-1] < months[0] and str(year + 1).endswith(next_year)


def _calendar(year: int, month: int | None, day: str | None) -> Dates | None:
    if month is None:
        return _years(year)
    if not (_FIRST_YEAR <= year <= _LAST_YEAR and 1 <= month <= 12):
        return None
    if day is None:
        return _month(year, month)
    if not 1 <= int(day) <= calendar.monthrange(year, month)[1]:
        return None
    return _day(date(year, month, int(day)))


def _named_month(name: str, *, is_whole: bool) -> int | None:
    """The month of a name or, beside a year, of three letters at its start, if these are of one month."""
    if name in months_by_name() or is_whole:
        return months_by_name().get(name)
    found = {month for word, month in months_by_name().items() if len(name) > 2 and word.startswith(name)}
    return found.pop() if len(found) == 1 else None


def _relative(plain: str, today: date) -> Dates | None:
    """`yesterday`, `last month`, `this summer`: the last one is the last that began before this one."""
    if plain in TODAY | YESTERDAY:
        return _day(today - timedelta(days=int(plain in YESTERDAY)))
    words = plain.split()
    back = len(LAST.intersection(words))
    rest = " ".join(word for word in words if word not in LAST | THIS)
    if len(words) != 2 or len(rest.split()) != 1:
        return None
    return _whole_period(rest, today, back) or _past_season_or_month(rest, today, is_last=bool(back))


def _whole_period(name: str, today: date, back: int) -> Dates | None:
    """The year, month or week of today, or the one before it (back: 1)."""
    if name in YEAR:
        return _years(today.year - back)
    if name in MONTH:
        day = today.replace(day=1) - timedelta(days=back)
        return _month(day.year, day.month)
    if name in WEEK:
        monday = today - timedelta(days=today.weekday() + 7 * back)
        return Dates(monday, monday + timedelta(days=7))
    return None


def _past_season_or_month(name: str, today: date, *, is_last: bool) -> Dates | None:
    for year in range(today.year, today.year - 3, -1):
        if name in SEASONS:
            dates = _in_year(year, _season_months(SEASONS[name]))
        elif name in months_by_name():
            dates = _month(year, months_by_name()[name])
        elif name in HOLIDAYS:
            dates = _holiday(year, HOLIDAYS[name])
        else:
            return None
        if dates and dates.first and dates.end and (dates.end if is_last else dates.first) <= today:
            return dates
    return None


def _season_months(season: int) -> tuple[int, ...]:
    return tuple((2 + 3 * season + month) % 12 + 1 for month in range(3))


def _in_year(year: int, months: tuple[int, ...]) -> Dates | None:
    """Months that begin in a year, and may end in the next one."""
    first, last = _month(year, months[0]), _month(year + (months[-1] < months[0]), months[-1])
    return Dates(first.first, last.end) if first and last else None


def _holiday(year: int, number: int) -> Dates | None:
    """Christmas, New Year with its eve, or New Year's Eve with the next day."""
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    eve = date(year, 12, 31)
    first = (eve - timedelta(days=7), eve.replace(year=year - 1), eve)[number]
    return Dates(first, first + timedelta(days=(3, 2, 2)[number]))


def _of_each_year(holiday: int) -> Dates | None:
    dates = _holiday(_LEAP_YEAR, holiday)
    if dates is None or dates.first is None or dates.end is None:
        return None
    return Dates(days=_days(dates.first, (dates.end - dates.first).days))


def _days(first: date, count: int) -> tuple[date, ...]:
    """So many days from the first on, of any year."""
    return tuple((first + timedelta(days=each)).replace(year=_LEAP_YEAR) for each in range(count))


def _day(day: date) -> Dates:
    return Dates(day, day + timedelta(days=1))


def _month(year: int, month: int) -> Dates | None:
    if not _FIRST_YEAR <= year <= _LAST_YEAR:
        return None
    first = date(year, month, 1)
    return Dates(first, (first + timedelta(days=31)).replace(day=1))


def _years(first: int, last: int | None = None) -> Dates | None:
    last = first if last is None else last
    if not _FIRST_YEAR <= first <= last <= _LAST_YEAR:
        return None
    return Dates(date(first, 1, 1), date(last + 1, 1, 1))
