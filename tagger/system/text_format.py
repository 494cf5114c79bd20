"""Numbers and times as people read them; templates use these functions as filters."""

from calendar import month_name
from datetime import date, datetime, timedelta

_THIN = "\u202f"  # narrow no-break space
_UNITS = ((2**30, "GB"), (2**20, "MB"), (2**10, "kB"))


def number_text(count: int) -> str:
    """`12 345`."""
    return f"{count:,}".replace(",", _THIN)


def percent(part: float) -> str:
    """`83 %`. Only 0 and 1 are written as 0 % and 100 %."""
    if 0 < part < 0.01:
        return f"<{_THIN}1{_THIN}%"
    if 0.99 < part < 1:
        return f">{_THIN}99{_THIN}%"
    return f"{part:.0%}".replace("%", f"{_THIN}%")


def share(part: float) -> str:
    """`83.2%`, as a length in SVG."""
    return f"{100 * min(1.0, max(0.0, part)):.4g}%"


def duration(duration_ms: int) -> str:
    """`84 ms`, `4.9 s`."""
    return f"{duration_ms}{_THIN}ms" if duration_ms < 1000 else f"{duration_ms / 1000:.1f}{_THIN}s"


def size(size_bytes: int) -> str:
    """`64 MB`, rounded down, so that a limit is not overstated."""
    for unit_bytes, unit in _UNITS:
        if size_bytes >= unit_bytes:
            return f"{size_bytes // unit_bytes}{_THIN}{unit}"
    return f"{size_bytes}{_THIN}{'byte' if size_bytes == 1 else 'bytes'}"


def day_text(day: date) -> str:
    """`3 June 2024`."""
    return f"{day.day} {month_name[day.month]} {day.year}"


def moment_text(time: datetime) -> str:
    """`3 June 2024, 14:05`."""
    return f"{day_text(time)}, {time:%H:%M}"


def dates_text(first: date, last: date) -> str:
    """The days in words, without what both have in common: of one month, `3 to 9 May 2019` with a dash for the `to`."""
    end = day_text(last)
    if first == last:
        return end
    if (first.year, first.month) == (last.year, last.month):
        return f"{first.day}\N{EN DASH}{end}"
    begin = f"{first.day} {month_name[first.month]}" if first.year == last.year else day_text(first)
    return f"{begin} \N{EN DASH} {end}"


def period_text(first: date, end: date) -> str:
    """The days from `first` to before `end`: whole years and a whole month by their names, other days as `dates_text`."""
    last = end - timedelta(days=1)
    if first.day == 1 and end.day == 1:
        if first.month == end.month == 1:
            return str(first.year) if first.year == last.year else f"{first.year}\N{EN DASH}{last.year}"
        if (first.year, first.month) == (last.year, last.month):
            return f"{month_name[first.month]} {first.year}"
    return dates_text(first, last)
