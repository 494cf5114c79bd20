"""Cron expressions in a time zone: when they are due, and what they mean in words."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal
from cronsim import CronSim, CronSimError

from tagger.errors import ScheduleInvalid
from tagger.system.times_of_day import is_time_of_day


def next_due(cron: str, zone: str, after: datetime) -> datetime:
    """The first due time after `after`, in UTC.

    Raises:
        ScheduleInvalid: the expression or the time zone is invalid.
    """
    return _due(cron, zone, after, reverse=False)


def latest_due(cron: str, zone: str, until: datetime) -> datetime:
    """The last due time at or before `until`, in UTC.

    Raises:
        ScheduleInvalid: the expression or the time zone is invalid.
    """
    # The search excludes its start, and has a resolution of minutes.
    following = until.replace(second=0, microsecond=0).timestamp() + 60
    return _due(cron, zone, datetime.fromtimestamp(following, UTC), reverse=True)


def next_time_of_day(text: str, zone: str, after: datetime) -> datetime:
    """The first time after `after`, in UTC, at which clocks in the zone show `text`, such as `06:00`."""
    hour, minute = text.split(":")
    return next_due(f"{int(minute)} {int(hour)} * * *", zone, after)


def check_time_of_day(text: str | None) -> None:
    """Raises:
    ScheduleInvalid: it is no time of day like 06:00.
    """
    if text is not None and not is_time_of_day(text):
        raise ScheduleInvalid(reason=f"{text!r} is not a time of day; write hours and minutes, like 06:00")


def explain_cron(cron: str, until: str | None = None) -> str:
    """The expression in words, and the time of day at which its runs are paused."""
    text = CronSim(cron, datetime.now(UTC)).explain()
    return f"{text}, until {until}" if until else text


def local_zone() -> str:
    """The name of this machine's time zone."""
    return tzlocal.get_localzone_name() or "UTC"


def _due(cron: str, zone: str, start: datetime, *, reverse: bool) -> datetime:
    try:
        local = start.astimezone(ZoneInfo(zone))
        return next(CronSim(cron, local, reverse=reverse)).astimezone(UTC)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError) as error:
        raise ScheduleInvalid(reason=f"there is no time zone {zone!r}; use one like Europe/Paris") from error
    except (CronSimError, StopIteration) as error:
        raise ScheduleInvalid(
            reason=f"{cron!r} is not a valid cron expression, or is never due ({error}). Write minute, hour, day, month and "
            "weekday: '0 3 * * *' is every day at three"
        ) from error
