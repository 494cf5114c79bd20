"""Dates in typed text: years, seasons, months, weeks, days, christmas and new year, in several languages.

Case and accents do not matter. Days come before months only with dots, as in 3.5.2019: others write 3/5/2019
for another day. Seasons are those of the north; a winter is named after the year in which it begins.

A text without a year is read with one: `last summer` with a year near today, `May` with that of the date
beside it, and alone with a leap year, for the days or months of any year.
"""

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from itertools import product
from typing import Literal

from tagger.texts.names import LANGUAGES
from tagger.texts.text_format import without_accents

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
            # With slashes, where it means one day in Europe and in America.
            rf"(?P<day>1[3-9]|2\d|3[01])/(?P<month>\d{{1,2}})/{_YEAR}",
            rf"(?P<month>\d{{1,2}})/(?P<day>1[3-9]|2\d|3[01])/{_YEAR}",
            rf"(?P<day>\d{{1,2}})/(?P<month>(?P=day))/{_YEAR}",
            rf"(?P<month>\d{{1,2}})[/-]{_YEAR}",
            rf"(?:{_DAY} )?{_NAME},? {_YEAR}(?:[/-](?P<next_year>\d{{2}}|\d{{4}}))?",
            rf"{_NAME} {_DAY},? {_YEAR}",
            rf"{_YEAR},? {_NAME}(?: {_DAY})?",
        ),
    )
)
_SHORT_YEAR = re.compile(
    r"(?P<rest>.*[^\W\d].*[^\d']|\d{1,2}\. ?\d{1,2}\. ?)'?(?P<year>\d\d)"
)
_DAY_OF_MONTH = re.compile(r".*\d.*[^\W\d].*|.*[^\W\d].*\d.*")

Days = tuple[date, date]  # the first, and the one after the last


@dataclass(frozen=True)
class Dates:
    """Days from `first` to before `end`, of which one may be open; or of any year, as months or days."""

    first: date | None = None
    end: date | None = None
    months: tuple[int, ...] = ()
    days: tuple[date, ...] = ()

    def has_any(self, first: date, last: date) -> bool:
        if self.months or self.days:
            days = (
                first + timedelta(days=each) for each in range((last - first).days + 1)
            )
            return any(
                day.month in self.months or day.replace(year=_LEAP_YEAR) in self.days
                for day in days
            )
        return (self.end is None or first < self.end) and (
            self.first is None or self.first <= last
        )


def parse_dates(text: str, today: date) -> Dates | None:
    """The dates that a text names; None: none, or no days of a calendar. `today`: for `last year`."""
    return _parse(_plain(text), today) or dates_with_short_year(text, today)


def dates_with_short_year(text: str, today: date) -> Dates | None:
    """The dates of a text whose last two figures are a year: a month in `september 24`, and `summer '22`."""
    match = _SHORT_YEAR.fullmatch(_plain(text))
    if match is None:
        return None
    year = today.year // 100 * 100 + int(match["year"])
    return _parse(
        f"{match['rest']}{year - 100 * (year > today.year)}",
        today,
    )


