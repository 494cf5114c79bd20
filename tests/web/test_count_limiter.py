"""Requests that count photos wait for each other, and others do not wait for them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

import anyio
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from tagger.web.http.request_guard import CLIENT_GONE, COUNTING_AT_ONCE, CountLimiter


class Asking:
    """A request whose client may go."""

    has_gone = False

    async def is_disconnected(self) -> bool:
        return self.has_gone


def test_a_few_things_are_counted_at_once_and_others_are_answered(client: TestClient) -> None:
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


def test_who_comes_while_too_many_wait_is_told_to_come_back() -> None:
    async def run() -> None:
        limiter = CountLimiter(at_once=1, most_waiting=1)
        statuses: list[int] = []
        waiting = Asking()

        async def ask(request: Asking) -> None:
            try:
                async with limiter.slot(request):  # type: ignore[arg-type]
                    pass
            except HTTPException as error:
                statuses.append(error.status_code)

        async with anyio.create_task_group() as group, limiter.slot(Asking()):  # type: ignore[arg-type]
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
