"""Which dates of photos are the times of a running clock, so that photos near each other in time were taken near each other."""

from datetime import datetime, time, timedelta

_FIRST_YEAR = 1990
"""Before, no camera wrote EXIF: these are the first dates of clocks, 1970 and 1980, or the dates that people give to scans."""

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - cameras' local time
_FIRST, _LAST = datetime.min, datetime.max  # noqa: DTZ901 - cameras' local time

LOCAL_TIMES = timedelta(hours=26)
"""Local times of one moment differ so much at most: zones are up to 14 hours from UTC, and some cameras are still set to the last journey's."""


def clock_seconds(taken_at: datetime) -> float:
    """Seconds since 1970 as the camera's clock shows them: in its own time."""
    return (taken_at - _EPOCH).total_seconds()


def clock_time(seconds: float) -> datetime:
    """The time that a clock shows at these seconds, or the first or last time that there is."""
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return _FIRST if seconds < 0 else _LAST


def is_clock_time(taken_at: datetime, utc_offset_s: int | None) -> bool:
    """Whether a photo's local time orders it among other photos of its camera.

    Dates that photos of many occasions share do not: dates before 1990; midnight to the second, which stands for a date without a
    time; and 1 January without a time zone. Clocks that were never set, or lost power, begin on 1 January of some year again and
    again. Cameras that know their time zone were set.

    A clock that is years ahead runs as any other: a date in the future, even 2099, is a time. So no date depends on when it is read.
    """
    if taken_at.year < _FIRST_YEAR or taken_at.time() == time():
        return False
    return utc_offset_s is not None or (taken_at.month, taken_at.day) != (1, 1)
