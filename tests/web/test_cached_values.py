"""Numbers that pages keep for a while, and how many are counted at once."""

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from typing import Any
from unittest.mock import patch

import anyio
import pytest
from sqlalchemy import insert, update
from starlette.exceptions import HTTPException
from support.databases import execute
from support.library_photos import EIFFEL

from tagger.database.tables import cameras, models
from tagger.errors import LandmarkNotFound
from tagger.query.options import PhotoQuery
from tagger.web import state as overview
from tagger.web.routes import CLIENT_GONE, COUNTING_AT_ONCE, CountLimiter
from tagger.web.state import CachedQuery, Changes, close_all

QUERY = PhotoQuery(landmark="eiffel-tower")


class Counted:
    """A count that takes until `release`, and then returns its number, or raises."""

    def __init__(self, error: Exception | None = None) -> None:
        self.release, self.has_begun = threading.Event(), threading.Event()
        self.number = 0
        self._error = error

    def __call__(self, query: PhotoQuery = QUERY) -> int:
        self.number += 1
        number = self.number
        if query == QUERY:
            self.has_begun.set()
            assert self.release.wait(60)
        if self._error is not None:
            raise self._error
        return number


def at_once(counts: CachedQuery[int], counted: Counted, then: Callable[[], object]) -> list[object]:
    """What eight callers get that ask while the first of them has its query counted."""
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(counts.get, QUERY) for _ in range(8)]
        assert counted.has_begun.wait(60)
        then()
        counted.release.set()
        return [each.exception() or each.result() for each in asked]


def test_callers_at_the_same_time_share_one_count(monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 1e9)  # for callers whose threads start late
    counted = Counted()
    counts = CachedQuery(counted)
    other = PhotoQuery(country="France")
    results = at_once(counts, counted, lambda: counts.get(other))
    assert results == [1] * 8
    assert counted.number == 2


def test_an_error_reaches_all_who_wait_and_is_not_kept():
    counted = Counted(LandmarkNotFound(name="eiffel-tower", close=""))
    counts = CachedQuery(counted)
    results = at_once(counts, counted, lambda: None)
    assert all(isinstance(each, LandmarkNotFound) for each in results)
    before = counted.number
    with pytest.raises(LandmarkNotFound):
        counts.get(QUERY)
    assert counted.number == before + 1


def test_slow_values_delay_no_page_and_old_ones_are_shown_meanwhile():
    may_end, values, changes = threading.Event(), iter([1, 2]), Changes()
    cached = CachedQuery(lambda: may_end.wait(30) and next(values), changes)
    assert cached.get_soon(0.0) is None
    may_end.set()
    assert cached.get_soon(30.0) == 1
    may_end.clear()
    changes.requests += 1
    assert cached.get_soon(0.0) == 1
    may_end.set()
    assert cached.get_soon(30.0) == 2


def test_a_server_that_stops_does_not_wait_for_the_end_of_its_queries(monkeypatch):
    monkeypatch.setattr(overview, "CLOSE_S", 0.1)
    may_end = threading.Event()
    values = [CachedQuery(lambda: may_end.wait(30)) for _ in range(2)]
    for value in values:
        value.get_soon(0.0)
    close_all(values)
    assert [value.get_soon(0.0) for value in values] == [None, None]
    may_end.set()
    for value in values:
        value.close(30)
    assert all(value.get_soon(0.0) for value in values)


def test_slow_queries_run_one_after_the_other_and_a_closed_one_not_at_all():
    changes, slow = Changes(), Counted()
    first, second, closed = (CachedQuery(query, changes) for query in (slow, lambda: 2, lambda: 3))
    assert first.get_soon(0.0) is None
    assert slow.has_begun.wait(30)
    assert second.get_soon(0.1) is None
    closed.get_soon(0.0)
    closed.close(0.0)
    slow.release.set()
    assert (first.get_soon(30.0), second.get_soon(30.0)) == (1, 2)
    closed.close(30.0)
    assert closed.get_soon(0.0) is None


def test_a_quick_query_does_not_wait_and_a_change_is_followed_by_another(monkeypatch):
    monkeypatch.setattr(overview, "QUICK_S", 30.0)
    changes, numbers = Changes(), count(1)
    quick = CachedQuery(lambda: next(numbers), changes)
    assert quick.get_soon(30.0) == 1
    changes.requests += 1
    with changes.slow_queries:
        assert quick.get_soon(30.0) == 2
    monkeypatch.setattr(overview, "COST_FACTOR", 1e9)
    changes, query = Changes(), Counted()
    cached = CachedQuery(query, changes)
    assert cached.get_soon(0.0) is None
    assert query.has_begun.wait(30)
    changes.requests += 1
    query.release.set()
    assert cached.get_soon(30.0) == 2
    assert cached.get_soon(30.0) == 2


def test_who_asks_after_a_change_does_not_get_what_is_counted_since_before(monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 1e9)
    changes, counted = Changes(), Counted()
    counts = CachedQuery(counted, changes)
    with ThreadPoolExecutor(2) as pool:
        before = pool.submit(counts.get, QUERY)
        assert counted.has_begun.wait(60)
        changes.requests += 1
        counted.has_begun.clear()
        after = pool.submit(counts.get, QUERY)
        assert counted.has_begun.wait(60)
        counted.release.set()
        assert (before.result(60), after.result(60)) == (1, 2)
    assert counts.get(QUERY) == 2


