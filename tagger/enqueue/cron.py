"""Cron expressions in a time zone: when they are due, and what they mean in words."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import tzlocal
from cronsim import CronSim, CronSimError

from tagger.errors import ScheduleInvalid


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


def explain_cron(cron: str) -> str:
    """The expression in words."""
    return CronSim(cron, datetime.now(UTC)).explain()


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
