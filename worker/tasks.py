"""The Celery tasks. They validate the message, call the engine, and decide what happens on an error."""

import logging
import os
from typing import Any

from celery import shared_task
from celery.exceptions import Ignore, Reject
from celery.worker import state
from pydantic import ValidationError

from tagger.database.retry import DatabaseError, outage_text
from tagger.errors import ModelFailed, ReadsTimedOut, TaggerError
from tagger.ledger.chunks import Claim
from tagger.ledger.jobs import record_error
from worker.celery_patches import database_unreachable
from worker.engine import DatabaseUnreachable, Engine, current_engine
from worker.lifecycle import exit_within_limit
from worker.messages import INVALID_MESSAGES, TASK_NAME, TICK_NAME, WakeUp

log = logging.getLogger(__name__)


@shared_task(name=TASK_NAME, acks_late=True)
def tag_chunk(body: dict[str, Any]) -> None:
    """Claim the next chunk of the wake-up's priority, if there is one, and process its photos."""
    engine = current_engine()
    wake_up = _parse(body)
    if database_unreachable.is_set():
        raise Reject(requeue=True)  # it was on its way when the worker began to wait
    try:
        claim = engine.claim(wake_up.priority)
    except DatabaseUnreachable as reason:
        raise Reject(requeue=True) from reason
    except DatabaseError as error:
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
        log.exception("Photos %d to %d failed unexpectedly; they are retried", first, last, extra=fields)


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
        log.warning("The error could not be recorded in the job: %s", database_error, extra={"job": job})


def _parse(body: object) -> WakeUp:
    try:
        return WakeUp.model_validate(body)
    except ValidationError as error:
        INVALID_MESSAGES.report(f"{error.errors()[0]['loc']}: {error.errors()[0]['msg']}")
        raise Ignore from error
