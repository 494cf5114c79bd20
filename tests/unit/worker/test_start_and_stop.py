"""How a worker starts for its device, and ends on a signal, in a process of its own."""

import subprocess
import sys

import pytest
from celery.exceptions import Reject
from rig.servers import KEYS

from worker import tasks
from worker.producer import make_app
from worker.tasks import database_unreachable

PROGRAM = """
import sys, threading, time
from types import SimpleNamespace
from celery import signals
from tagger.jobs.processing.executor import ActivityMonitor
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