def _parse(plain: str, today: date) -> Dates | None:
    dates = _single(plain, today) or _range(plain, today)
    if dates:
        return dates
    # From a time on, or up to one: `since 2020`, `before May 2019`.
    word, _, rest = plain.partition(" ")
    days = _of_one_year(rest, today)
    first = days[word in _AFTER] if days and word in _SINCE | _AFTER else None
    end = days[word in _UNTIL] if days and word in _BEFORE | _UNTIL else None
    if first or end:
        return Dates(first, end)
    dates = (
        _single(AROUND.sub("", plain).strip(), today) if AROUND.search(plain) else None
    )
    if dates and dates.days:
        return _of_any_year(
            dates.days[0] - _AROUND,
            dates.days[0] + _AROUND + len(dates.days) * _ONE_DAY,
        )
    if dates and dates.first and dates.end:
        more = max((dates.end - dates.first) // 2, _AROUND)
        return Dates(dates.first - more, dates.end + more)
    return None


def _single(plain: str, today: date) -> Dates | None:
    if _ON_THIS_DAY.fullmatch(plain):
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
    # Dates from one to another: `2019 to 2021`, `November to February`, `between May and August 2019`.
    plain = _FROM.sub("", plain, count=1).removesuffix(" तक")
    ends = [
        (
            plain[: to.start()],
            plain[to.end() :],
        )
        for to in _TO.finditer(plain)
    ]
    if between := _BETWEEN.fullmatch(plain):
        ends = [tuple(filter(None, between.groups()))]
    for begin, end in ends:
        first, last = _of_one_year(begin, today), _of_one_year(end, today)
        is_of_any_year = not (first or last)
        if is_of_any_year:
            first = _in_year(begin, _LEAP_YEAR)
        first = first or _beside(begin, last, -1)
        last = last or _beside(end, first, 1)
        if not (first and last) or first >= last:
            continue
        if not is_of_any_year:
            return Dates(first[0], last[1])
        dates = _of_any_year(first[0], last[1])
        if dates.months and begin != end:
            return dates
    return None


def _beside(plain: str, other: Days | None, step: int) -> Days | None:
    # The days of a text without a year, in the last year before others (-1) or the next after them (1).
    # Beside dates that are longer than a season, it is not clear which year is meant, nor whether figures
    # at the end are a day: `May 2022 to June 24`.
    if other is None or other[1] - other[0] > _LONGEST_SEASON or plain[-1:].isdigit():
        return None
    for year in (other[0].year, other[0].year + step):
        days = _in_year(plain, year)
        if days and (days[0] - other[0]) * step > timedelta(0):
            return days
    return None


def _of_one_year(plain: str, today: date) -> Days | None:
    # Days whose year is in the text, or follows from today: `yesterday`, `last month`, `this summer`.
    words = plain.split()
    without_today = " ".join(word for word in words if word not in _TODAY)
    is_last = not _LAST.isdisjoint(words)
    name = " ".join(word for word in words if word not in _LAST | _THIS)
    if plain in _TODAY | _YESTERDAY:
        plain = str(today - _ONE_DAY * (plain in _YESTERDAY))
    elif without_today != plain and _A_YEAR_AGO.fullmatch(without_today):
        plain = f"{today.year - 1}-{today:%m-%d}"
    elif len(words) == 2 and name in words:
        if name in _OF_WEEK:
            monday = today - timedelta(days=today.weekday() + 7 * is_last)
            return monday, monday + timedelta(days=7)
        if name in _OF_YEAR:
            plain = str(today.year - is_last)
        elif name in _OF_MONTH:
            plain = f"{today.replace(day=1) - _ONE_DAY * is_last:%Y-%m}"
        else:
            # The last one is the last that is over, and this one the last that has begun.
            for year in range(today.year, today.year - 3, -1):
                days = _in_year(name, year)
                if days and days[is_last] <= today:
                    return days
            return None
    return _with_year(plain)


def _in_year(plain: str, year: int) -> Days | None:
    # The days in a year of a text without one: `May`, `summer`, `3 May`.
    is_name = plain in _PERIODS or plain in _months_by_name()
    return (
        _with_year(f"{plain} {year}")
        if is_name or _DAY_OF_MONTH.fullmatch(plain)
        else None
    )


def _with_year(plain: str) -> Days | None:
    for form in _FORMS:
        match = form.fullmatch(plain)
        if (
            match
            and _FIRST_YEAR <= int(match["year"]) <= _LAST_YEAR
            and (days := _calendar_days(match))
        ):
            return days
    return None


def _calendar_days(match: re.Match[str]) -> Days | None:
    groups = match.groupdict()
    year = int(groups["year"])
    name = groups.get("name")
    month = groups.get("month")
    day = groups.get("day")
    next_year = groups.get("next_year")
    if name in _PERIODS and not day:
        first, end = (
            date.fromisoformat(f"{year + years}-{text}")
            for years, text in _PERIODS[name]
        )
        is_in_both = first.month == 12 and str(year + 1).endswith(next_year or "")
        return (first, end) if is_in_both or not next_year else None
    number = int(month) if month else None
    if name:
        # By its name, or three letters at its start, if these are of one month.
        numbers = {
            each
            for word, each in _months_by_name().items()
            if name == word or (len(name) > 2 and word.startswith(name))
        }
        number = numbers.pop() if len(numbers) == 1 else None
    if next_year or (name and number is None):
        return None
    try:
        first = date(
            year,
            1 if number is None else number,
            int(day or 1),
        )
    except ValueError:
        return None
    if day:
        return first, first + _ONE_DAY
    if number:
        return first, (first + timedelta(days=31)).replace(day=1)
    return first, date(
        year + (10 if groups.get("decade") else 1),
        1,
        1,
    )


# ---------- words ----------


# Months are those of CLDR. It has no seasons and holidays, and only some of the other words.
def _plain(text: str) -> str:
    # The text in lower case, without accents and words that mean nothing; each name is one word.
    plain = without_accents(text).casefold()
    for pattern, words in _REWRITES:
        plain = pattern.sub(words, plain)
    plain = _NAMES_OF_WORDS.sub(lambda match: re.sub("[ ']", "", match[0]), plain)
    plain = " ".join(word for word in plain.split() if word not in _CONNECTORS)
    return _MONTH_BY_NUMBER.sub(
        lambda match: f"{calendar.month_name[int(match[1])].lower()} ",
        plain,
    ).strip()


@cache
def _months_by_name() -> Mapping[str, int]:
    # The numbers of months by their names in LANGUAGES and English.
    from babel.dates import get_month_names  # most commands start without it

    languages = "en", "de_AT", *LANGUAGES
    forms: tuple[Literal["format", "stand-alone"], ...] = "format", "stand-alone"
    return {
        without_accents(name).casefold(): number
        for language, form in product(languages, forms)
        for number, name in get_month_names("wide", form, language).items()
    }


def _words(text: str) -> list[list[str]]:
    # The words of each line, with lines of one meaning.
    return [
        without_accents(line).casefold().split() for line in text.strip().splitlines()
    ]


# The first day of each period and the day after its last, with a number of years to add to that of its name;
# then its names in English, German, French, Spanish, Portuguese, Italian, Dutch, Hindi and Vietnamese.
_PERIODS = {
    name: (
        (int(first_years), first_day),
        (int(end_years), end_day),
    )
    for first_years, first_day, end_years, end_day, *names in _words("""
+0 03-01 +0 06-01 spring Frühling Frühjahr printemps primavera lente वसंत muaxuân
+0 06-01 +0 09-01 summer Sommer été verano verão estate zomer गर्मी muahè
+0 09-01 +0 12-01 autumn fall Herbst automne otoño outono autunno herfst शरद muathu
+0 12-01 +1 03-01 winter hiver invierno inverno सर्दी muađông
+0 12-24 +0 12-27 christmas xmas weihnachten noel navidad natal natale kerst kerstmis क्रिसमस giangsinh
-1 12-31 +0 01-02 newyear newyears neujahr nouvelan anonuevo anonovo capodanno nieuwjaar नयासाल
+0 12-31 +1 01-02 newyearseve silvester nochevieja reveillon giaothua
""")
    for name in names
}
_NAMES_OF_WORDS = re.compile(
    r"new years?(?:'s)?(?: eve)?\b|nouvel an|ano (?:nuevo|novo)|giang sinh|giao thua|नया साल|mua (?=xuan|he|thu|dong)"
)
_REWRITES = (
    (re.compile("\u2019"), "'"),
    (re.compile("all'"), "al "),
    (re.compile(r"(?<!\S)[ld]'"), ""),
    # In Vietnamese: until, without accents a German article; and day.
    (re.compile(r"\b(?:den|toi) (?=thang|mua)|(?<=\d )(?:den|toi) (?=\d)"), "to "),
    (re.compile(r"\bngay (?=\d)"), ""),
)
# Vietnamese numbers months: `tháng 5 năm 2019`.
_MONTH_BY_NUMBER = re.compile(r"\bthang (0?[1-9]|1[0-2])(?: nam |/|$| )")
AROUND = re.compile(
    r"(?:^|\s)(?:around|about|um|autour|vers|alrededor|cerca|por volta|intorno|rond|khoang|quanh|के आसपास)(?=\s|$)"
)
(
    _LAST,
    _THIS,
    _OF_YEAR,
    _OF_MONTH,
    _OF_WEEK,
    _TODAY,
    _YESTERDAY,
    _SINCE,
    _AFTER,
    _BEFORE,
    _UNTIL,
    _CONNECTORS,
) = map(
    set,
    _words("""
last previous letzter letzte letztes letzten voriges vorigen dernier dernière passé pasado pasada passado passada scorso scorsa ngoái trước vorig पिछले
this dieser diese dieses diesen ce cette cet este esta esse questo questa nay dit deze इस
year Jahr année l'année an año ano anno năm jaar साल
month Monat mois mes mês mese tháng maand महीने
week Woche semaine semana settimana tuần हफ़्ते
today heute aujourd'hui hoy hoje oggi vandaag आज
yesterday gestern hier ayer ontem ieri gisteren
since seit depuis desde dal sinds
after nach après después após dopo na
before vor avant antes prima voor
until till bis jusqu'en jusque hasta até fino tot
of on the in im am von van vom de del d' do da den der le la el du l' era
"""),
)
_ON_THIS_DAY = re.compile(
    "this day(?: in (?:history|other years))?|(?:an )?diesem tag(?: in anderen jahren)?|ce jour(?:[ -]la)?|(?:n?este|tal) dia(?: como hoy)?|(?:in )?questo giorno|op deze dag"
    "|(?:आज|इस) (?:के )?दिन|(?:vao )?ngay nay(?: nam xua)?"
)
_A_YEAR = r"(?:1|a|one|einem|un|um|uno|een|एक|mot)"
_A_YEAR_AGO = re.compile(
    rf"(?:vor|il y a|hace|ha) {_A_YEAR} (?:jahr|an|ano)"
    rf"|{_A_YEAR} (?:year ago|ano atras|anno fa|jaar geleden|साल पहले|nam truoc)"
)
_FROM = re.compile(r"(?:from|du|van|desde|dal|dalla|tu) ")
_TO = re.compile(
    r" ?(?:\u2013|\.\.) ?|(?<=\d{4})-(?=\d{4})|(?<=\w)-(?=[^\W\d])"
    r"| (?:-|to|until|till|through|bis zum|bis|a|au|jusqu'a|jusqu'en|al|hasta|ao|ate|ad|alla|fino a|tot en met|tot|t/m|से) "
)
# Without the first word, `and` joins two dates, not what is between them.
_BETWEEN = re.compile(
    r"(?:between|zwischen|entre|tra|fra|tussen|giua) (.+) (?:and|und|et|y|e|en|va) (.+)|(.+) और (.+) के बीच"
)
