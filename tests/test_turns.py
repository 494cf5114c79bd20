"""Chunks share a process, but for one that has to be alone."""

import threading

import pytest
from threads import in_threads

from tagger.turns import Turns


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Turns:
    monkeypatch.setattr("tagger.turns.TURN_S", 0.3)
    return Turns(threading.Event())


def test_chunks_share(turns: Turns) -> None:
    with turns.taken(alone=False) as first, turns.taken(alone=False) as second:
        assert first
        assert second


@pytest.mark.parametrize("other", [True, False])
def test_nobody_works_beside_one_that_is_alone(turns: Turns, other: bool) -> None:
    with turns.taken(alone=True) as first:
        assert first
        with turns.taken(alone=other) as second:
            assert not second
    with turns.taken(alone=other) as later:
        assert later


def test_one_that_has_to_be_alone_waits_for_the_others(turns: Turns) -> None:
    with turns.taken(alone=False), turns.taken(alone=True) as second:
        assert not second


def test_one_that_waits_to_be_alone_is_not_overtaken_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.turns.TURN_S", 20)
    turns, enough = Turns(threading.Event()), threading.Event()
    turn = []

    def share() -> None:
        while not enough.is_set():
            with turns.taken(alone=False):
                pass

    def be_alone() -> None:
        for _ in range(20):
            with turns.taken(alone=True) as got:
                turn.append(got)
        enough.set()

    in_threads([share, share, be_alone])
    assert turn == [True] * 20


def test_who_has_to_stop_does_not_wait(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.turns.TURN_S", 3600)
    turns._stop.set()
    with turns.taken(alone=True), turns.taken(alone=False) as second:
        assert not second
