"""The day that a photo's file name states, as phones, messengers and programs for screenshots write it.

Only the day: some programs name files by the time in UTC. A number that is no day between the first cameras and tomorrow is none.
"""

import re
from datetime import UTC, date, datetime, timedelta

_YEAR_OF_FIRST_CAMERAS = 1990
_YEAR_OF_FIRST_PHOTO = 1826
_LIKE_DAY = re.compile(r"\d{4}[-_. ]?\d\d[-_. ]?\d\d")
_DAY = re.compile(
    # Letters before it are a word, as in IMG20150822; in 3fa20150822 they are digits of another number.
    r"(?:^|[\W_])[^\W\d_]*"
    r"(?:(?P<year>\d{4})(?P<mark>[-_. ])(?P<month>\d\d)(?P=mark)(?P<day>\d\d)(?!\d)"
    r"|(?P<digits>\d{8})(?:(?:[01]\d|2[0-3])[0-5]\d[0-5]\d(?:\d{3})?)?(?![^\W_]|T(?!\d))|(?P<iso>\d{8})(?=T\d))",
    re.ASCII,
)


def day_in_name(path: str) -> datetime | None:
    """The day in the name of a file, at midnight; None if it has none, or several."""
    name = path.rpartition("/")[2]
    if not _LIKE_DAY.search(name):  # as most names: scans ask for many
        return None
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    days = {day for match in _DAY.finditer(name) if (day := _day(match)) and day <= tomorrow}
    if len(days) != 1:
        return None
    day = days.pop()
    return datetime(day.year, day.month, day.day)  # noqa: DTZ001 - local time


def _day(match: re.Match[str]) -> date | None:
    digits = match["digits"] or match["iso"]
    parts = (digits[:4], digits[4:6], digits[6:]) if digits else match.group("year", "month", "day")
    year, month, day = map(int, parts)
    if year < (_YEAR_OF_FIRST_CAMERAS if digits else _YEAR_OF_FIRST_PHOTO):
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None
