"""The name of the time zone of this machine, however TZ states it."""

import time
from collections.abc import Iterator
from datetime import datetime
from zoneinfo import ZoneInfo

import pytest
import tzlocal.unix

from tagger.system.local_zone import local_zone


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """The C library reads TZ again after the test."""
    with pytest.MonkeyPatch.context():
        yield
    time.tzset()


def set_zone(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("TZ", value)
    monkeypatch.setattr(tzlocal.unix, "_cache_tz_name", None)
    time.tzset()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("Europe/Paris", "Europe/Paris"),
        (":Europe/Paris", "Europe/Paris"),
        ("CST6CDT", "CST6CDT"),
        ("EST5EDT,M3.2.0,M11.1.0", "EST5EDT"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "CET"),
        ("NZST-12NZDT,M9.5.0,M4.1.0/3", "NZ"),
        ("<-03>3", "Etc/GMT+3"),
        ("JST-9", "Etc/GMT-9"),
    ],
)
def test_a_zone_or_rule_has_a_name(monkeypatch: pytest.MonkeyPatch, value: str, name: str) -> None:
    set_zone(monkeypatch, value)
    assert local_zone() == name


@pytest.mark.parametrize(
    "value", ["AEST-10AEDT,M10.1.0,M4.1.0/3", "GMT0BST,M3.5.0/1,M10.5.0", "IST-5:30", "UTC0", "X"]
)
def test_the_named_zone_shows_the_time_of_the_machine(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    set_zone(monkeypatch, value)
    zone = ZoneInfo(local_zone() or "")
    for month in range(1, 13):
        second = datetime(2031, month, 27, 1, 30).timestamp()  # noqa: DTZ001 - the time of the machine
        assert datetime.fromtimestamp(second, zone).replace(tzinfo=None) == datetime(2031, month, 27, 1, 30)  # noqa: DTZ001


@pytest.mark.parametrize("value", ["FOO3:17", "EST5EDT,M2.2.0,M12.1.0"])
def test_a_rule_of_no_zone_has_no_name(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    set_zone(monkeypatch, value)
    assert local_zone() is None
