"""The shared/exclusive lock of chunks."""

import threading

import pytest
from support.threads import in_threads

from tagger.jobs.processing.executor import SharedExclusiveLock


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> SharedExclusiveLock:
    monkeypatch.setattr("tagger.jobs.processing.executor.TIMEOUT_S", 0.3)
    return SharedExclusiveLock(threading.Event())


def test_shared_holders_do_not_block_each_other(lock: SharedExclusiveLock) -> None:
    with lock.acquire(exclusive=False) as first, lock.acquire(exclusive=False) as second:
        assert first
        assert second


@pytest.mark.parametrize("other", [True, False])
def test_an_exclusive_holder_blocks_all_others(lock: SharedExclusiveLock, other: bool) -> None:
    with lock.acquire(exclusive=True) as first:
        assert first
        with lock.acquire(exclusive=other) as second:
            assert not second
    with lock.acquire(exclusive=other) as later:
        assert later


def test_an_exclusive_request_waits_for_shared_holders(lock: SharedExclusiveLock) -> None:
    with lock.acquire(exclusive=False), lock.acquire(exclusive=True) as second:
        assert not second


def test_exclusive_requests_are_not_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.jobs.processing.executor.TIMEOUT_S", 20)
    lock, stop = SharedExclusiveLock(threading.Event()), threading.Event()
    results = []

    def acquire_shared() -> None:
        while not stop.is_set():
            with lock.acquire(exclusive=False):
                pass

    def acquire_exclusively() -> None:
        for _ in range(20):
            with lock.acquire(exclusive=True) as acquired:
                results.append(acquired)
        stop.set()

    in_threads([acquire_shared, acquire_shared, acquire_exclusively])
    assert results == [True] * 20


def test_a_stop_ends_waiting(lock: SharedExclusiveLock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tagger.jobs.processing.executor.TIMEOUT_S", 3600)
    lock._stop.set()
    with lock.acquire(exclusive=True), lock.acquire(exclusive=False) as second:
        assert not second
