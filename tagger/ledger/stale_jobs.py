"""Stale jobs: their process died while it scanned or ran them."""

import os
import socket

from sqlalchemy import Connection, case, or_, select, update

from tagger.database.connection import Database
from tagger.database.enums import JobKind, JobState, Runner
from tagger.database.statements import db_now
from tagger.database.tables import jobs
from tagger.ledger.jobs import OPEN_STATES, cancel_job, finish_if_done, lock_open_chunks
from tagger.ledger.ownership import UNFILLED


def recover_stale_jobs(database: Database) -> None:
    """Cancel stale local jobs, and queue the items that an interrupted scan has recorded."""
    dead = or_(jobs.c.owner_lease_until < db_now(), jobs.c.owner.in_(_dead_owners(database)))
    with database.read() as connection:
        stale = connection.execute(
            select(jobs.c.id).where(jobs.c.state.in_(OPEN_STATES), jobs.c.owner.is_not(None), dead)
        ).all()
    for row in stale:
        with database.write() as connection:
            lock_open_chunks(connection, row.id)
            job = connection.execute(
                select(jobs.c.runner, jobs.c.kind, jobs.c.parent_id)
                .where(jobs.c.id == row.id, jobs.c.state.in_(OPEN_STATES), dead)
                .with_for_update(key_share=True)
            ).one_or_none()
            if job is None:
                continue
            if job.runner == Runner.LOCAL:
                cancel_job(connection, row.id, "its process ended; run the same command again to continue")
            elif job.kind == JobKind.WRITE and job.parent_id is not None:
                # Its items are the photos of another job, so any process can add the rest.
                connection.execute(
                    update(jobs).where(jobs.c.id == row.id).values(owner=UNFILLED, owner_lease_until=None)
                )
            else:
                _close_interrupted_scan(connection, row.id)


def _close_interrupted_scan(connection: Connection, job_id: int) -> None:
    note = "its scan was interrupted; run the same command again to add the rest"
    paused = jobs.c.state == JobState.PAUSED
    state = case((paused, JobState.PAUSED), else_=JobState.QUEUED)
    values = {"state": state, "note": note, "owner": None, "owner_lease_until": None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    finish_if_done(connection, job_id)


def _dead_owners(database: Database) -> list[str]:
    """The owners on this machine whose process has ended: their lease need not expire first."""
    with database.read() as connection:
        owners = connection.scalars(select(jobs.c.owner).where(jobs.c.owner.is_not(None))).all()
    host = socket.gethostname() + "/"
    return [
        owner for owner in owners if owner.startswith(host) and not _is_alive(int(owner.removeprefix(host)))
    ]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
