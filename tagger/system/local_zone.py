"""The name of the time zone of this machine."""

import os
from zoneinfo import ZoneInfoNotFoundError, available_timezones

import tzlocal


def local_zone() -> str | None:
    """The name of this machine's time zone; None if it has no name, as where TZ is a rule such as `EST5EDT,M3.2.0,M11.1.0`."""
    if name := os.environ.get("TZ", "").lstrip(":"):
        return name if name in available_timezones() else None
    try:
        return tzlocal.get_localzone_name()
    except ZoneInfoNotFoundError:  # files of the system disagree
        return None
