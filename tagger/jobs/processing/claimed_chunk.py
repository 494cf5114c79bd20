"""A chunk that this process has claimed: its open items and what came of them, its lease, its photos' roots, and retries of database work.

Shared by everything that processes chunks: classification_chunk and metadata_chunk.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, TypeVar

from sqlalchemy import Connection, select

from tagger.database.connection import Database
from tagger.database.enums import Outcome
from tagger.database.retry import with_retry
from tagger.database.tables import contents, job_items, photos
from tagger.errors import LeaseLost
from tagger.jobs.enqueue.photo_facts import side_files_of_raw_files, stored_side_files
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.ledger.jobs import suspend_for_root
from tagger.library.acceptance import EffectiveTag
from tagger.library.catalog.contents import is_classified_by_all
from tagger.library.catalog.raw_pairs import files_of
from tagger.library.catalog.roots import Root, list_roots, unavailable_error, unavailable_roots
from tagger.metadata.stated_facts import SideFacts
from tagger.photos.files import PhotoVersion
from tagger.photos.folders import Mount
from tagger.photos.paths import path_from_text
from tagger.photos.side_files import SideFile
from tagger.pipeline.requests import Result
from tagger.settings import Settings
from tagger.system.documents import document_of
from tagger.system.metrics import FAILURES, PHOTOS

FORGOTTEN = "removed with `tagger forget`"
"""The reason of a skipped item whose photo is no longer in the database."""
JOINED = "one photo with the JPEG of the same name"
"""The reason of a skipped item: a RAW file that was a photo of its own when the job was recorded."""


@dataclass(eq=False)
class Item:
    """A photo of a claimed chunk, open at first, and what comes of it.

    `classified`: the version that the claim's models classified before with the same top-k and thresholds, if any.
    `deaths`: how often a worker died while it classified this photo alone. `raw_files`: the RAW files of the photo, as the columns
    `path` and `path_bytes`. `side_files`: those of all its files, and `side_facts` what they state, once they are read. `result` is set once the photo is processed: in a job of metadata, it is a text. `outcome`, and `tags`, the
    effective tags of its image, are set once they are stored.
    """

    position: int
    photo_id: int
    root_id: int
    path: str
    path_bytes: bytes
    content_id: int | None
    classified: PhotoVersion | None
    deaths: int
    size_bytes: int
    raw_files: tuple[tuple[str, bytes], ...] = ()
    side_files: tuple[SideFile, ...] = ()
    side_facts: SideFacts = field(default=(), init=False, repr=False)
    result: Result | str = field(init=False, repr=False)
    outcome: ItemOutcome = field(init=False, repr=False)
    tags: Sequence[EffectiveTag] = field(default=(), init=False)

    @property
    def file(self) -> str:
        """The path, in the root, of the file to read."""
        return path_from_text(self.path, self.path_bytes)


def open_items(database: Database, claim: Claim) -> list[Item]:
    """Return the claimed chunk's items without an outcome, in order. Items of forgotten photos are skipped and stored as such."""
    query = (
        select(
            job_items.c.position,
            job_items.c.attempts,
            photos.c.id,
            photos.c.root_id,
            photos.c.path,
            photos.c.path_bytes,
            photos.c.size_bytes,
            photos.c.content_id,
            photos.c.failure_kind,
            photos.c.primary_id,
            photos.c.classified_size_bytes,
            photos.c.classified_mtime_ns,
            photos.c.side_files,
            is_classified_by_all(claim.thresholds, claim.top_k).label("is_classified"),
        )
        .outerjoin(photos, photos.c.id == job_items.c.photo_id)
        .outerjoin(contents, contents.c.id == photos.c.content_id)
        .where(
            job_items.c.job_id == claim.name.job_id,
            job_items.c.position.between(claim.first, claim.last),
            job_items.c.outcome.is_(None),
        )
        .order_by(job_items.c.position)
    )
    with database.read() as connection:
        rows = connection.execute(query).all()
        photo_ids = [row.id for row in rows if row.id is not None]
        raw_files = raw_files_of(connection, photo_ids)
        side_files = side_files_of_raw_files(connection, photo_ids)
    skipped = [
        ItemOutcome(row.position, Outcome.SKIPPED, FORGOTTEN if row.id is None else JOINED)
        for row in rows
        if row.id is None or row.primary_id is not None
    ]
    if skipped:
        with database.write() as connection:
            store_outcomes(connection, claim, skipped)
    return [
        _open_item(row, claim, raw_files.get(row.id, ()), side_files.get(row.id, ()))
        for row in rows
        if row.id is not None and row.primary_id is None
    ]


def raw_files_of(
    connection: Connection, photo_ids: Collection[int]
) -> Mapping[int, tuple[tuple[str, bytes], ...]]:
    """The RAW files of photos, as the columns `path` and `path_bytes`, by photo id."""
    query = select(photos.c.primary_id, photos.c.path, photos.c.path_bytes).where(files_of(photo_ids))
    files: dict[int, tuple[tuple[str, bytes], ...]] = {}
    for row in connection.execute(query.order_by(photos.c.path)):
        files[row.primary_id] = (*files.get(row.primary_id, ()), (row.path, row.path_bytes))
    return files


def _open_item(
    row: Any, claim: Claim, raw_files: tuple[tuple[str, bytes], ...], side_files: tuple[SideFile, ...]
) -> Item:
    has_result = row.failure_kind is None and row.classified_mtime_ns is not None
    classified = None
    if row.is_classified and has_result and not claim.reprocess:
        classified = PhotoVersion(row.classified_size_bytes, row.classified_mtime_ns)
    values = {"photo_id": row.id, "classified": classified, "deaths": row.attempts, "raw_files": raw_files}
    return document_of(Item, row, **values, side_files=(*stored_side_files(row.side_files), *side_files))


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


StoredBatch = Sequence[Item]
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
    def title(self) -> str:
        """What log lines call it: `job 7, photos 257 to 512`."""
        return f"job {self.claim.name.job_id}, photos {self.claim.first + 1} to {self.claim.last + 1}"

    def check_lease(self) -> None:
        """Raises:
        LeaseLost: another worker took over the chunk.
        """
        if self.lease_lost.is_set():
            raise LeaseLost(job=self.claim.name.job_id)

    def report(self, stored: StoredBatch) -> None:
        """Count stored photos, begin the time slice with the first ones, and call `on_stored`."""
        if stored and self._slice_ends_at is None and self._slice_s is not None:
            self._slice_ends_at = time.monotonic() + self._slice_s
        for photo in stored:
            self.count(photo, photo.outcome)
        self._on_stored(stored)

    def count(self, item: Item, outcome: ItemOutcome) -> None:
        """Count a photo in the metrics, and log it if it failed."""
        PHOTOS.labels(outcome.outcome).inc()
        if outcome.outcome is Outcome.FAILED:
            FAILURES.labels(outcome.reason).inc()
            job, chunk = self.claim.name.job_id, self.claim.name.chunk
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
        log.warning("job %d waits for %s: %s", self.claim.name.job_id, name, problem or "it is unavailable")
        self.with_retry(lambda: suspend_for_root(self.database, self.claim.name.job_id, name, problem))

    def _bucket_problem(self, root: Root, mount: Mount) -> str | None:
        """Why a bucket is unavailable; None for a folder."""
        if not root.is_bucket:
            return None
        with self.database.read() as connection:
            return str(unavailable_error(connection, root, root.folder, mount).values["reason"])
