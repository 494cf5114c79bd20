"""Live events: the complete state, every change, one poller for all listeners, and their end."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from support.commands import draw_many
from support.page_server import served

from tagger.ledger.job_control import pause
from tagger.web.api import jobs


@pytest.fixture
def address(web_settings, web_database, tmp_path) -> Iterator[str]:
    draw_many(tmp_path / "photos", 2)
    settings = web_settings.model_copy(update={"web_folders": [tmp_path / "photos"]})
    with served(settings, web_database) as port:
        yield f"http://127.0.0.1:{port}"


class Listener:
    def __init__(self, stack: ExitStack, address: str, **headers: str) -> None:
        client = stack.enter_context(httpx.Client(timeout=30))
        self.answer = stack.enter_context(client.stream("GET", f"{address}/api/events", headers=headers))
        self._lines = self.answer.iter_lines() if self.answer.status_code == 200 else iter(())

    def event(self) -> dict[str, Any]:
        data = next(line for line in self._lines if line.startswith("data: "))
        document: dict[str, Any] = json.loads(data.removeprefix("data: "))
        return document

    def rest(self) -> list[str]:
        return list(self._lines)


def start(address: str, folder: Path) -> int:
    answer = httpx.post(f"{address}/api/jobs", json={"paths": [str(folder)]}, timeout=30)
    return int(answer.json()["job"])


def test_all_listeners_get_the_state_and_each_change_of_it(address, web_database, tmp_path):
    with ExitStack() as stack:
        listeners = [Listener(stack, address) for _ in range(5)]
        listener, *others = listeners
        assert listener.answer.headers["content-type"].startswith("text/event-stream")
        assert listener.answer.headers["cache-control"] == "no-store"
        first = listener.event()
        assert first["jobs"] == []
        job = start(address, tmp_path / "photos")
        event = listener.event()
        for other in others:
            assert [other.event(), other.event()] == [first, event]
        while not event["jobs"] or event["jobs"][0]["state"] != "queued":
            event = listener.event()
        assert event["version"] != first["version"]
        assert event["jobs"][0]["shown"]["done"] == "0 of 2 photos"
        pause(web_database, job)
        assert listener.event()["jobs"][0]["state"] == "paused"
    with ExitStack() as stack:  # connected again
        listener = Listener(stack, address)
        assert [each["job"] for each in listener.event()["jobs"]] == [job]


def test_listeners_above_the_limit_are_refused_until_one_leaves(address, monkeypatch):
    monkeypatch.setattr(jobs, "MAX_LISTENERS", 2)
    port = int(address.rpartition(":")[2])
    request = f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    with ExitStack() as stack:
        many = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(20)]
        for connection in many:
            connection.sendall(request)
        assert sorted(each.recv(12)[9:] for each in many) == [b"200"] * 2 + [b"503"] * 18
        refused = Listener(stack, address).answer
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
    until = time.monotonic() + 30
    with ExitStack() as stack:
        while Listener(stack, address).answer.status_code != 200:
            assert time.monotonic() < until


def test_a_stopping_server_ends_the_streams_of_its_listeners(web_settings, web_database):
    ended = threading.Event()
    with ExitStack() as stack:
        with served(web_settings, web_database) as port:
            listener = Listener(stack, f"http://127.0.0.1:{port}")
            listener.event()
            threading.Thread(target=lambda: (listener.rest(), ended.set())).start()
        # The stream ended in order: the listener saw no broken connection.
        assert ended.wait(30)
