"""The shared/exclusive lock of chunks."""

import threading

import pytest
from support.threads import in_threads

from tagger.jobs.processing.executor import SharedExclusiveLock


@pytest.fixture
def stop() -> threading.Event:
    """Ends waits for the lock."""
    return threading.Event()


@pytest.fixture
def lock(stop: threading.Event) -> SharedExclusiveLock:
    return SharedExclusiveLock(stop)


def test_shared_holders_do_not_block_each_other(lock: SharedExclusiveLock) -> None:
    with lock.acquire(exclusive=False) as first, lock.acquire(exclusive=False) as second:
        assert first
        assert second


@pytest.mark.parametrize(("held", "other"), [(True, True), (True, False), (False, True)])
def test_who_is_blocked_waits_until_a_stop(
    lock: SharedExclusiveLock, stop: threading.Event, held: bool, other: bool
) -> None:
    with lock.acquire(exclusive=held) as first:
        assert first
        threading.Timer(0.2, stop.set).start()
        with lock.acquire(exclusive=other) as second:
            assert not second
    stop.clear()
    with lock.acquire(exclusive=other) as later:
        assert later


def test_exclusive_requests_are_not_starved(lock: SharedExclusiveLock) -> None:
    is_over = threading.Event()
    results = []

    def acquire_shared() -> None:
        while not is_over.is_set():
            with lock.acquire(exclusive=False):
                pass

    def acquire_exclusively() -> None:
        for _ in range(20):
            with lock.acquire(exclusive=True) as acquired:
                results.append(acquired)
        is_over.set()

    in_threads([acquire_shared, acquire_shared, acquire_exclusively])
    assert results == [True] * 20
