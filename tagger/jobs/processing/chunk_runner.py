"""The one loop over the photos of a claimed chunk: open items, roots, isolation, time slices, retries.

What a kind of job does with photos is a `PhotoProcessor`. Isolation: the photos of a chunk whose claims ended
badly are processed one at a time, and read in child processes. That a worker died proves little: a photo that
can be read fails after MAX_DEATHS of them that had it alone.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from enum import Enum
from functools import partial
from typing import TypeVar

from tagger.database import Outcome
from tagger.database.connection import Database
from tagger.database.engine import with_retry
from tagger.errors import FailureKind, LeaseLost, PhotoFailed, PhotoFailure
from tagger.jobs.processing.storage import Item, open_items
from tagger.ledger import suspend_for_root
from tagger.ledger.chunks import Claim, count_crashes
from tagger.ledger.items import LARGEST_CHUNK
from tagger.processes.metrics import FAILURES, PHOTOS
from tagger.roots import Root, list_roots
from tagger.roots.availability import UnavailableFolder, unavailable_folders
from tagger.settings import Settings

log = logging.getLogger(__name__)

# How long a worker keeps a chunk after it has stored its first photos. What is left then goes to
# any worker: a slow one would hold up the end of the job, and interactive jobs.
SLICE_S = 15.0
# Pause before photos are tried again that changed a moment ago, or that another process writes.
PAUSE_S = 0.5
# After this many claims that ended badly, a chunk is processed in isolation.
SHARED_ATTEMPTS = 2
# A photo fails after this many workers died while they processed it alone.
MAX_DEATHS = 3

# The photos of one transaction.
StoredBatch = Sequence[Item]
T = TypeVar("T")


class ChunkEnd(Enum):
    """Why processing of a chunk ended. Only DONE means that every item has an outcome.

    SLICE_OVER: the time for one claim was over, and the rest was released.
    """

    DONE = "done"
    RELEASED = "released"
    SLICE_OVER = "time slice over"
    LOST = "lost"
    WAITING = "waiting"


class PhotoProcessor:
    # How many photos it gets at a time.
    batch_size = LARGEST_CHUNK
    # Whether it needs the roots of the photos, and whether a photo could kill it.
    reads_files = True

    def __init__(self, chunk: "ChunkRunner") -> None:
        self.chunk = chunk

    def read_alone(self, item: Item, root: Root) -> bool:  # noqa: ARG002
        """Read a photo in isolation, before it is processed alone. False: it stays open.

        Raises:
            PhotoFailed: it failed.
        """
        return True

    def process(self, items: Sequence[Item], roots: Mapping[int, Root]) -> None:
        """Process photos, and store and report their outcomes. Those that are to be tried again stay open."""
        raise NotImplementedError

    def fail_alone(self, item: Item, failure: PhotoFailure) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """End what belongs to this chunk."""


def needs_isolation(claim: Claim) -> bool:
    """Whether the chunk's photos are processed one by one, with no other chunk in the process."""
    return claim.attempts > SHARED_ATTEMPTS


