"""The Celery task, thin: check the message, claim, hand on. And the worker's start and end."""

import logging
import os
import threading
from typing import Any

import redis
from celery import shared_task, signals
from celery.exceptions import Ignore, Reject
from celery.worker import state
from prometheus_client import start_http_server
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from tagger.errors import ModelFailed, ReadsHang, SettingsInvalid, TaggerError
from tagger.ledger.jobs import note_trouble
from tagger.settings import load_settings
from worker.broker import keep_refused
from worker.celery_settings import REFUSED
from worker.engine import current_engine, make_engine, stop_engine
from worker.logs import set_up_logging
from worker.messages import TASK_NAME, TICK_NAME, ChunkMessage

log = logging.getLogger(__name__)

STOP_S = 50.0
"""Supervisors kill after a minute or so."""


@shared_task(name=TASK_NAME, acks_late=True)
def tag_chunk(body: dict[str, Any]) -> None:
    """Tag the photos of one chunk."""
    engine = current_engine()
    message = _read(body)
    if message.ledger != engine.database.ledger_id:
        _refuse(message, engine.database.shown_url)
    try:
        engine.tag(message)
    except SQLAlchemyError as error:
        # The message is done with; the chunk's lease ends, and the sweepers send it again.
        log.error("job %d chunk %d: the database does not answer: %s", message.job, message.chunk, error)  # noqa: TRY400
    except ReadsHang as error:
        log.critical("%s This worker ends, to be started again.", error)
        note_trouble(engine.database, message.job, str(error))
        state.should_stop = os.EX_TEMPFAIL
        _end_in_any_case(os.EX_TEMPFAIL)
    except TaggerError as error:
        # The chunk was given back; the sweepers send it again.
        log.error("job %d chunk %d: %s", message.job, message.chunk, error)  # noqa: TRY400 - the message says it all
        note_trouble(engine.database, message.job, str(error))
        if isinstance(error, ModelFailed) and engine.device != "cpu":
            log.critical("the device may be in a state that only a new process mends; this worker ends")
            state.should_stop = os.EX_TEMPFAIL
    except Exception:
        # Not left to Celery, which would write the error's words into its log whatever our settings say.
        about = {"job": message.job, "chunk": message.chunk}
        log.exception("a chunk failed in a way that nobody foresaw; it is tried again", extra=about)


@shared_task(name=TICK_NAME, acks_late=True)
def tick() -> None:
    """Run the schedules that are due."""
    current_engine().run_schedules()


def _read(body: object) -> ChunkMessage:
    try:
        return ChunkMessage.model_validate(body)
    except ValidationError as error:
        reason = f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}"
        log.exception("a message cannot be understood and is kept in the list %s", REFUSED)
        try:
            keep_refused(current_engine().broker, body, reason)
        except redis.RedisError:
            raise Reject(requeue=True) from error  # kept in the queue until Redis takes it
        raise Ignore from error


def _refuse(message: ChunkMessage, database: str) -> None:
    """Another ledger's message is another worker's: keep it in the queue, and stop before taking more."""
    log.critical(
        "this worker uses %s, but Redis holds messages of another database (ledger %s). "
        "Set TAGGER_DATABASE_URL to the database the photos were enqueued in, or TAGGER_REDIS_URL to this one's Redis.",
        database,
        message.ledger,
    )
    state.should_stop = os.EX_CONFIG
    raise Reject(requeue=True)


@signals.setup_logging.connect
def _on_logging(loglevel: int, **_: Any) -> None:
    settings = load_settings()
    set_up_logging(settings.log_format, loglevel, paths=settings.log_paths)


@signals.worker_init.connect
def _on_start(sender: Any, **_: Any) -> None:
    """Before the worker takes its first message."""
    try:
        settings = load_settings()
        if settings.metrics_port is not None:
            _serve_metrics(settings.metrics_host, settings.metrics_port)
        make_engine(sender.app, settings, sender.hostname)
    except TaggerError as error:
        log.critical("%s", error)
        raise SystemExit(1) from error


@signals.worker_ready.connect
def _on_ready(**_: Any) -> None:
    """Shown to others from now on, and not before: SIGTERM would kill a worker that has yet to meet Celery's handlers."""
    current_engine().start()


def _serve_metrics(host: str, port: int) -> None:
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        raise SettingsInvalid(reason=f"metrics_port: {host}:{port}: {error.strerror or error}") from error


@signals.worker_shutting_down.connect
def _on_stopping(**_: Any) -> None:
    """The first SIGTERM: store the batch in hand and give the rest back, so that the pool drains at once."""
    current_engine().tagger.stop.set()
    _end_in_any_case(os.EX_OK)


def _end_in_any_case(code: int) -> None:
    """Something that cannot be interrupted may hang: a read, a database. What is in hand is taken over when its lease ends."""

    def end() -> None:
        log.error("this worker did not end within %.0f s, and ends without the rest", STOP_S)
        logging.shutdown()
        os._exit(code)

    overdue = threading.Timer(STOP_S, end)
    overdue.daemon = True
    overdue.start()


@signals.worker_shutdown.connect
def _on_stopped(**_: Any) -> None:
    stop_engine()
