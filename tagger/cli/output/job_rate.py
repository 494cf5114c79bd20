"""The current rates of jobs, measured while a command watches them."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tagger.ledger.progress import JobProgress

RECENT_S = 30.0
"""The rate is an average over this time."""
WARM_UP_S = 5.0
"""Workers store a batch every two seconds, so a shorter measurement is not reliable."""


class JobRates:
    """Photos per second of each job, over the last RECENT_S."""

    def __init__(self) -> None:
        self._samples: dict[int, deque[tuple[float, int]]] = {}

    def photos_per_second(self, job: JobProgress, now_s: float) -> float:
        """Add a sample, and return the rate; in the first WARM_UP_S, the average of the whole job."""
        processed = job.tagged + job.unknown + job.failed
        samples = self._samples.setdefault(job.job, deque())
        samples.append((now_s, processed))
        while now_s - samples[0][0] > RECENT_S:
            samples.popleft()
        first_s, first_processed = samples[0]
        if job.is_over or now_s - first_s < WARM_UP_S:
            return job.photos_per_second
        return (processed - first_processed) / (now_s - first_s)


def seconds_left(job: JobProgress, photos_per_second: float) -> float | None:
    """Return None if the job is over, or its rate is 0."""
    return (job.queued + job.running) / photos_per_second if photos_per_second and not job.is_over else None


def duration_text(seconds: float) -> str:
    """`5 s`, `2 min 05 s` or `1 h 05 min`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return (
        f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
    )
