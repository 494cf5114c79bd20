"""A chunk that this process has claimed: its lease, its photos' roots, and retries of database work.

Shared by everything that processes chunks: classification_chunk and metadata_chunk.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.retry import with_retry
from tagger.errors import LeaseLost
from tagger.jobs.processing.open_items import OpenItem
from tagger.jobs.processing.storage import StoredOutcome
from tagger.ledger.chunks import Claim, ItemOutcome
from tagger.ledger.jobs import suspend_for_root
from tagger.library.catalog.roots import Root, list_roots, unavailable_error, unavailable_roots
from tagger.photos.folders import Mount
from tagger.settings import Settings
from tagger.system.metrics import FAILURES, PHOTOS

log = logging.getLogger(__name__)

T = TypeVar("T")

SLICE_S = 15.0
"""How long a worker keeps a chunk after it has stored its first photos. What is left then goes to any worker: a slow one would
hold up the end of the job, and interactive jobs."""


class ChunkEnd(Enum):
    """Why processing of a chunk ended. Only DONE means that every item has an outcome.

    SLICE_OVER: the time for one claim was over, and the rest was released.
    """

    DONE = "done"
    RELEASED = "released"
    SLICE_OVER = "time slice over"
    LOST = "lost"
    WAITING = "waiting"


StoredBatch = Sequence[StoredOutcome]
"""The photos of one transaction."""


class ClaimedChunk:
    """One claimed chunk until it is done, released or lost.

    `on_progress` is called whenever the chunk makes progress, `on_stored` with every batch of stored photos. `slice_s`: see
    SLICE_S; None: the chunk is kept until it is done.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claim: Claim,
        *,
        stop: threading.Event,
        lease_lost: threading.Event,
        on_progress: Callable[[], None],
        on_stored: Callable[[StoredBatch], None],
        slice_s: float | None = None,
    ) -> None:
        self.database = database
        self.settings = settings
        self.claim = claim
        self.stop = stop
        self.lease_lost = lease_lost
        self.on_progress = on_progress
        self._on_stored = on_stored
        self._slice_s = slice_s
        self._slice_ends_at: float | None = None
        """None before a photo is stored: each claim makes progress."""

    @property
    def must_stop(self) -> bool:
        return self.stop.is_set() or self.lease_lost.is_set()

    @property
    def is_slice_over(self) -> bool:
        """Whether the time for this claim is over, and its open items should be released."""
        return self._slice_ends_at is not None and time.monotonic() >= self._slice_ends_at

    @property
    def numbers(self) -> tuple[int, int]:
        """The job's and the chunk's number, for log lines."""
        return self.claim.name.job_id, self.claim.name.chunk

    def check_lease(self) -> None:
        """Raises:
        LeaseLost: another worker took over the chunk.
        """
        if self.lease_lost.is_set():
            job, chunk = self.numbers
            raise LeaseLost(job=job, chunk=chunk)

    def report(self, stored: StoredBatch) -> None:
        """Count stored photos, begin the time slice with the first ones, and call `on_stored`."""
        if stored and self._slice_ends_at is None and self._slice_s is not None:
            self._slice_ends_at = time.monotonic() + self._slice_s
        for photo in stored:
            self.count(photo.item, photo.outcome)
        self._on_stored(stored)

    def count(self, item: OpenItem, outcome: ItemOutcome) -> None:
        """Count a photo in the metrics, and log it if it failed."""
        PHOTOS.labels(outcome.outcome).inc()
        if outcome.outcome is Outcome.FAILED:
            FAILURES.labels(outcome.reason).inc()
            job, chunk = self.numbers
            fields = {"job": job, "chunk": chunk, "photo": item.photo_id, "kind": outcome.reason}
            log.info("a photo failed", extra=fields)

    def with_retry(self, work: Callable[[], T]) -> T:
        """Run database work; retry while the database is unavailable or locked, for less time if the process has to stop."""

        def attempt() -> T:
            self.on_progress()  # A wait for the database must not trigger the watchdog.
            return work()

        return with_retry(attempt, self.stop, give_up=self.lease_lost)

    def roots(self) -> dict[int, Root]:
        """All roots by id."""

        def read() -> dict[int, Root]:
            with self.database.read() as connection:
                return {root.id: root for root in list_roots(connection, self.settings.roots)}

        return self.with_retry(read)

    def unavailable_roots(self, root_ids: set[int], roots: Mapping[int, Root]) -> dict[Root, Mount]:
        """The roots among `root_ids` that are not mounted, in order of their ids, with their answers."""
        candidates = [roots[root_id] for root_id in sorted(root_ids) if root_id in roots]

        def check() -> dict[Root, Mount]:
            with self.database.read() as connection:
                return unavailable_roots(connection, candidates)

        return self.with_retry(check)

    def wait_for_root(self, root: Root, mount: Mount) -> None:
        """Put the job into the waiting state until the root is available again."""
        problem = self.with_retry(lambda: self._bucket_problem(root, mount))
        name = str(root.folder) if problem else root.name
        log.warning("job %d waits for %s: %s", self.numbers[0], name, problem or "it is unavailable")
        self.with_retry(lambda: suspend_for_root(self.database, self.claim.name.job_id, name, problem))

    def _bucket_problem(self, root: Root, mount: Mount) -> str | None:
        """Why a bucket is unavailable; None for a folder."""
        if not root.is_bucket:
            return None
        with self.database.read() as connection:
            return str(unavailable_error(connection, root, root.folder, mount).values["reason"])
