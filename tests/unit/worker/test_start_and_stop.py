"""How a worker starts for its device, and ends on a signal: in a process of its own, which has the handlers of a worker."""

import subprocess
import sys

PROGRAM = """
import sys, threading, time
from types import SimpleNamespace
from celery import signals
from tagger.jobs.processing.executor import ActivityMonitor
from worker import engine, tasks
from worker.producer import make_app
from worker.redis_keys import RedisKeys

for device, options in (("cpu", {}), ("cuda", {}), ("cuda", {"concurrency": 3})):
    tasks.make_engine = lambda *_: SimpleNamespace(device=device)
    print(make_app("memory://", RedisKeys("ledger")).Worker(**options).min_concurrency)

stop, activity = threading.Event(), ActivityMonitor()
engine._engine = SimpleNamespace(
    executor=SimpleNamespace(stop=stop, activity=activity), close=lambda: print("closed", flush=True)
)
if sys.argv[1:]:
    tasks.REDIS_STOP_S = 0.5
    with activity.chunk():
        signals.worker_shutting_down.send(sender="worker")
        time.sleep(1)
        print("stored", flush=True)
    threading.Event().wait()  # as for Redis

signals.worker_shutting_down.send(sender="worker")
print("stops" if stop.is_set() else "goes on", flush=True)
signals.worker_shutting_down.send(sender="worker")
print("waits", flush=True)
"""


def test_a_worker_on_a_gpu_processes_more_chunks_at_once_and_a_second_signal_ends_it_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["2", "8", "3", "stops"]
    assert "A second signal" in done.stderr


def test_a_stopping_worker_exits_soon_after_its_last_chunk_if_redis_hangs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "hangs"], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split()[-2:] == ["stored", "closed"]
    assert "Redis did not answer" in done.stderr
