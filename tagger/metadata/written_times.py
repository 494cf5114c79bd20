"""Times as cameras and programs write them in EXIF, XMP and IPTC, and what they mean.

Slightly wrong times that can mean only one time are read: phones write 24:08:19 for eight past midnight of the day that has begun, seconds
of 60, or the time zone behind the time. Others are not: 08/07/2015 is a day in July or in August.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta

LEAST_OFFSET_S, LARGEST_OFFSET_S = -12 * 3600, 14 * 3600
"""The range of UTC offsets on Earth."""


@dataclass(frozen=True)
class WrittenTime:
    """`taken_at` has no zone. `utc_offset_s` is `taken_at` minus UTC, if the text says it."""

    taken_at: datetime
    utc_offset_s: int | None = None


def parse_time(text: str, *, allows_day: bool = False) -> WrittenTime | None:
    """Read a time; with `allows_day` also a day alone, at midnight. None: it is no time, or can mean several."""
    match = _TIME.match(text)
    if match is None:
        day = _DAY.fullmatch(text.strip()) if allows_day else None
        return _at(day, 0, 0, 0, None) if day else None
    hour, minute, second = (
        int(match[name] or match[f"{name}2"] or 0) for name in ("hour", "minute", "second")
    )
    half = (match["half"] or match["half_before"] or "").replace(".", "").lower()
    if half:
        is_afternoon = half in _AFTERNOON
        if (hour == 0 and is_afternoon) or (hour > 12 and not is_afternoon):
            return None
        hour = hour if hour > 12 else hour % 12 + 12 * is_afternoon
    if hour > 24 or minute > 59 or second > 60:
        return None
    return _at(match, hour % 24, minute, second, parse_offset(match["zone"] or ""))


def parse_offset(text: str) -> int | None:
    """The seconds of an offset like `+05:30`, or `Z`; None if no time zone has it."""
    stripped = text.strip(" \0")
    if stripped in ("Z", "UTC", "GMT"):
        return 0
    match = _OFFSET.fullmatch(stripped)
    if match is None:
        return None
    sign, hours, minutes = match[1], int(match[2]), int(match[3] or 0)
    offset_s = (hours * 60 + minutes) * (-60 if sign == "-" else 60)
    is_zone = LEAST_OFFSET_S <= offset_s <= LARGEST_OFFSET_S and offset_s % _OFFSET_STEP_S == 0
    return offset_s if is_zone and minutes < 60 else None


def is_blank(text: str) -> bool:
    """Whether a text has the place of a time and no time: blanks and zeros, as cameras without a clock write."""
    return not re.search("[1-9]", text)


_DIGITS = r"[ \d]?\d"
_NUMBERS = (
    rf"(?P<year>\d{{4}})(?:[:/.-](?P<month>{_DIGITS})[:/.-](?P<day>{_DIGITS})|(?P<month2>\d\d)(?P<day2>\d\d))"
)
_DAY = re.compile(_NUMBERS, re.ASCII)
_TIME = re.compile(
    rf"\s*{_NUMBERS}[ T:,_-]*(?P<half_before>上午|下午|午前|午後|오전|오후)?[ ]*"
    rf"(?:(?P<hour>{_DIGITS})(?P<mark>[:.-])(?P<minute>{_DIGITS})(?:(?P=mark)(?P<second>{_DIGITS}))?|"
    r"(?P<hour2>\d\d)(?P<minute2>\d\d)(?P<second2>\d\d))(?:[.,]\d+)?(?![:.]?\d)"
    r"\s*(?P<half>[AaPp]\.?[Mm]\b)?\.?\s*(?P<zone>Z\b|(?:UTC|GMT)?[+-]\d\d?(?::?\d\d)?\b|UTC\b|GMT\b)?",
    re.ASCII,
)
_AFTERNOON = ("pm", "下午", "午後", "오후")
_OFFSET = re.compile(r"(?:UTC|GMT)?([+-])(\d\d?)(?::?(\d\d))?", re.ASCII)
_OFFSET_STEP_S = 15 * 60


def _at(
    match: re.Match[str], hour: int, minute: int, second: int, utc_offset_s: int | None
) -> WrittenTime | None:
    year = int(match["year"])
    month, day = (int(match[name] or match[f"{name}2"]) for name in ("month", "day"))
    try:
        minutes = datetime(year, month, day, hour, minute)  # noqa: DTZ001 - local time
        return WrittenTime(minutes + timedelta(seconds=second), utc_offset_s)
    except (ValueError, OverflowError):  # no such day, or the last second of the year 9999
        return None
