"""A job as scripts see it: its numbers, its end and its failures."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tagger.database.enums import METADATA_KINDS
from tagger.errors import JobUnfinished
from tagger.jobs.enqueue.job_json import failure_documents
from tagger.ledger.failures import FailureFilter, failing_photos, unwritten_photos
from tagger.ledger.jobs import cancel_job
from tagger.ledger.progress import find_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tagger.database.connection import Database
    from tagger.jobs.processing.chunk_runner import StoredBatch
    from tagger.ledger.progress import JobProgress
    from tagger.settings import Settings

POLL_S = 0.5
"""How often a job that workers run is read again."""
Progress = Callable[["Job"], None]
"""Called with the job while it runs, at most twice a second, from any thread."""


class Job:
    """A job, with the numbers of its photos when it was last looked at: see `refresh`."""

    def __init__(self, database: Database, settings: Settings, progress: JobProgress) -> None:
        self._database = database
        self._settings = settings
        self._progress = progress

    def __repr__(self) -> str:
        return f"<Job {self.number} {self.state}: {self._progress.done} of {self.total} photos>"

    @property
    def number(self) -> int:
        """Its number, as `tagger status` shows it."""
        return self._progress.job

    @property
    def state(self) -> str:
        """`scanning`, `queued`, `running`, `waiting`, `paused`, `cancelled` or `finished`."""
        return self._progress.state.value

    @property
    def note(self) -> str | None:
        """Why it waits or was cancelled."""
        return self._progress.note

    @property
    def is_over(self) -> bool:
        """Whether it is finished or cancelled."""
        return self._progress.is_over

    @property
    def total(self) -> int:
        """How many photos it has. All numbers below, with those in work, add up to it."""
        return self._progress.total

    @property
    def tagged(self) -> int:
        """Photos with an accepted landmark."""
        return self._progress.tagged

    @property
    def unknown(self) -> int:
        """Photos that were classified, and have none."""
        return self._progress.unknown

    @property
    def skipped(self) -> int:
        """Photos that had been classified in the same way before."""
        return self._progress.skipped

    @property
    def written(self) -> int:
        """Photos whose metadata was written, or by an undo, changed back."""
        return self._progress.written

    @property
    def unchanged(self) -> int:
        """Photos whose metadata said the same already."""
        return self._progress.unchanged

    @property
    def refused(self) -> int:
        """Photos whose metadata was not written, for a reason that `failures` gives."""
        return self._progress.refused

    @property
    def failed(self) -> int:
        """Photos that could not be read; `failures` says why."""
        return self._progress.failed

    @property
    def waiting(self) -> int:
        """Photos that have no outcome yet."""
        return self._progress.queued + self._progress.running

    @property
    def write_job(self) -> int | None:
        """The number of the job that writes its tags to metadata, once there is one."""
        return self._progress.write_job

    def refresh(self) -> None:
        """Look at the job again."""
        self._progress = find_job(self._database, self.number)

    def wait(self, timeout_s: float | None = None, on_progress: Progress | None = None) -> None:
        """Wait until it is over, and the metadata is written if that was asked for.

        Raises:
            JobUnfinished: it was not over after `timeout_s` seconds; it goes on.
        """
        started_at = time.monotonic()
        jobs = [self]
        while jobs:
            job = jobs[0]
            job.refresh()
            if on_progress is not None:
                on_progress(job)
            if job.is_over:
                chained = job.write_job
                jobs = [] if chained is None else [job_of(self._database, self._settings, chained)]
                continue
            if timeout_s is not None and time.monotonic() - started_at > timeout_s:
                raise JobUnfinished(job=job.number, timeout_s=timeout_s)
            time.sleep(POLL_S)

    def failures(self) -> Iterator[Failure]:
        """Yield the photos of the job that fail now; of a metadata job, those that it refused or failed."""
        database, roots = self._database, self._settings.roots
        is_writing = self._progress.kind in METADATA_KINDS
        failing = (
            unwritten_photos(database, self.number)
            if is_writing
            else failing_photos(database, FailureFilter(self.number))
        )
        for each in failure_documents(database, failing, roots):
            yield Failure(each.path, each.kind, each.text or "")

    def cancel(self) -> None:
        """Stop it. What is stored stays."""
        with self._database.write() as connection:
            cancel_job(connection, self.number, "by request")
        self.refresh()


@dataclass(frozen=True)
class Failure:
    """A photo that could not be read or written: the kind of failure, and what to do about it."""

    path: str
    kind: str
    text: str


def job_of(database: Database, settings: Settings, number: int) -> Job:
    """Return one job.

    Raises:
        JobNotFound: there is none with this number.
    """
    return Job(database, settings, find_job(database, number))


class Throttled:
    """Calls a function with a job, at most once in POLL_S, as its photos are stored."""

    def __init__(self, job: Job, on_progress: Progress | None) -> None:
        self._job = job
        self._on_progress = on_progress
        self._lock = threading.Lock()
        self._called_at = -POLL_S

    def __call__(self, _batch: StoredBatch) -> None:
        if self._on_progress is None or not self._lock.acquire(blocking=False):
            return
        try:
            if time.monotonic() - self._called_at >= POLL_S:
                self._called_at = time.monotonic()
                self._job.refresh()
                self._on_progress(self._job)
        finally:
            self._lock.release()
