"""The worker program: `tagger worker` runs it. It is the same as `celery -A worker.app worker`."""

import os
import signal
import sys
import warnings
from collections.abc import Collection
from contextlib import suppress
from typing import Any, TextIO

import celery.apps.worker
from celery import signals
from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning
from celery.utils.nodenames import host_format

from tagger.database import Priority
from tagger.jobs.processing.model_cache import share_memory
from tagger.ledger.workers import worker_of
from tagger.pipeline.confinement import limit_data, memory_beside_this_process
from tagger.processes import handle_own_signals, resume_collection
from tagger.processes.pool import report_ready
from tagger.settings import load_settings
from worker.app import app
from worker.broker import check_broker
from worker.producer import app_broker
from worker.tasks import current_engine

BACKGROUND_NICENESS = 5
# The part of the memory for images, and of a GPU's, that a background worker takes: one in so many.
BACKGROUND_SHARE = 4


def run_worker(
    priorities: Collection[Priority],
    log_level: str,
    *,
    wait: bool,
    beat: bool,
    process: int | None = None,
    is_background: bool = False,
) -> None:
    """Run until stopped, then exit with the worker's exit code. With `wait`, the consumer waits for Redis.

    With `beat`, the scheduler runs in a thread: Celery's --beat forks a process after torch has threads.
    `process`: which of the processes of a worker this is, from 1. Their parent has set their number.
    `is_background`: other programs come first, and it may take half of the memory.

    Raises:
        RedisUnavailable: Redis does not answer, without `wait`.
    """
    settings = load_settings()
    broker = app_broker(app, settings)
    if not wait:
        check_broker(broker)
    # The warning is about unpickling as root. These workers accept JSON only.
    warnings.simplefilter("ignore", SecurityWarning)
    signals.worker_ready.connect(_on_ready)
    celery.apps.worker.safe_say = _say
    name = f"tagger-{os.getpid()}"
    if process is not None:
        name = f"tagger-{os.getppid()}.{process}"
        share_memory(settings, settings.processes or 1)
        signals.worker_ready.connect(_on_process_ready)
        if process > 1:  # the first one speaks for all
            celery.apps.worker.safe_say = lambda *_: None
    if is_background:
        os.nice(BACKGROUND_NICENESS)
        share_memory(settings, BACKGROUND_SHARE)
        signals.worker_ready.connect(_limit_memory)
    queues = [
        queue
        for priority, queue in broker.keys.queues.items()
        if priority in priorities
    ]
    program = app.Worker(
        hostname=host_format(f"{name}@%h"),
        queues=[broker.keys.ticks, *queues],
        loglevel=log_level,
        quiet=True,
    )
    if beat:
        signals.worker_ready.connect(_start_beat)
    program.start()
    sys.exit(program.exitcode)


def _say(message: str, file: TextIO = sys.stderr) -> None:
    # Write what Celery says in signal handlers, and plainly how the worker stops. Streams may be in use.
    if "Warm shutdown" in message:
        message = "stopping: the current batch is stored, and the rest released; Ctrl-C stops at once"
    with suppress(OSError):
        os.write(file.fileno(), f"{message}\n".encode())


def _start_beat(**_: Any) -> None:
    # Nothing stops the thread: it keeps nothing, and ends with the process.
    EmbeddedService(app, thread=True, scheduler_cls=app.conf.beat_scheduler).start()


def _on_ready(**_: Any) -> None:
    handle_own_signals()
    # Ctrl-C stops the worker like SIGTERM. Celery would exit with 1.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    engine = current_engine()
    resume_collection()
    name, number = worker_of(engine.name)
    if number in (None, 1):
        ends = "Ctrl-C stores the current batch and stops it"
        sys.stderr.write(f"worker {name} is ready on {engine.device}; {ends}\n")
        sys.stderr.flush()


def _limit_memory(**_: Any) -> None:
    # Let allocations fail in this process, rather than the machine. Drivers of GPUs reserve any amount.
    if current_engine().device == "cpu":
        limit_data(memory_beside_this_process() // 2)


def _on_process_ready(**_: Any) -> None:
    # Tell the parent, and take a repeated SIGTERM as one: systemd may send it to parent and children.
    stop = signal.getsignal(signal.SIGTERM)

    def stop_once(number: int, frame: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if callable(stop):
            stop(number, frame)

    signal.signal(signal.SIGTERM, stop_once)
    report_ready()
