"""Times as pages show them to people who look at photos; templates use these functions as filters."""

from calendar import month_name
from datetime import date, datetime


def day_text(day: date) -> str:
    """`3 June 2024`."""
    return f"{day.day} {month_name[day.month]} {day.year}"


def moment_text(time: datetime) -> str:
    """`3 June 2024, 14:05`."""
    return f"{day_text(time)}, {time:%H:%M}"
