"""The app for `celery -A worker.app worker` and `beat`. It is configured once Celery needs a setting.

Beat only sends ticks. SQL decides what is due, so two beats do no harm, and missed runs are made up for.
"""
# ruff: noqa: E402 - `celery` has no other place that comes before what could keep the interpreter's lock

from tagger.processes.stall import watch_start

watch_start()

import sys
from contextlib import closing
from typing import Any

from celery import signals

from tagger.database.connection import open_configured
from tagger.errors import TaggerError
from tagger.processes import quiet_threads
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
