"""The name of the time zone of this machine, of which TZ may only say the rule."""

import os
import time
from bisect import bisect_left
from collections.abc import Mapping
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import tzlocal

YEARS = 5
"""How far into the future the clocks of two zones are compared."""
NOT_ZONES = frozenset({"", "Factory", "localtime", "posixrules"})
"""Files of the zones' database that name no place."""


def local_zone() -> str | None:
    """The name of a time zone whose clocks show what the clock of this machine shows in the coming years; None if there is none.

    TZ can be a rule instead of a name, such as `EST5EDT,M3.2.0,M11.1.0`. Then a zone with that rule is named.
    """
    offsets = _offsets_here(int(time.time()))
    rule_name = os.environ.get("TZ", "").lstrip(":").partition(",")[0]
    others = sorted(available_timezones(), key=lambda name: (not name.startswith("Etc/"), len(name), name))
    candidates = (_configured_zone(), rule_name, "UTC", *others)
    return next((name for name in candidates if name not in NOT_ZONES and _has_offsets(name, offsets)), None)


def _configured_zone() -> str:
    try:
        return tzlocal.get_localzone_name() or ""
    except ZoneInfoNotFoundError:  # files of the system disagree
        return ""


def _offsets_here(first: int) -> dict[int, int]:
    """The offsets from UTC of this machine's clock in seconds, by the second since 1970: each day, and around each change."""
    days = range(first, first + YEARS * 366 * 86400, 86400)
    offsets = {second: _offset_here(second) for second in days}
    for before, after in pairwise(days):
        if offsets[before] != offsets[after]:
            change = _change_between(before, after)
            offsets |= {second: _offset_here(second) for second in (change - 1, change)}
    return offsets


def _change_between(before: int, after: int) -> int:
    """The first second with another offset than that of `before`."""
    old = _offset_here(before)
    return before + bisect_left(range(before, after), x=True, key=lambda second: _offset_here(second) != old)


def _offset_here(second: int) -> int:
    return time.localtime(second).tm_gmtoff


def _has_offsets(name: str, offsets: Mapping[int, int]) -> bool:
    try:
        zone = ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    times = ((datetime.fromtimestamp(second, zone), offset) for second, offset in offsets.items())
    return all(local.utcoffset() == timedelta(seconds=offset) for local, offset in times)
