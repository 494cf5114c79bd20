"""The limit of photos per second."""

from types import SimpleNamespace

import pytest

from tagger.jobs.processing import coordination
from tagger.jobs.processing.coordination import PhotoRate


class Clock:
    """A clock that only sleeping advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    fake = SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep)
    monkeypatch.setattr(coordination, "time", fake)
    return clock


@pytest.mark.parametrize("per_second", [0.1, 2.0, 500.0])
def test_photos_get_their_turns_at_the_rate(clock: Clock, per_second: float) -> None:
    rate = PhotoRate(per_second)
    for _ in range(101):
        assert rate.wait(1, lambda: False)
    assert clock.now - 1000.0 == pytest.approx(100 / per_second)


def test_a_batch_takes_one_turn_for_each_photo(clock: Clock) -> None:
    rate = PhotoRate(4.0)
    assert rate.wait(32, lambda: False)
    assert clock.now == 1000.0
    assert rate.wait(32, lambda: False)
    assert clock.now == pytest.approx(1008.0)


def test_turns_of_a_long_pause_are_not_made_up_for(clock: Clock) -> None:
    rate = PhotoRate(10.0)
    clock.now += 3600
    for _ in range(106):
        rate.wait(1, lambda: False)
    assert clock.now - 4600.0 == pytest.approx(10.0)


def test_who_gives_up_takes_no_turn(clock: Clock) -> None:
    rate = PhotoRate(0.01)
    assert rate.wait(1, lambda: False)
    give_up_at = clock.now + 50
    assert not rate.wait(1, lambda: clock.now >= give_up_at)
    assert rate.wait(1, lambda: False)
    assert clock.now == pytest.approx(1100.0)
