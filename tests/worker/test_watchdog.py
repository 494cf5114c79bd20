"""When a worker is taken for stuck, and when it only waits."""

from dataclasses import dataclass

import pytest

from tagger.tagging import Pulse
from worker.watchdog import Watchdog


@dataclass
class Sweeper:
    """Says what the test lets it."""

    waiting: int = 0
    silent_s: float = 0.0


class Clock:
    """Stands where the test puts it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("tagger.tagging.time", clock)
    monkeypatch.setattr("worker.watchdog.time", clock)
    return clock


def test_work_in_hand_of_which_nothing_comes_is_a_standstill(clock: Clock) -> None:
    pulse = Pulse()
    watchdog = Watchdog(pulse, Sweeper(), stall_s=60)
    with pulse.busy() as beat:
        clock.now += 59
        assert watchdog.trouble() is None
        beat()
        clock.now += 59
        assert watchdog.trouble() is None
        clock.now += 2
        assert "nothing has come of the work in hand for 60 s" in (watchdog.trouble() or "")
    assert watchdog.trouble() is None


def test_messages_that_nobody_takes_are_a_standstill(clock: Clock) -> None:
    pulse, sweeper = Pulse(), Sweeper()
    watchdog = Watchdog(pulse, sweeper, stall_s=60)
    clock.now += 1000  # idle for long, with nothing to do
    assert watchdog.trouble() is None
    sweeper.waiting = 3
    assert watchdog.trouble() is None
    clock.now += 61
    assert "messages wait" in (watchdog.trouble() or "")


def test_messages_that_are_taken_now_and_then_are_none(clock: Clock) -> None:
    pulse = Pulse()
    watchdog = Watchdog(pulse, Sweeper(waiting=3), stall_s=60)
    for _ in range(10):
        assert watchdog.trouble() is None
        clock.now += 40
        pulse.hear()
    assert watchdog.trouble() is None


def test_a_chunk_that_waits_for_one_that_is_stuck_does_not_hide_it(clock: Clock) -> None:
    pulse = Pulse()
    watchdog = Watchdog(pulse, Sweeper(), stall_s=60)
    with pulse.busy(), pulse.busy() as beat:
        for _ in range(7):
            clock.now += 10
            beat()
            pulse.hear()
        assert "nothing has come of the work in hand" in (watchdog.trouble() or "")


def test_a_sweeper_that_hangs_is_a_standstill(clock: Clock) -> None:
    sweeper = Sweeper(silent_s=59)
    watchdog = Watchdog(Pulse(), sweeper, stall_s=60)
    assert watchdog.trouble() is None
    sweeper.silent_s = 61
    assert watchdog.trouble() == "the sweeper has not moved for 60 s"
