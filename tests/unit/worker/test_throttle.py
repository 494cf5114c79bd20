"""When a worker waits: its conditions, and what it reads meanwhile."""

from collections.abc import Iterator
from datetime import datetime

import pytest
from rig.servers import KEYS

from tagger.settings import Settings
from worker import throttle as module
from worker.queue_order import InteractiveFirst, database_away, only_ticks
from worker.throttle import Condition, Throttle, conditions


@pytest.fixture(autouse=True)
def _reads_chunks_afterwards() -> Iterator[None]:
    yield
    only_ticks.clear()
    database_away.clear()


def settings(**values: object) -> Settings:
    return Settings(**values)  # type: ignore[arg-type]


def holding(**values: object) -> list[str]:
    return [condition.text for condition in conditions(settings(**values)) if condition.holds()]


def queues_read() -> list[str]:
    order = InteractiveFirst()
    order.update([KEYS.ticks, *KEYS.queues.values()])
    return order.consume(3)


def test_a_worker_that_does_not_reach_the_database_reads_no_chunks() -> None:
    database_away.set()
    assert queues_read() == [KEYS.ticks]


@pytest.mark.parametrize(("hour", "waits"), [(5, []), (6, ["outside its window 22:00-06:00"]), (22, [])])
def test_a_worker_waits_outside_its_window(
    hour: int, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> "Clock":
            return cls(2026, 1, 31, hour)

    monkeypatch.setattr(module, "datetime", Clock)
    assert holding(worker_window="22:00-06:00") == waits


@pytest.mark.parametrize(
    ("plugged", "waits"), [(False, ["on battery"]), (True, []), (None, []), ("no battery", [])]
)
def test_a_worker_waits_on_battery(
    plugged: object, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Battery:
        power_plugged = plugged

    battery = None if plugged == "no battery" else Battery()
    monkeypatch.setattr("psutil.sensors_battery", lambda: battery, raising=False)
    assert holding(worker_pause_on_battery=True) == waits
    assert holding() == []


def test_while_it_waits_a_worker_reads_ticks_alone_and_releases_its_chunks() -> None:
    state = {"closed": True}
    released: list[bool] = []
    throttle = Throttle([Condition("closed", lambda: state["closed"])], lambda: released.append(True))
    throttle.check()  # a chunk that was claimed meanwhile
    assert (throttle.reason, queues_read(), len(released)) == ("closed", [KEYS.ticks], 2)
    state["closed"] = False
    throttle.check()
    assert (throttle.reason, len(queues_read()), len(released)) == (None, 3, 2)
