"""The first open chunks of each job: what is in hand or sent is among them, so nobody need look at the other thousands.

A job has only so many messages in Redis at a time. That makes jobs take turns, and sending the first ones quick.
"""

from sqlalchemy import ColumnElement, Connection, and_, func, select

from tagger.database import db_now
from tagger.tables import chunks, jobs, workers

WORKER_SEEN_S = 30.0
"""Workers say every 10 s that they are alive."""
LEAST_WINDOW = 8
CHUNKS_PER_WORKER = 4
"""Two that a worker has in hand, and two that wait for it while the next are sent."""
_NO_END = 2**31 - 1


def window_size(connection: Connection) -> int:
    """How many chunks of a job are in hand or in Redis at once: enough for every worker that is there."""
    alive = workers.c.seen_at > db_now() - WORKER_SEEN_S
    count = connection.scalar(select(func.count()).select_from(workers).where(alive)) or 0
    return max(LEAST_WINDOW, CHUNKS_PER_WORKER * count)


def in_window(size: int) -> ColumnElement[bool]:
    """Of a chunk joined with its job: it is one of the job's first `size` open chunks."""
    other = chunks.alias("other")
    behind = (
        select(other.c.chunk)
        .where(other.c.job_id == jobs.c.id, other.c.done.is_(False))
        .order_by(other.c.chunk)
        .offset(size)
        .limit(1)
        .correlate(jobs)
        .scalar_subquery()
    )
    return and_(chunks.c.done.is_(False), chunks.c.chunk < func.coalesce(behind, _NO_END))
