"""Values that the server keeps: shown at once, refreshed in the background, and counted once for all who ask at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest
from sqlalchemy import insert

from tagger.database.connection import Database
from tagger.database.tables import cameras
from tagger.errors import LandmarkNotFound
from tagger.query.options import PhotoQuery
from tagger.web import cached_value
from tagger.web.cached_value import CachedValue, QueryCounts, Refreshes, close_all

QUERY = PhotoQuery(landmark="eiffel-tower")


class Counted:
    """A count that takes until `release`, and then returns its number, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.release, self.has_begun = threading.Event(), threading.Event()
        self.number = 0
        self._error = error

    def __call__(self, query: PhotoQuery) -> int:
        self.number += 1
        number = self.number
        if query == QUERY:
            self.has_begun.set()
            assert self.release.wait(60)
        if self._error is not None:
            raise self._error
        return number


def at_once(counts: QueryCounts[int], counted: Counted, then: Callable[[], object]) -> list[object]:
    """What eight callers get that ask while the first of them has its query counted."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(counts.get, QUERY) for _ in range(8)]
        assert counted.has_begun.wait(60)
        then()
        counted.release.set()
        return [each.exception() or each.result() for each in asked]


def test_callers_at_the_same_time_share_one_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cached_value, "COST_FACTOR", 1e9)  # for callers whose threads start late
    counted = Counted()
    counts = QueryCounts(counted)
    other = PhotoQuery(country="France")
    results = at_once(counts, counted, lambda: counts.get(other))
    assert results == [1] * 8
    assert counted.number == 2


def test_an_error_reaches_all_who_wait_and_is_not_kept() -> None:
    counted = Counted(LandmarkNotFound(name="eiffel-tower", close=""))
    counts = QueryCounts(counted)
    results = at_once(counts, counted, lambda: None)
    assert all(isinstance(each, LandmarkNotFound) for each in results)
    before = counted.number
    with pytest.raises(LandmarkNotFound):
        counts.get(QUERY)
    assert counted.number == before + 1


def test_slow_values_delay_no_page_and_old_ones_are_shown_meanwhile() -> None:
    may_end, values = threading.Event(), iter([1, 2])
    cached = CachedValue(lambda: may_end.wait(30) and next(values), 0.0)
    assert cached.get(0.0) is None
    may_end.set()
    assert cached.get(30.0) == 1
    cached._stale_at_s = 0.0
    may_end.clear()
    assert cached.get(0.0) == 1
    may_end.set()
    cached.close()
    assert cached._value == 2


def test_a_server_that_stops_does_not_wait_for_the_end_of_its_queries(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cached_value, "CLOSE_S", 0.1)
    may_end = threading.Event()
    values = [CachedValue(lambda: may_end.wait(30), 1000.0) for _ in range(2)]
    for value in values:
        value.get(0.0)
    close_all(values)
    assert not any(value.has_value for value in values)
    may_end.set()
    for value in values:
        value.close(30)
    assert all(value.has_value for value in values)


def test_values_that_share_a_turn_are_refreshed_one_after_the_other() -> None:
    turn, has_begun, may_end, order = Refreshes(), threading.Event(), threading.Event(), list[str]()

    def first() -> int:
        has_begun.set()
        assert may_end.wait(30)
        order.append("first")
        return 1

    slow = CachedValue(first, 1000.0, turn)
    other = CachedValue(lambda: order.append("other"), 1000.0, turn)
    assert slow.get(0.0) is None
    assert has_begun.wait(30)
    other.get(0.1)
    assert order == []
    may_end.set()
    assert slow.get(30.0) == 1
    other.get(30.0)
    assert order == ["first", "other"]


def test_in_the_turn_of_another_the_old_value_is_shown_and_a_closed_one_is_not_refreshed() -> None:
    turn, values = Refreshes(), iter([1, 2])
    cached, closed = CachedValue(lambda: next(values), 0.0, turn), CachedValue(lambda: 1, 1000.0, turn)
    assert cached.get(30.0) == 1
    cached._stale_at_s = 0.0
    with turn.lock:
        assert cached.get(3600.0) == 1
        closed.get(0.0)
        closed.close(0.0)
    cached.close(30.0)
    closed.close(30.0)
    assert not closed.has_value


def test_a_query_that_took_long_is_not_waited_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    durations_s, may_end = iter([9.0, 0.0]), threading.Event()
    may_end.set()

    def find() -> str:
        may_end.wait(30)
        now_s[0] += next(durations_s)
        return f"at {now_s[0]:.0f}"

    now_s = [0.0]
    monkeypatch.setattr(cached_value.time, "monotonic", lambda: now_s[0])
    cached = CachedValue(find, 1.0)
    assert cached.get(30.0) == "at 9"
    now_s[0] = 1000.0
    may_end.clear()
    assert cached.get(8.0) == "at 9"  # at once: the query cannot end before the event
    may_end.set()
    cached.close()
    assert cached.get(8.0) == "at 1000"


def test_values_go_on_after_a_thread_could_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    turn = Refreshes()
    values = [CachedValue(lambda: 1, 1000.0, turn) for _ in range(2)]

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            values[0].get(10.0)
    assert [value.get(10.0) for value in values] == [1, 1]


# PostgreSQL does not say whether anything has changed.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_has_not_changed_is_not_counted_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_value, "COST_FACTOR", 0.0)
    counted = Counted()
    counted.release.set()
    counts = QueryCounts(counted, database.change_mark)
    numbers = count(1)
    cached = CachedValue(lambda: next(numbers), 0.0, Refreshes(database.change_mark))
    for _ in range(2):
        assert (cached.get(30.0), counts.get(QUERY)) == (1, 1)
    with database.write() as connection:
        connection.execute(insert(cameras).values(key="a", name="a"))
    for _ in range(2):
        assert (cached.get(30.0), counts.get(QUERY)) == (2, 2)


def test_what_changes_while_it_is_counted_is_counted_again(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cached_value, "COST_FACTOR", 0.0)

    def find() -> int:
        with database.write() as connection:
            connection.execute(insert(cameras).values(key=(key := str(next(numbers))), name=key))
        return int(key)

    numbers = count(1)
    cached = CachedValue(find, 0.0, Refreshes(database.change_mark))
    assert [cached.get(30.0) for _ in range(3)] == [1, 2, 3]
