"""When the watchdog considers a worker stuck, and when it only waits."""

from dataclasses import dataclass

import pytest

from tagger.jobs.processing.executor import ActivityMonitor
from worker.tasks import Watchdog


@dataclass
class Sweeper:
    waiting: int = 0
    silent_s: float = 0.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in ("tagger.jobs.processing.executor", "worker.tasks"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


def test_work_and_sweeps_without_progress_are_problems(clock):
    activity = ActivityMonitor()
    with activity.chunk() as beat:
        clock.now += 1000  # its models are loaded
        assert activity.problem(60) is None
        beat()
        clock.now += 59
        assert activity.problem(60) is None
        beat()
        clock.now += 59
        assert activity.problem(60) is None
        clock.now += 2
        assert activity.problem(60) == "the current work has made no progress for 60 s"
    assert activity.problem(60) is None
    sweeper = Sweeper(silent_s=59)
    watchdog = Watchdog(ActivityMonitor(), sweeper, timeout_s=60)
    assert watchdog.problem() is None
    sweeper.silent_s = 61
    assert watchdog.problem() == "jobs and workers were not checked for 60 s"


def test_messages_that_are_not_received_are_a_problem_and_slow_ones_are_none(clock):
    activity, sweeper = ActivityMonitor(), Sweeper()
    watchdog = Watchdog(activity, sweeper, timeout_s=60)
    clock.now += 1000  # idle for long, with nothing to do
    assert watchdog.problem() is None
    sweeper.waiting = 3
    assert watchdog.problem() is None
    clock.now += 61
    assert "messages are waiting" in (watchdog.problem() or "")
    for _ in range(10):  # they are received slowly
        activity.record_message()
        assert watchdog.problem() is None
        clock.now += 40
