"""Jobs whose process died while it scanned or ran them: ended, or let go on with what was found."""

import os
import socket

from sqlalchemy import Connection, case, or_, select, update

from tagger.database import Database, db_now
from tagger.ledger.jobs import NOBODY, OPEN_STATES, cancel_job, finish_if_done, lock_open_chunks
from tagger.tables import JobKind, JobState, Runner, jobs


def settle_abandoned(database: Database) -> None:
    """End what processes that died have left: a local job is cancelled, a scan cut off keeps what it found."""
    dead = or_(jobs.c.owner_until < db_now(), jobs.c.owner.in_(_dead_owners(database)))
    with database.read() as connection:
        abandoned = connection.execute(
            select(jobs.c.id).where(jobs.c.state.in_(OPEN_STATES), jobs.c.owner.is_not(None), dead)
        ).all()
    for row in abandoned:
        with database.write() as connection:
            lock_open_chunks(connection, row.id)
            still = connection.execute(
                select(jobs.c.runner, jobs.c.kind, jobs.c.parent_id)
                .where(jobs.c.id == row.id, jobs.c.state.in_(OPEN_STATES), dead)
                .with_for_update(key_share=True)
            ).one_or_none()
            if still is None:
                continue
            if still.runner == Runner.LOCAL:
                cancel_job(connection, row.id, "its process ended; run the same command again to go on")
            elif still.kind == JobKind.WRITE and still.parent_id is not None:
                # Its photos are those of another job, so whoever sees it next can go on choosing them.
                connection.execute(
                    update(jobs).where(jobs.c.id == row.id).values(owner=NOBODY, owner_until=None)
                )
            else:
                _close_cut_off_scan(connection, row.id)


def _close_cut_off_scan(connection: Connection, job_id: int) -> None:
    note = "its scan was cut off: run the same command again to find the rest"
    paused = jobs.c.state == JobState.PAUSED
    state = case((paused, JobState.PAUSED), else_=JobState.QUEUED)
    values = {"state": state, "note": note, "owner": None, "owner_until": None}
    connection.execute(update(jobs).where(jobs.c.id == job_id).values(values))
    finish_if_done(connection, job_id)


def _dead_owners(database: Database) -> list[str]:
    """Owners on this machine whose process is no more: no need to wait for their lease to end."""
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