class ChunkRunner:
    """One claimed chunk until it is done, released or lost. `slice_s`: see SLICE_S; None: kept until done."""

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
        # Whether photos could not be read because their root is no longer mounted.
        self.is_root_unavailable = False
        self._on_stored = on_stored
        self._slice_s = slice_s
        # None before a photo is stored: each claim makes progress.
        self._slice_ends_at: float | None = None
        self._stored = 0

    def run(self, processor: PhotoProcessor) -> ChunkEnd:
        """Process the open items until none is open or the chunk has to be released.

        Raises:
            LeaseLost: another worker took over the chunk.
            ModelFailed, ReadsTimedOut: no photo can be classified any more.
        """
        with closing(processor):
            while not self.stop.is_set():
                self.check_lease()
                items = self.with_retry(lambda: open_items(self.database, self.claim))
                if not items:
                    return ChunkEnd.DONE
                if self.is_slice_over:
                    return ChunkEnd.SLICE_OVER
                roots = self.roots()
                if processor.reads_files and self._waits_for_root(items, roots):
                    return ChunkEnd.WAITING
                before = self._stored
                self._process(
                    processor, [item for item in items if item.root_id in roots], roots
                )
                if self._stored - before == len(items):
                    return ChunkEnd.DONE
                if not self.must_end_pass:
                    self.stop.wait(PAUSE_S)
        return ChunkEnd.RELEASED

    def _process(
        self,
        processor: PhotoProcessor,
        items: Sequence[Item],
        roots: Mapping[int, Root],
    ) -> None:
        self.is_root_unavailable = False
        if needs_isolation(self.claim) and processor.reads_files:
            log.warning("%s: processed one at a time", self.title)
            # Those that may have killed a worker come last, and do not keep it from the others.
            for item in sorted(items, key=lambda item: item.deaths):
                if not self.must_end_pass:
                    self._process_alone(processor, item, roots)
            return
        for start in range(0, len(items), processor.batch_size):
            if not self.must_end_pass:
                processor.process(items[start : start + processor.batch_size], roots)

    def _process_alone(
        self, processor: PhotoProcessor, item: Item, roots: Mapping[int, Root]
    ) -> None:
        try:
            was_read = processor.read_alone(item, roots[item.root_id])
        except PhotoFailed as failed:
            processor.fail_alone(item, failed.failure)
            return
        if not was_read:
            log.warning("%s: one stays open", self.title)
            return
        if item.deaths >= MAX_DEATHS:
            ended = f"{item.deaths} processes ended while they processed it alone"
            advice = "Check their logs and the memory of their machines, then retry it."
            failure = PhotoFailure(FailureKind.CRASHED, f"{ended}. {advice}")
            processor.fail_alone(item, failure)
            return
        # A death is counted before and subtracted after: the count stays only if this process dies.
        count = partial(count_crashes, self.database, self.claim, item.position)
        self.with_retry(partial(count, +1))
        try:
            processor.process([item], roots)
        finally:
            self.with_retry(partial(count, -1))

    @property
    def must_stop(self) -> bool:
        return (
            self.stop.is_set() or self.lease_lost.is_set() or self.is_root_unavailable
        )

    @property
    def is_slice_over(self) -> bool:
        """Whether the time for this claim is over, and its open items should be released."""
        return (
            self._slice_ends_at is not None and time.monotonic() >= self._slice_ends_at
        )

    @property
    def must_end_pass(self) -> bool:
        """Whether no more photos are begun now. Unlike with `must_stop`, those in progress are awaited."""
        return self.must_stop or self.is_slice_over

    @property
    def title(self) -> str:
        return f"job {self.claim.job_id}, photos {self.claim.first + 1} to {self.claim.last + 1}"

    def check_lease(self) -> None:
        """Raises:
        LeaseLost: another worker took over the chunk.
        """
        if self.lease_lost.is_set():
            raise LeaseLost(job=self.claim.job_id)

    def report(self, stored: StoredBatch) -> None:
        """Count stored photos, begin the time slice with the first ones, and call `on_stored`."""
        if stored and self._slice_ends_at is None and self._slice_s is not None:
            self._slice_ends_at = time.monotonic() + self._slice_s
        self._stored += len(stored)
        for item in stored:
            outcome = item.outcome
            PHOTOS.labels(outcome.outcome).inc()
            if outcome.outcome is Outcome.FAILED:
                FAILURES.labels(outcome.reason).inc()
                fields = {
                    "job": self.claim.job_id,
                    "chunk": self.claim.chunk,
                    "photo": item.photo_id,
                }
                log.info("a photo failed", extra=fields | {"kind": outcome.reason})
        self._on_stored(stored)

    def with_retry(self, work: Callable[[], T]) -> T:
        """Run database work, and again for minutes while the database is away, locked or read-only.

        Once the worker has to stop, for seconds. Once the lease is lost, no more.
        """

        def attempt() -> T:
            self.on_progress()  # A wait for the database must not trigger the watchdog.
            return work()

        return with_retry(attempt, self.stop, give_up=self.lease_lost)

    def read(self, step: Callable[..., T], *arguments: object) -> T:
        """Call a function with a connection that reads, and these arguments, as `with_retry`."""

        def attempt() -> T:
            with self.database.read() as connection:
                return step(connection, *arguments)

        return self.with_retry(attempt)

    def roots(self) -> dict[int, Root]:
        roots = self.read(list_roots, self.settings.roots)
        return {root.id: root for root in roots}

    def unavailable_folders(
        self, items: Sequence[Item], roots: Mapping[int, Root]
    ) -> list[UnavailableFolder]:
        """The folders with these items that are not mounted, roots first."""
        root_ids = sorted({item.root_id for item in items} & roots.keys())
        of_items = [roots[root_id] for root_id in root_ids]
        return [
            folder
            for folder in self.read(unavailable_folders, of_items)
            if any(folder.has(item.root_id, item.path) for item in items)
        ]

    def keep_available(
        self, suspects: Sequence[Item], roots: Mapping[int, Root]
    ) -> list[Item]:
        """Those of the items whose failure is not due to an unmounted folder. The others stay open."""
        if not suspects:
            return []
        unavailable = self.unavailable_folders(suspects, roots)
        self.is_root_unavailable = bool(unavailable)

        def is_unavailable(item: Item) -> bool:
            return any(folder.has(item.root_id, item.path) for folder in unavailable)

        return [
            item
            for item in suspects
            if item.root_id in roots and not is_unavailable(item)
        ]

    def _waits_for_root(self, items: Sequence[Item], roots: Mapping[int, Root]) -> bool:
        # Whether a folder of these items is not mounted. The job is suspended until it is available.
        unavailable = self.unavailable_folders(items, roots)
        if not unavailable:
            return False
        folder, *_ = unavailable
        job_id = self.claim.job_id

        def suspend() -> None:
            with self.database.read() as connection:
                reason = folder.error(connection).values.get("reason")
            # Why the folder is unavailable, if the source says more than that.
            problem = None if reason is None else str(reason)
            suspend_for_root(self.database, job_id, folder.name, problem)
            why = problem or "it is unavailable"
            log.warning("job %d waits for %s: %s", job_id, folder.name, why)

        self.with_retry(suspend)
        return True
