"""How fast jobs are now, from what is seen of them while somebody watches."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagger.ledger.progress import JobProgress

RECENT_S = 30.0
"""Longer ago says little of how long the rest takes."""
SOON_S = 5.0
"""Batches are stored every other second; less tells nothing."""


class Pace:
    """Photos per second of jobs over the last RECENT_S."""

    def __init__(self) -> None:
        self._seen: dict[int, deque[tuple[float, int]]] = {}

    def photos_per_second(self, job: JobProgress, now_s: float) -> float:
        """Of a job as it is now; what the ledger says until it was watched for long enough."""
        looked = job.tagged + job.unknown + job.failed
        seen = self._seen.setdefault(job.job, deque())
        seen.append((now_s, looked))
        while now_s - seen[0][0] > RECENT_S:
            seen.popleft()
        began_s, before = seen[0]
        if job.is_over or now_s - began_s < SOON_S:
            return job.photos_per_second
        return (looked - before) / (now_s - began_s)


def seconds_left(job: JobProgress, photos_per_second: float) -> float | None:
    """None where nobody can tell."""
    return (job.queued + job.running) / photos_per_second if photos_per_second and not job.is_over else None


def duration(seconds: float) -> str:
    """In the units that people think in."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
