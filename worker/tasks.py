"""The Celery tasks, and the start and stop of the worker, by handlers that an import connects."""

import logging
import os
import threading
import time
from typing import Any, NoReturn

from celery import shared_task, signals
from celery.exceptions import Reject
from celery.worker import state
from prometheus_client import start_http_server

from tagger.database.engine import DatabaseError, outage_text
from tagger.errors import ModelFailed, ReadsTimedOut, SettingsInvalid, TaggerError
from tagger.ledger.chunks import Claim
from tagger.ledger.jobs import record_error
from tagger.ledger.workers import FEWEST_AT_ONCE, chunks_at_once, worker_of
from tagger.processes.stall import watch
from tagger.settings import load_settings
from worker.engine import Engine, current_engine, make_engine, stop_engine
from worker.messages import TASK_NAME, TICK_NAME
from worker.sweeper import database_unreachable

log = logging.getLogger(__name__)

# How long a worker that does not reach the database keeps a message before it returns it.
RETURN_S = 1.0


@shared_task(name=TASK_NAME, acks_late=True)
def tag_chunk() -> None:
    """Claim the next chunk, if there is one, and process its photos."""
    engine = current_engine()
    if database_unreachable.is_set():
        time.sleep(RETURN_S)
        raise Reject(requeue=True)
    try:
        claim = engine.claim()
    except DatabaseError as error:
        if database_unreachable.is_set():
            raise Reject(requeue=True) from error
        log.error("No photos were claimed: %s", outage_text(error))  # noqa: TRY400
        return
    if claim is not None:
        _process(engine, claim)


def _process(engine: Engine, claim: Claim) -> None:
    job, first, last = claim.name.job_id, claim.first + 1, claim.last + 1
    try:
        engine.process(claim)
    except DatabaseError as error:
        # The lease expires, and a sweeper releases the chunk.
        log.error("Job %d, photos %d to %d: %s", job, first, last, outage_text(error))  # noqa: TRY400
    except ReadsTimedOut as error:
        log.critical("%s This worker exits, to be restarted.", error)
        _record_error(job, error)
        state.should_stop = os.EX_TEMPFAIL
        exit_within_limit(os.EX_TEMPFAIL)
    except TaggerError as error:
        # The chunk was released, for another worker or a later wake-up.
        log.error("Job %d, photos %d to %d: %s", job, first, last, error)  # noqa: TRY400 - the message is complete
        _record_error(job, error)
        if isinstance(error, ModelFailed) and engine.device != "cpu":
            log.critical("The device may need a new process to recover; this worker exits")
            state.should_stop = os.EX_TEMPFAIL
    except Exception:
        # Not left to Celery, which would log the error's text, which may contain a path.
        fields = {"job": job, "chunk": claim.name.chunk}
        log.exception(
            "Photos %d to %d failed unexpectedly; they are retried", first, last, extra=fields
        )


@shared_task(name=TICK_NAME, acks_late=True)
def tick() -> None:
    """Run the schedules that are due. After an error, the next tick runs them."""
    try:
        current_engine().run_schedules()
    except DatabaseError as error:
        log.warning("No schedule was checked: %s", outage_text(error))
    except Exception:
        log.exception("The schedules failed unexpectedly")  # Celery would log the error's text


def _record_error(job: int, error: TaggerError) -> None:
    try:
        record_error(current_engine().database, job, str(error))
    except DatabaseError as database_error:
        log.warning(
            "The error could not be recorded in the job: %s", database_error, extra={"job": job}
        )


# With LEAVE_S less than the minute after which supervisors usually kill.
STOP_S = 50.0
# How long a stopping worker has to leave Redis and the database after its last chunk.
LEAVE_S = 5.0
CHECK_S = 0.2
# Whether the worker has received a signal to stop.
_stopping = threading.Event()


@signals.worker_init.connect
def _on_init(sender: Any, **_: Any) -> None:
    """Make the engine before the first message. Of an error, Celery would tell nobody, and go on."""
    try:
        settings = load_settings()
        if settings.metrics_port is not None:
            _serve_metrics(settings.metrics_host, settings.metrics_port)
        number = worker_of(sender.hostname)[1]
        watch(
            "worker" if number is None else f"worker.{number}",
            settings.data_folder,
            settings.stall_timeout_s,
        )
        engine = make_engine(sender.app, settings, sender.hostname)
        # The pool is made after this handler. An explicit number of threads stays.
        if sender.concurrency == FEWEST_AT_ONCE:
            sender.concurrency = chunks_at_once(engine.device)
    except TaggerError as error:
        log.critical("%s", error)
        raise SystemExit(1) from error
    except Exception as error:
        log.critical("the worker could not start", exc_info=True)
        raise SystemExit(1) from error


def _serve_metrics(host: str, port: int) -> None:
    try:
        start_http_server(port, addr=host)
    except OSError as error:
        raise SettingsInvalid(
            reason=f"metrics_port: {host}:{port}: {error.strerror or error}"
        ) from error


@signals.worker_ready.connect
def _on_ready(**_: Any) -> None:
    """Start the engine's threads. Earlier, SIGTERM would kill the worker."""
    current_engine().start()


@signals.worker_shutting_down.connect
def _on_shutting_down(**_: Any) -> None:
    """On the first SIGTERM, store the current batch and release the rest; on the second, exit."""
    if _stopping.is_set():
        _exit_now(os.EX_OK, "A second signal: exiting without the rest")
    _stopping.set()
    current_engine().executor.stop.set()
    exit_within_limit(os.EX_OK)


@signals.worker_shutdown.connect
def _on_shutdown(**_: Any) -> None:
    stop_engine()


def exit_within_limit(code: int) -> None:
    """Exit with `code` if the worker has not stopped LEAVE_S after its last chunk, or after STOP_S.

    A read, the database or Redis may hang. The leases expire, and other workers take the chunks over.
    """
    threading.Thread(target=_exit_at_limit, args=(code,), name="exit", daemon=True).start()


def _exit_at_limit(code: int) -> None:
    activity, until = current_engine().executor.activity, time.monotonic() + STOP_S
    while activity.is_busy and time.monotonic() < until:
        time.sleep(CHECK_S)
    time.sleep(LEAVE_S)
    reason = (
        "its work does not end" if activity.is_busy else "Redis or the database does not answer"
    )
    _exit_now(code, f"The worker does not stop: {reason}; exiting without the rest")


def _exit_now(code: int, reason: str) -> NoReturn:
    """Exit although threads are busy."""
    log.error("%s", reason)
    logging.shutdown()
    os._exit(code)
