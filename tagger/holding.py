"""A claimed chunk in hand: its lease, the roots of its photos, and patience with the database. What every kind of work shares."""

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from tagger.database import Database, patiently
from tagger.errors import LeaseLost
from tagger.ledger.chunks import Claim, ItemOutcome
from tagger.ledger.jobs import wait_for_root
from tagger.library import OpenItem
from tagger.metrics import FAILURES, PHOTOS
from tagger.results import Dealt, Result
from tagger.roots import Root, is_away, list_roots
from tagger.settings import Settings
from tagger.tables import Outcome

log = logging.getLogger(__name__)

T = TypeVar("T")


class ChunkEnd(Enum):
    """How work on a claimed chunk ended; only DONE means that nothing of it is left."""

    DONE = "done"
    RELEASED = "released"
    LOST = "lost"
    WAITING = "waiting"


@dataclass(frozen=True)
class StoredPhoto:
    """A photo whose outcome has just been stored, and what led to it."""

    item: OpenItem
    end: ItemOutcome
    result: Result | Dealt


Stored = Sequence[StoredPhoto]


class Holding:
    """One claimed chunk, until it is done, given back or lost.

    `on_progress` is told whenever something comes of it, `on_stored` of photos whose outcome is stored.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claimed: Claim,
        *,
        stop: threading.Event,
        lost: threading.Event,
        on_progress: Callable[[], None],
        on_stored: Callable[[Stored], None],
    ) -> None:
        self.database = database
        self.settings = settings
        self.claimed = claimed
        self.stop = stop
        self.lost = lost
        self.on_progress = on_progress
        self._on_stored = on_stored

    @property
    def must_end(self) -> bool:
        return self.stop.is_set() or self.lost.is_set()

    @property
    def numbers(self) -> tuple[int, int]:
        """Of the job and the chunk."""
        return self.claimed.name.job_id, self.claimed.name.chunk

    def check_lease(self) -> None:
        """Raises:
        LeaseLost: somebody else took the chunk over.
        """
        if self.lost.is_set():
            job, chunk = self.numbers
            raise LeaseLost(job=job, chunk=chunk)

    def report(self, stored: Stored) -> None:
        """Count photos that were stored, log those that failed, and tell whoever listens."""
        job, chunk = self.numbers
        for photo in stored:
            PHOTOS.labels(photo.end.outcome).inc()
            if photo.end.outcome is Outcome.FAILED:
                FAILURES.labels(photo.end.reason).inc()
                about = {"job": job, "chunk": chunk, "photo": photo.item.photo_id, "kind": photo.end.reason}
                log.info("a photo failed", extra=about | {"path": photo.item.path})
        self._on_stored(stored)

    def patiently(self, work: Callable[[], T]) -> T:
        """Wait for a database that is away or locked, not as long if this process has to stop."""

        def attempt() -> T:
            self.on_progress()  # waiting for the database is no standstill
            return work()

        return patiently(attempt, self.stop, give_up=self.lost)

    def roots(self) -> dict[int, Root]:
        def read() -> dict[int, Root]:
            with self.database.read() as connection:
                return {root.id: root for root in list_roots(connection, self.settings.roots)}

        return self.patiently(read)

    def away(self, root_ids: set[int], roots: Mapping[int, Root]) -> list[Root]:
        named = [roots[root_id] for root_id in sorted(root_ids) if root_id in roots]

        def check() -> list[Root]:
            with self.database.read() as connection:
                return [root for root in named if is_away(connection, root)]

        return self.patiently(check)

    def wait_for(self, root: Root) -> None:
        """The chunk's job stands still until the root is there again."""
        self.patiently(lambda: wait_for_root(self.database, self.claimed.name.job_id, root.name))
