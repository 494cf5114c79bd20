"""Which process scans or runs a job itself, and its lease on that job. All times are the database's."""

import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import update
from sqlalchemy.exc import SQLAlchemyError

from tagger.database.connection import Database
from tagger.database.retry import reason_of
from tagger.database.statements import db_now
from tagger.database.tables import jobs

log = logging.getLogger(__name__)

LEASE_S = 45.0
"""Length of a lease, of jobs and of chunks."""
RENEW_S = 12.0
"""Time between renewals: a lease survives three failed ones."""
RETRY_S = 2.0
"""Time until the next renewal after a failed one: when the database is back, leases may have expired."""

UNFILLED = ""
"""The owner of a job without items. Any process may claim it and add them."""


def process_name() -> str:
    """The running process as `host/pid`, the owner of its leases."""
    return f"{socket.gethostname()}/{os.getpid()}"


@contextmanager
def job_heartbeat(database: Database, job_id: int) -> Iterator[None]:
    """Renew this process's lease on the job from a thread of its own, so that a slow disk does not end it."""
    closed = threading.Event()
    thread = threading.Thread(target=_renew_until, args=(database, job_id, closed), name="owner", daemon=True)
    thread.start()
    try:
        yield
    finally:
        closed.set()
        thread.join()


def _renew_until(database: Database, job_id: int, closed: threading.Event) -> None:
    pause_s = RENEW_S
    while not closed.wait(pause_s):
        try:
            renew_job_lease(database, job_id)
        except SQLAlchemyError as error:
            if pause_s == RENEW_S:
                log.warning(
                    "The lease on job %d could not be renewed; trying again: %s", job_id, reason_of(error)
                )
            pause_s = RETRY_S
        else:
            pause_s = RENEW_S


def renew_job_lease(database: Database, job_id: int) -> None:
    """Renew the lease if this process owns the job."""
    own_job = (jobs.c.id == job_id, jobs.c.owner == process_name())
    with database.write() as connection:
        connection.execute(update(jobs).where(*own_job).values(owner_lease_until=db_now() + LEASE_S))
