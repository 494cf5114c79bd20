"""The worker as a program: what `tagger worker` runs, the same as `celery -A worker.app worker`."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from celery import signals
from celery.bin.celery import celery
from celery.platforms import SecurityWarning

import worker.tasks  # noqa: F401 - registers the task and what happens at start and end
from worker.app import app
from worker.engine import current_engine


def run_worker(queues: Sequence[str], log_level: str) -> None:
    """Run until stopped; ends the process with the worker's exit code."""
    # Handed over, not named: Celery would look for a name in the current folder first and run what it finds there.
    celery.params[0].default = app
    # It is about unpickling as root; these workers read JSON only.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.worker_ready.connect(_on_ready)
    celery.main(
        [
            *("--quiet", "worker", "--queues", ",".join(queues)),
            *("--loglevel", log_level, "--hostname", f"tagger-{os.getpid()}@%h"),
            # Talk between workers; ours know each other through SQL.
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        prog_name="celery",
    )


def _on_ready(**_: Any) -> None:
    # Ctrl-C is an order to end, like SIGTERM, and no failure: Celery would end with 1.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    engine = current_engine()
    sys.stderr.write(
        f"worker {engine.name} is ready on {engine.device}; Ctrl-C stores what is in hand and ends it\n"
    )
    sys.stderr.flush()
