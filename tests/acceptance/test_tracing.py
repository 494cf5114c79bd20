"""Jobs that are traced; test_worker_monitoring has the traces of a worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from rig.servers import RedisServer
from sqlalchemy import select
from support.commands import Terminal, draw_many
from support.trace_receiver import TraceReceiver, attributes

from tagger.database.tables import jobs
from tagger.ledger.progress import job_options
from tagger.system.tracing import is_traceparent


@pytest.fixture
def receiver() -> Iterator[TraceReceiver]:
    with TraceReceiver() as receiver:
        yield receiver


def test_jobs_that_are_traced_are_read_as_others_are(
    tmp_path: Path, redis_server: RedisServer, receiver: TraceReceiver
) -> None:
    settings = {"TAGGER_REDIS_URL": redis_server.url, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
    terminal = Terminal(tmp_path / "terminal", settings)
    draw_many(terminal.folder / "photos", 2)
    (terminal.folder / "photos" / "broken.jpg").write_bytes(b"no picture")
    first = int(terminal.run("enqueue", "photos", "--write", "sidecar").stdout)
    terminal.process_job(first)
    second = int(terminal.run("backfill", "all", "--under", "photos", "--no-local").stdout)
    third = int(terminal.run("job", "retry", str(first), "--no-local").stdout)
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
    terminal.run("db", "export", "library.ndjson")
    terminal.environment["TAGGER_DATA_FOLDER"] = str(terminal.folder / "other")
    terminal.run("db", "import", "library.ndjson")
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
    log = terminal.log.read_text()
    assert "Failed to export" in log or "Transient error" in log
