"""A worker: how it starts for its device and ends on a signal, when it is stuck, and what it logs."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest
from celery.exceptions import Reject
from rig.servers import KEYS
from support.clocks import Clock

from tagger.jobs.processing.executor import ActivityMonitor
from tagger.settings import Settings
from worker import tasks
from worker.logs import JsonLines, TextLines, _Lines
from worker.producer import make_app
from worker.tasks import Sweeper, database_unreachable

PROGRAM = """
import sys, threading, time
from types import SimpleNamespace
from celery import signals
from tagger.jobs.processing.executor import ActivityMonitor
from tagger.settings import Settings
from worker import tasks
from worker.producer import make_app
from worker.broker import RedisKeys

for device, options in (("cpu", {}), ("cuda", {}), ("cuda", {"concurrency": 3})):
    tasks.make_engine = lambda *_: SimpleNamespace(device=device)
    print(make_app("memory://", RedisKeys("ledger")).Worker(**options).min_concurrency)

stop, activity = threading.Event(), ActivityMonitor()
tasks._engine = SimpleNamespace(
    executor=SimpleNamespace(stop=stop, activity=activity), close=lambda: print("closed", flush=True)
)
signals.worker_shutting_down.send(sender="worker")
print("stops" if stop.is_set() else "goes on", flush=True)
signals.worker_shutting_down.send(sender="worker")
print("waits", flush=True)
"""


def test_imports_read_no_settings_and_messages_return_without_a_database(monkeypatch):
    monkeypatch.setenv("TAGGER_REDIS_URL", "no address")
    subprocess.run([sys.executable, "-c", "import worker.app"], check=True)
    monkeypatch.setattr(tasks, "current_engine", lambda: None)
    monkeypatch.setattr(tasks, "RETURN_S", 0.0)
    database_unreachable.set()
    try:
        with pytest.raises(Reject) as rejected:
            tasks.tag_chunk()
    finally:
        database_unreachable.clear()
    assert rejected.value.requeue


def test_a_worker_on_a_gpu_processes_more_chunks_at_once_and_a_second_signal_ends_it_at_once():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "8", "3", "stops"]
    assert "A second signal" in done.stderr


def test_nothing_is_imported_from_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / "strangers_module.py").write_text("")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModuleNotFoundError):
        make_app("memory://", KEYS).loader.import_task_module("strangers_module")


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    for module in ("tagger.jobs.processing.executor", "worker.tasks"):
        monkeypatch.setattr(f"{module}.time", clock)
    return clock


def sweeper_of(activity: ActivityMonitor) -> Sweeper:
    """One that has just begun a sweep, of a worker whose settings allow 60 s without progress."""
    settings = Settings(stall_timeout_s=60, read_timeout_s=30)
    return Sweeper(None, None, None, settings, "worker", "cpu", activity)


def test_work_and_sweeps_without_progress_are_problems(clock):
    activity = ActivityMonitor()
    with activity.chunk() as beat:
        clock.now += 1000  # its models are loaded
        assert activity.problem(60) is None
        beat()
        clock.now += 59
        assert activity.problem(60) is None
        beat()
        clock.now += 59
        assert activity.problem(60) is None
        clock.now += 2
        assert activity.problem(60) == "the current work has made no progress for 60 s"
    assert activity.problem(60) is None
    sweeper = sweeper_of(ActivityMonitor())
    clock.now += 59
    assert sweeper.problem() is None
    clock.now += 2
    assert sweeper.problem() == "jobs and workers were not checked for 60 s"


def test_messages_that_are_not_received_are_a_problem_and_slow_ones_are_none(clock):
    activity = ActivityMonitor()
    clock.now += 1000  # idle for long, with nothing to do
    sweeper = sweeper_of(activity)
    assert sweeper.problem() is None
    sweeper.waiting = 3
    assert sweeper.problem() is None
    clock.now += 61
    sweeper._began_at = clock.now
    assert "messages are waiting" in (sweeper.problem() or "")
    for _ in range(10):  # they are received slowly
        activity.record_message()
        sweeper._began_at = clock.now
        assert sweeper.problem() is None
        clock.now += 40


def output_of(formatter: _Lines) -> str:
    """The output for one failed photo and one unexpected error whose text contains a path."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    log = logging.getLogger("tagger.test")
    log.setLevel(logging.INFO)
    log.handlers, log.propagate = [handler], False
    log.info("a photo failed", extra={"job": 7, "photo": 12, "kind": "corrupt"})
    file = Path("secret/b.jpg")  # a traceback shows the line that fails
    try:
        file.read_text()
    except OSError:
        log.exception("reading failed")
    return stream.getvalue()


def test_json_lines_are_documents_with_the_fields_of_the_record():
    output = output_of(JsonLines())
    assert "secret" not in output, "no path is logged"
    first, second = map(json.loads, output.splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "logger": "tagger.test",
        "message": "a photo failed",
        "job": 7,
        "photo": 12,
        "kind": "corrupt",
    }
    assert second["exception"].splitlines()[-1] == "FileNotFoundError"


def test_text_lines_have_the_fields_of_the_record_on_one_line():
    text = output_of(TextLines())
    assert "INFO a photo failed (job 7, photo 12, kind corrupt)" in text
    assert "ERROR reading failed\n" in text
    assert "FileNotFoundError" in text
    assert "secret" not in text, "no path is logged"
    record = logging.LogRecord("tagger", logging.INFO, "", 0, "%s failed", ("a\n\x1b[2J",), None)
    record.kind = "b\n2026-01-01 00:00:00 CRITICAL é\u2028\x9b.jpg"
    line = TextLines().format(record)
    assert line.endswith(r"INFO a\n\x1b[2J failed (kind b\n2026-01-01 00:00:00 CRITICAL é\u2028\x9b.jpg)")
    assert line.isprintable()


def test_a_returned_message_is_not_logged():
    returned = """
import celery, celery.exceptions
from worker.logs import set_up_logging

app = celery.Celery(set_as_current=False)

@app.task
def returned():
    raise celery.exceptions.Reject(requeue=True)

@app.task
def failed():
    raise ValueError

set_up_logging("text", 20)
returned.apply()
failed.apply()
"""
    ended = subprocess.run([sys.executable, "-c", returned], capture_output=True, text=True, check=True)
    assert (ended.stderr.count("WARNING"), ended.stderr.count("ERROR")) == (0, 1)
