"""The app for `celery -A worker.app worker` and `beat`, and the programs `tagger worker` and `tagger beat`.

The app is configured once Celery needs a setting. Beat only sends ticks. SQL decides what is due, so two
beats do no harm, and missed runs are made up for.
"""
# ruff: noqa: E402 - `celery` has no other place that comes before what could keep the interpreter's lock

from tagger.processes.stall import watch_start

watch_start()

import os
import signal
import sys
import warnings
from collections.abc import Collection
from contextlib import closing, suppress
from typing import Any, TextIO

from celery import signals
from celery.beat import EmbeddedService
from celery.platforms import SecurityWarning
from celery.utils.nodenames import host_format

from tagger.database import Priority
from tagger.database.connection import open_configured
from tagger.errors import TaggerError
from tagger.ledger.workers import worker_of
from tagger.processes import handle_own_signals, quiet_threads, resume_collection
from tagger.processes.pool import report_ready
from tagger.settings import load_settings
from worker.broker import check_broker, find_broker
from worker.logs import set_up_logging
from worker.producer import app_broker, configuration, lazy_app


def _configure() -> dict[str, object]:
    try:
        settings = load_settings()
        with closing(open_configured(settings)) as database:
            broker = find_broker(settings, database.ledger_id, start=True)
    except TaggerError as error:
        sys.exit(f"error: {error}")  # `celery` would print a traceback
    return configuration(broker.url, broker.keys)


quiet_threads()
app = lazy_app(_configure)


@signals.setup_logging.connect
def _on_setup_logging(loglevel: int, **_: Any) -> None:
    set_up_logging(load_settings().log_format, loglevel)


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
    # Beat needs none of these, which take long.
    import celery.apps.worker

    import worker.tasks  # noqa: F401 - its handlers come before those below
    from tagger.jobs.processing.model_cache import share_memory

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
    from worker.tasks import current_engine

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
    from tagger.pipeline.confinement import limit_data, memory_beside_this_process
    from worker.tasks import current_engine

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


def run_beat(log_level: str, *, wait: bool) -> None:
    """Run beat until it is stopped. With `wait`, the scheduler waits for Redis.

    Raises:
        RedisUnavailable: Redis does not answer, without `wait`.
    """
    broker = app_broker(app, load_settings())
    if not wait:
        check_broker(broker)
    sys.stderr.write("beat is running; press Ctrl-C to stop it\n")
    program = app.Beat(loglevel=log_level, quiet=True)
    # Without the tasks, which import torch: beat sends them by name.
    program.init_loader = app.finalize
    program.run()
