"""The JSON files of Google Takeout: when and where a photo was taken, as Google Photos knows it.

`photoTakenTime` is UTC. `geoData` is what a person set, or what Google has from the photo; `geoDataExif` is what the camera stated. 0 stands for no
value in all of them. The input may be hostile: it is bounded, and any of it gives facts, no facts, or a broken file.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from tagger.metadata.stated_facts import StatedFacts, StatedPosition, StatedTime, stated_position

TAKEOUT_MAX_BYTES = 2**20
"""Larger files are not read: real ones have a kilobyte, those with many comments some ten."""


def stated_in_takeout(data: bytes) -> StatedFacts:
    """The facts of a file; empty if it is valid JSON, but not a photo's by Google. Never raises."""
    try:
        document = json.loads(data, parse_constant=_refuse)
    except (
        ValueError,
        RecursionError,
    ):  # neither UTF-8 nor JSON, too deep, or a number of thousands of digits
        return StatedFacts(is_broken=True)
    if not isinstance(document, dict) or "photoTakenTime" not in document:
        return StatedFacts()
    position = _position(document.get("geoData")) or _position(document.get("geoDataExif"))
    return StatedFacts(_time(document["photoTakenTime"]), position)


_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - UTC
_NO_TIME = timedelta(days=1)
"""Times so near to 1970 come from zeros, in some time zone."""
_FIRST_YEAR = 1826
"""The year of the first photograph. People date their scans."""


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _time(value: object) -> StatedTime:
    timestamp = value.get("timestamp") if isinstance(value, Mapping) else None
    if timestamp in (None, ""):
        return StatedTime()
    try:
        since = timedelta(seconds=int(str(timestamp)))
        taken_at = _EPOCH + since
    except (ValueError, OverflowError):
        return StatedTime(is_unread=True)
    if abs(since) < _NO_TIME:
        return StatedTime()
    latest = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    if taken_at.year < _FIRST_YEAR or taken_at > latest:
        return StatedTime(is_unread=True)
    return StatedTime(taken_at, is_utc=True)


def _position(value: Any) -> StatedPosition | None:
    if not isinstance(value, Mapping):
        return None
    degrees = [value.get(name) for name in ("latitude", "longitude")]
    if not all(type(each) in (int, float) for each in degrees):
        return None
    try:
        return stated_position(*map(float, degrees))  # type: ignore[arg-type]
    except OverflowError:
        return None
