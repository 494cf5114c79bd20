"""What is counted for a query: once for all who ask at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from tagger.errors import LandmarkNotFound
from tagger.library.query.options import PhotoQuery
from tagger.web import cached_value
from tagger.web.cached_value import QueryCounts

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
