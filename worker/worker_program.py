"""The worker program: `tagger worker` runs it. It is the same as `celery -A worker.app worker`."""

import os
import signal
import sys
import warnings
from collections.abc import Sequence
from typing import Any

from celery import signals
from celery.bin.celery import celery
from celery.platforms import SecurityWarning

import worker.tasks  # noqa: F401 - registers the tasks and the signal handlers
from worker.app import app
from worker.engine import current_engine


def run_worker(queues: Sequence[str], log_level: str) -> None:
    """Run until stopped, then exit with the worker's exit code."""
    # The app is passed, not named: Celery would first look for a name in the current folder, and import what is there.
    celery.params[0].default = app
    # The warning is about unpickling as root. These workers accept JSON only.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.worker_ready.connect(_on_ready)
    celery.main(
        [
            *("--quiet", "worker", "--queues", ",".join(queues)),
            *("--loglevel", log_level, "--hostname", f"tagger-{os.getpid()}@%h"),
            # Workers see each other in SQL.
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
        ],
        prog_name="celery",
    )


def _on_ready(**_: Any) -> None:
    # Ctrl-C stops the worker like SIGTERM. Celery would exit with 1.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    engine = current_engine()
    sys.stderr.write(
        f"worker {engine.name} is ready on {engine.device}; Ctrl-C stores the current batch and stops it\n"
    )
    sys.stderr.flush()