def test_what_another_program_changes_is_seen_once_counting_again_costs_little(database, monkeypatch):
    now_s, numbers = [0.0], count(1)
    monkeypatch.setattr(overview.time, "monotonic", lambda: now_s[0])

    def find() -> int:
        now_s[0] += 1.0
        return next(numbers)

    cached = CachedQuery(find, Changes(database.change_mark))
    assert cached.get_soon(30.0) == 1
    execute(database, insert(cameras).values(key="a", name="a"))
    now_s[0] += overview.COST_FACTOR - 0.5
    assert cached.get_soon(30.0) == 1
    now_s[0] += 1.0
    assert cached.get_soon(30.0) == 2


def test_a_query_that_took_long_is_not_waited_for_again(monkeypatch):
    durations_s, may_end = iter([9.0, 0.0]), threading.Event()
    may_end.set()

    def find() -> str:
        may_end.wait(30)
        now_s[0] += next(durations_s)
        return f"at {now_s[0]:.0f}"

    now_s = [0.0]
    monkeypatch.setattr(overview.time, "monotonic", lambda: now_s[0])
    cached = CachedQuery(find)
    assert cached.get_soon(30.0) == "at 9"
    now_s[0] = 1000.0
    may_end.clear()
    assert cached.get_soon(8.0) == "at 9"  # at once: the query cannot end before the event
    may_end.set()
    assert cached.get_soon(30.0) == "at 1000"


def test_values_go_on_after_a_thread_could_not_start(monkeypatch):
    changes = Changes()
    values = [CachedQuery(lambda: 1, changes) for _ in range(2)]

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            values[0].get_soon(10.0)
    assert [value.get_soon(10.0) for value in values] == [1, 1]


# PostgreSQL does not say whether anything has changed.
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_what_has_not_changed_is_not_counted_again(database, monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 0.0)
    changes, counted, numbers = Changes(database.change_mark), Counted(), count(1)
    counted.release.set()
    counts = CachedQuery(counted, changes)
    cached = CachedQuery(lambda: next(numbers), changes)
    for _ in range(2):
        assert (cached.get_soon(30.0), counts.get(QUERY)) == (1, 1)
        changes.requests += 1
    execute(database, insert(cameras).values(key="a", name="a"))
    for _ in range(2):
        assert (cached.get_soon(30.0), counts.get(QUERY)) == (2, 2)


def test_what_changes_while_it_is_counted_is_counted_again(database, monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 0.0)

    def find() -> int:
        execute(database, insert(cameras).values(key=(key := str(next(numbers))), name=key))
        return int(key)

    numbers = count(1)
    cached = CachedQuery(find, Changes(database.change_mark))
    assert [cached.get_soon(30.0) for _ in range(3)] == [1, 2, 3]


@pytest.mark.usefixtures("counted")
def test_the_next_request_sees_a_verdict(client, library, monkeypatch):
    monkeypatch.setattr(overview, "COST_FACTOR", 1e9)
    execute(library.database, update(models).values(suggestion_threshold=0.3))
    library.number("tower.jpg", (EIFFEL, 0.9, True))
    likely = library.number("likely.jpg", (EIFFEL, 0.4, False))

    def numbers() -> dict[str, object]:
        page = client.get("/places").text
        panel = client.get("/photos/filter").text.partition(f'value="{EIFFEL}"')[2]
        return {
            "badge": re.findall(r'class="nav-count">(\d+)', page),
            "card": re.findall(r"(\d+) photos?</span>", page),
            "filter": re.findall(r'class="count small">(\d+)', panel)[0],
            "timeline": [each["photos"] for each in client.get(f"/api/timeline?landmark={EIFFEL}").json()],
        }

    before = {"badge": ["1"], "card": ["1"], "filter": "1", "timeline": [1]}
    body = {"photos": [likely], "landmark": EIFFEL, "verdict": "confirmed"}
    assert numbers() == before
    client.post("/api/verdicts", json=body)
    assert numbers() == {"badge": [], "card": ["2"], "filter": "2", "timeline": [2]}
    client.request("DELETE", "/api/verdicts", json=body)
    assert numbers() == before


class Asking:
    has_gone = False

    async def is_disconnected(self) -> bool:
        return self.has_gone


def test_a_few_things_are_counted_at_once_and_others_are_answered(client):
    release, running, most = threading.Event(), [0], [0]
    lock, both = threading.Lock(), threading.Barrier(COUNTING_AT_ONCE + 1)

    def count(_query: object) -> list[Any]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        if not release.is_set():
            both.wait(timeout=30)
            release.wait(timeout=30)
        with lock:
            running[0] -= 1
        return []

    state = client.app.state.app_state
    with patch.object(state.section_counts, "get", count), ThreadPoolExecutor(12) as threads:
        counted = [threads.submit(client.get, f"/api/timeline?year={2000 + number}") for number in range(12)]
        both.wait(timeout=30)
        assert client.get("/api/status").status_code == 200
        release.set()
        assert {each.result().status_code for each in counted} == {200}
    assert most[0] == COUNTING_AT_ONCE


def test_who_comes_while_too_many_wait_is_told_to_come_back():
    async def run() -> None:
        limiter = CountLimiter(at_once=1, most_waiting=1)
        statuses: list[int] = []
        waiting = Asking()

        async def ask(request: Asking) -> None:
            try:
                async with limiter.slot(request):
                    pass
            except HTTPException as error:
                statuses.append(error.status_code)

        async with anyio.create_task_group() as group, limiter.slot(Asking()):
            group.start_soon(ask, waiting)
            await anyio.wait_all_tasks_blocked()
            await ask(Asking())
            assert statuses == [503]
            waiting.has_gone = True
            while len(statuses) < 2:  # noqa: ASYNC110 - the clock of the limiter decides
                await anyio.sleep(0.01)
        assert statuses == [503, CLIENT_GONE]

    # Browser tests of this process leave a loop in this thread.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(anyio.run, run).result()
