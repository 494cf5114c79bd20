"""How a worker starts for its device, and ends on a signal."""

import subprocess
import sys

STOPPED_TWICE = """
import sys, threading
from types import SimpleNamespace
from celery import signals
from worker import engine, lifecycle

stop = threading.Event()
engine._engine = SimpleNamespace(executor=SimpleNamespace(stop=stop))
signals.worker_shutting_down.send(sender="worker")
print("stops" if stop.is_set() else "goes on", flush=True)
signals.worker_shutting_down.send(sender="worker")
print("waits", flush=True)
"""


def test_a_second_signal_ends_a_worker_at_once() -> None:
    command = [sys.executable, "-c", STOPPED_TWICE]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "stops\n"
    assert "A second signal" in done.stderr


STARTED = """
from types import SimpleNamespace
from worker import lifecycle
from worker.celery_app import make_app

for device, options in (("cpu", {}), ("cuda", {}), ("cuda", {"concurrency": 3})):
    lifecycle.make_engine = lambda *_: SimpleNamespace(device=device)
    print(make_app("memory://").Worker(**options).min_concurrency)
"""


def test_a_worker_on_a_gpu_processes_more_chunks_at_once() -> None:
    command = [sys.executable, "-c", STARTED]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "8", "3"]
