"""Traces of a real worker, at a real receiver of OTLP."""

from collections.abc import Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from rig.servers import RedisServer
from sqlalchemy import select
from support.commands import Terminal, draw_many
from support.http_servers import running

from tagger.database.tables import jobs
from tagger.ledger.job_facts import job_options
from tagger.tracing import is_traceparent

NOT_INSTALLED = "No traces are sent"
FAILED_EXPORTS = ("Failed to export", "Transient error")
"""How the exporter's warnings begin."""


class TraceReceiver:
    """A context manager. `spans` has what it received."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.services: set[str] = set()
        self.bodies = b""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                receiver._take(body)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._running = ExitStack()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._running.enter_context(running(self._server))
        return self

    def __exit__(self, *_error: object) -> None:
        self._running.close()

    def _take(self, body: bytes) -> None:
        self.bodies += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            named = {each.key: each.value.string_value for each in resource.resource.attributes}
            self.services.add(named["service.name"])
            for scope in resource.scope_spans:
                self.spans += scope.spans


@pytest.fixture
def receiver() -> Iterator[TraceReceiver]:
    with TraceReceiver() as receiver:
        yield receiver


def attributes(span: Any) -> dict[str, object]:
    return {each.key: each.value.string_value or each.value.int_value for each in span.attributes}


def test_each_chunk_is_a_trace_of_its_stages(
    tmp_path: Path, redis_server: RedisServer, receiver: TraceReceiver
) -> None:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "private", 40)
    with terminal.workers(1):
        job = int(terminal.run("enqueue", "private").stdout)
        terminal.wait_until(lambda: terminal.progress(job).is_over)
    chunks = [span for span in receiver.spans if span.name == "chunk"]
    facts = [
        {name: value for name, value in attributes(chunk).items() if name != "tagger.worker"}
        for chunk in chunks
    ]
    assert sorted(facts, key=lambda each: str(each["tagger.chunk"])) == [
        {"tagger.job": job, "tagger.chunk": 0, "tagger.photos": 32, "tagger.end": "done"},
        {"tagger.job": job, "tagger.chunk": 1, "tagger.photos": 8, "tagger.end": "done"},
    ]
    for chunk in chunks:
        below = [span for span in receiver.spans if span.parent_span_id == chunk.span_id]
        names = [span.name for span in below]
        photos = attributes(chunk)["tagger.photos"]
        assert {span.trace_id for span in below} == {chunk.trace_id}
        assert set(names) == {"claim", "read", "digest", "decode", "classify", "store"}
        assert (names.count("claim"), names.count("read"), names.count("decode")) == (1, photos, photos)
        assert (
            sum(int(str(attributes(each)["tagger.photos"])) for each in below if each.name == "classify")
            == photos
        )
        assert all(chunk.start_time_unix_nano <= each.start_time_unix_nano for each in below)
    (enqueued,) = [span for span in receiver.spans if span.name == "enqueue"]
    assert attributes(enqueued) == {"tagger.job": job, "tagger.kind": "tag"}
    origin = (enqueued.trace_id, enqueued.span_id)
    assert [[(link.trace_id, link.span_id) for link in chunk.links] for chunk in chunks] == [[origin]] * 2
    assert {chunk.trace_id for chunk in chunks}.isdisjoint({enqueued.trace_id})
    assert receiver.services == {"landmark-tagger"}
    assert b"private" not in receiver.bodies
    log = terminal.log.read_text()
    assert [warning for warning in (NOT_INSTALLED, *FAILED_EXPORTS) if warning in log] == []


def test_jobs_that_are_traced_are_read_as_others_are(
    tmp_path: Path, redis_server: RedisServer, receiver: TraceReceiver
) -> None:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "photos", 2)
    (terminal.folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    first = int(terminal.run("enqueue", "photos", "--write", "sidecar").stdout)
    terminal.process_job(first)
    second = int(terminal.run("backfill", "all", "--under", "photos").stdout)
    third = int(terminal.run("retry", str(first)).stdout)
    terminal.wait_until(lambda: len(receiver.spans) >= 3)
    enqueued = [attributes(span) for span in receiver.spans if span.name == "enqueue"]
    assert {each["tagger.job"]: each["tagger.kind"] for each in enqueued} == {
        first: "tag",
        second: "backfill",
        third: "retry",
    }
    with terminal.database() as database:
        with database.read() as connection:
            stored = {row.id: row.options for row in connection.execute(select(jobs.c.id, jobs.c.options))}
        assert all(is_traceparent(stored[job]["traceparent"]) for job in (first, second, third))
        shown = job_options(database, stored)
    assert [set(shown[job]) for job in (first, second, third)] == [
        {"paths", "write"},
        {"what", "under"},
        {"write"},
    ]
    terminal.run("db", "check")
    terminal.run("export", "library.ndjson")
    terminal.environment["TAGGER_DATA_FOLDER"] = str(terminal.folder / "other")
    terminal.run("import", "library.ndjson")
    terminal.run("db", "check")


@pytest.mark.slow
def test_a_receiver_that_is_away_costs_no_photos(tmp_path: Path, redis_server: RedisServer) -> None:
    with TraceReceiver() as receiver:
        away = receiver.url
    settings = {
        "TAGGER_REDIS_URL": redis_server.url,
        "OTEL_EXPORTER_OTLP_ENDPOINT": away,
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
    }
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "photos", 3)
    with terminal.workers(1) as (worker,):
        job = int(terminal.run("enqueue", "photos").stdout)
        terminal.wait_until(lambda: terminal.progress(job).is_over)
        worker.terminate()
        assert worker.wait(60) == 0
    assert terminal.progress(job).done == 3
    assert any(warning in terminal.log.read_text() for warning in FAILED_EXPORTS)
