"""Clocks of this process that are wrong, as on another machine, or that a test sets."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, tzinfo
from typing import Any

import pytest

# Their modules read the time from `datetime`. SQLite reads the system's clock, like PostgreSQL.
PACKAGES = {"celery", "kombu", "tagger", "worker"}


class Clock:
    """Stands for the module `time`; a sleep takes no time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class _Datetime(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, datetime)


@contextmanager
def clock_ahead(by: timedelta) -> Iterator[None]:
    """Let `datetime.now` of Celery and the product be ahead, or behind if `by` is negative."""

    class ShiftedDatetime(datetime, metaclass=_Datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return datetime.now(tz) + by

    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] in PACKAGES]
    with pytest.MonkeyPatch.context() as patch:
        for module in modules:
            if vars(module).get("datetime") is datetime:
                patch.setattr(module, "datetime", ShiftedDatetime)
        yield
