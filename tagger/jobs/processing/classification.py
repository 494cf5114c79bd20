"""Classifies photos by the pipeline, or compares their stored embeddings with taught landmarks.

Readers ask which models have classified an image before, all images that wait at once.
"""

import json
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

from sqlalchemy import Connection, bindparam, select

from tagger.database import Outcome
from tagger.database.connection import Database
from tagger.database.statements import PreparedQuery, among
from tagger.database.tables import contents
from tagger.errors import (
    FailureKind,
    ModelFailed,
    PhotoFailed,
    PhotoFailure,
    ReadsTimedOut,
)
from tagger.jobs.processing.chunk_runner import ChunkRunner, PhotoProcessor
from tagger.jobs.processing.model_cache import LoadedModels
from tagger.jobs.processing.storage import Item, store_results
from tagger.ledger.chunks import Claim, ItemOutcome, store_outcomes
from tagger.photos.decoding import DecodedImage, Resize
from tagger.photos.source import PhotoSource
from tagger.pipeline import (
    Failed,
    Reader,
    Request,
    RequestResult,
    Result,
    last_line,
)
from tagger.pipeline.sandbox import ParentStopping, Sandbox
from tagger.processes.metrics import stage_timer
from tagger.roots import Root
from tagger.tags import is_classified_by
from tagger.tags.settlement import outcome_of
from tagger.teaching.comparison import TaughtCache, compare_images, mark_applied

log = logging.getLogger(__name__)

# How often a chunk that waits for results checks whether it has to stop.
STOP_CHECK_S = 0.2
# Photos per transaction. If the worker is killed, the photos not yet stored are classified again.
STORE_PHOTOS = 256
# Slow photos are stored after this time, so that progress is visible and little is lost.
STORE_S = 2.0
# Photos that keep changing fail after this many times as long as a photo takes to settle.
SETTLE_PERIODS = 10
# How long a chunk that has to stop waits for reads and passes in progress.
STOP_TIMEOUT_S = 3.0
# Failures that an unmounted root causes too.
_UNREACHABLE_KINDS = {
    FailureKind.GONE,
    FailureKind.UNREADABLE,
    FailureKind.UNREACHABLE,
    FailureKind.TIMED_OUT,
}


class PhotoClassifier(PhotoProcessor):
    """Classifies photos with the loaded models of the job. It is the pipeline's `ResultSink` of one chunk.

    The pipeline's threads call `lacking_models`, `deliver` and `fail`, the chunk's own thread all else.
    """

    def __init__(self, chunk: ChunkRunner, loaded: LoadedModels) -> None:
        super().__init__(chunk)
        chunk.claim = chunk.claim.of_models(loaded.models)
        self.top_k = chunk.claim.top_k
        self.thresholds = chunk.claim.thresholds
        self._loaded = loaded
        # Submitted photos without a result.
        self._pending: dict[Request, Item] = {}
        self._deliveries: queue.SimpleQueue[Sequence[RequestResult] | Exception] = (
            queue.SimpleQueue()
        )
        self._batch: list[Item] = []
        self._stored_at = time.monotonic()
        # None before a photo of the chunk had changed a moment ago.
        self._settle_deadline: float | None = None
        self._sandbox: Sandbox | None = None
        self._known = KnownImages(chunk.database, chunk.claim)

    def process(self, items: Sequence[Item], roots: Mapping[int, Root]) -> None:
        """Submit photos and store the results until all are stored or the chunk has to stop.

        Raises:
            ModelFailed, ReadsTimedOut: the pipeline failed; results delivered before are stored.
        """
        try:
            for item in items:
                if self.chunk.must_end_pass or not self._submit(
                    item, roots[item.root_id].source
                ):
                    break
                self._receive(wait=False)
            self._wait_for_results()
            self._store()
        except (ModelFailed, ReadsTimedOut):
            while not self._deliveries.empty():
                delivery = self._deliveries.get()
                if not isinstance(delivery, Exception):
                    self._add_all(delivery)
            self._store()
            raise
        finally:
            self._withdraw()
            self._pending.clear()

    def read_alone(self, item: Item, root: Root) -> bool:
        """Read the photo in a child process, unless it still is the version that was classified before."""
        if self._sandbox is None:
            self._sandbox = Sandbox(
                self._loaded.limits, must_stop=self._must_stop_waiting
            )
        sandbox, source, path = self._sandbox, root.source, item.file
        item.reader = sandbox.read
        if item.classified is None or source.version(path) != item.classified:
            try:
                item.reader = _read_photo(sandbox, source, path, self._loaded.resizes)
            except ParentStopping:
                return False
        return True

    def fail_alone(self, item: Item, failure: PhotoFailure) -> None:
        self._add(item, Failed(failure))
        self._store()

    def close(self) -> None:
        self._known.close()
        if self._sandbox is not None:
            self._sandbox.close()

    # --- Threads of the pipeline ---

    def lacking_models(self, digest: str) -> Sequence[int]:
        if self.chunk.claim.reprocess:
            return tuple(self.thresholds)
        return self._known.lacking_models(digest)

    def deliver(self, results: Sequence[RequestResult]) -> None:
        self._deliveries.put(results)

    def fail(self, error: Exception) -> None:
        self._deliveries.put(error)

    # --- The chunk's thread ---

    def _submit(self, item: Item, source: PhotoSource) -> bool:
        # Submit a photo. False if no more photos are begun.
        request = Request(
            *(source, item.file, self, item.classified, item.reader, item.size_bytes),
            side_files=item.side_files,
        )
        self._pending[request] = item
        if not self._loaded.pipeline.submit(request, lambda: self.chunk.must_end_pass):
            del self._pending[request]
            return False
        return True

    def _wait_for_results(self) -> None:
        deadline: float | None = None
        while self._pending:
            if self.chunk.must_end_pass:
                self._withdraw()
            if self.chunk.must_stop:
                deadline = deadline or time.monotonic() + STOP_TIMEOUT_S
                if time.monotonic() > deadline:
                    log.warning(
                        "%s: %d reads do not end", self.chunk.title, len(self._pending)
                    )
                    return
            self._receive(wait=True)

    def _withdraw(self) -> None:
        for request in self._loaded.pipeline.withdraw(self):
            del self._pending[request]

    def _receive(self, *, wait: bool) -> None:
        # Take deliveries, at least one if `wait` is set, and store the batch when it is due.
        while self._pending and (wait or not self._deliveries.empty()):
            try:
                delivery = self._deliveries.get(timeout=STOP_CHECK_S)
            except queue.Empty:
                self._store_if_due()
                return
            self.chunk.on_progress()
            if isinstance(delivery, ReadsTimedOut):
                raise ReadsTimedOut(**delivery.values) from delivery
            if isinstance(delivery, Exception):
                raise ModelFailed(
                    name=self._loaded.name, reason=last_line(delivery)
                ) from delivery
            self._add_all(delivery)
            self._store_if_due()
            wait = False

    def _add_all(self, results: Sequence[RequestResult]) -> None:
        for request, result in results:
            item = self._pending.pop(request, None)
            if (
                item is not None
            ):  # otherwise, a read that the chunk had given up on has ended
                item.side_facts = request.side_facts
                self._add(item, result)

    def _add(self, item: Item, result: Result) -> None:
        # Add a result to the batch. Photos that changed a moment ago are read again; after the
        # last time, they fail.
        if _failure_kind(result) is FailureKind.SETTLING:
            if self._settle_deadline is None:
                settle_s = SETTLE_PERIODS * self._loaded.limits.settle_s
                self._settle_deadline = time.monotonic() + settle_s
                log.info("%s: waits for photos that changed just now", self.chunk.title)
            if time.monotonic() < self._settle_deadline:
                return
        item.result = result
        self._batch.append(item)

    def _store_if_due(self) -> None:
        is_due = (
            len(self._batch) >= STORE_PHOTOS
            or time.monotonic() - self._stored_at > STORE_S
        )
        # The process may be ended before the last result.
        if is_due or (self._batch and self.chunk.stop.is_set()):
            self._store()

    def _store(self) -> None:
        items, self._batch = self._batch, []
        # Drop failures due to an unmounted root: those items stay open, and the job waits for it.
        suspects = [
            item for item in items if _failure_kind(item.result) in _UNREACHABLE_KINDS
        ]
        if suspects:
            available = self.chunk.keep_available(suspects, self.chunk.roots())
            items = [
                item for item in items if item not in suspects or item in available
            ]
        self._stored_at = time.monotonic()
        chunk, taught = self.chunk, self._loaded.taught
        chunk.check_lease()
        if items:
            with stage_timer("store"):
                stored = chunk.with_retry(
                    lambda: store_results(chunk.database, chunk.claim, items, taught)
                )
            chunk.report(stored)

    def _must_stop_waiting(self) -> bool:
        # As `must_stop`, in a wait with a time limit of its own: it must not trigger the watchdog.
        self.chunk.on_progress()
        return self.chunk.must_stop


def _failure_kind(result: Result | None) -> FailureKind | None:
    return result.failure.kind if isinstance(result, Failed) else None


def _read_photo(
    sandbox: Sandbox, source: PhotoSource, path: str, resizes: Collection[Resize]
) -> Reader:
    # Read and decode a photo, in these sizes. Returns a reader that opens what is in memory now.
    photo = sandbox.read(source, path)
    images: dict[Resize, DecodedImage] | PhotoFailed
    try:
        images = {resize: photo.decode(resize) for resize in resizes}
    except PhotoFailed as failed:
        images = failed  # the pipeline reports it together with the photo's digest

    def decode(resize: Resize) -> DecodedImage:
        if isinstance(images, PhotoFailed):
            raise images
        return images[resize]

    return lambda _source, _path: replace(photo, decode=decode)


# The reason of a skipped item.
NO_EMBEDDING = "its image has no embedding of the job's model"


class PhotoComparer(PhotoProcessor):
    """Compares photos with the taught landmarks, by their stored embeddings. No photo is read."""

    reads_files = False

    def process(self, items: Sequence[Item], roots: Mapping[int, Root]) -> None:  # noqa: ARG002
        """Store taught tags and outcomes, then mark what was applied to all images.

        Of two chunks that are stored at once, neither sees the other's images in its own transaction.
        """
        chunk = self.chunk
        chunk.with_retry(lambda: self._store(items))

        def mark() -> None:
            with chunk.database.write() as connection:
                mark_applied(connection, chunk.claim.model_id)

        chunk.with_retry(mark)
        chunk.report(items)

    def _store(self, items: Sequence[Item]) -> None:
        claim = self.chunk.claim
        content_ids = {item.content_id for item in items if item.content_id is not None}
        with self.chunk.database.write() as connection:
            taught = TaughtCache(claim.model_id)
            settled = compare_images(connection, claim.model_id, content_ids, taught)
            for item in items:
                item.outcome = ItemOutcome(item.position, Outcome.SKIPPED, NO_EMBEDDING)
                if item.content_id is not None and item.content_id in settled:
                    item.outcome = ItemOutcome(
                        item.position, outcome_of(settled[item.content_id])
                    )
            store_outcomes(connection, claim, [item.outcome for item in items])


_FIND_CLASSIFIED = select(contents.c.digest).where(
    among(contents.c.digest, bindparam("digests")),
    contents.c.outcome.is_not(None),
    is_classified_by(
        bindparam("model_id"),
        ("top_k", bindparam("top_k")),
        ("threshold", bindparam("threshold")),
    ),
)


class KnownImages:
    """Answers for the models of a claim until `close`, by one connection. Thread-safe.

    While a statement runs, questions wait, and the next statement asks all of them.
    """

    def __init__(self, database: Database, claim: Claim) -> None:
        self._database = database
        self._claim = claim
        self._asking = threading.Lock()  # guards the connection
        self._waiting: deque[_Question] = deque()
        self._connection: Connection | None = None
        self._query: PreparedQuery | None = None
        self._open_connection = ExitStack()
        self._is_closed = False

    def lacking_models(self, digest: str) -> Sequence[int]:
        """The models that have not classified the image, with the same top-k and threshold.

        All of them if the database is away: to classify an image twice does no harm.
        """
        question = _Question(digest, list(self._claim.thresholds))
        self._waiting.append(question)
        with self._asking:
            if not question.is_answered:
                self._answer()
        return tuple(question.lacking)

    def close(self) -> None:
        """Give the connection back. Readers that come later get all models."""
        with self._asking:
            self._is_closed = True
            self._disconnect()

    def _answer(self) -> None:
        questions = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            for model_id in () if self._is_closed else self._claim.thresholds:
                digests = list({each.digest for each in questions})
                classified = self._classified(model_id, digests)
                for question in questions:
                    if question.digest in classified:
                        question.lacking.remove(model_id)
        except Exception:  # of any driver
            log.info("the database did not say which images are known", exc_info=True)
            if self._connection is not None:
                self._connection.invalidate()
            self._disconnect()
        for question in questions:
            question.is_answered = True

    def _classified(self, model_id: int, digests: list[str]) -> set[str]:
        if self._query is None:
            read = self._database.read(in_transaction=False)
            self._connection = self._open_connection.enter_context(read)
            self._query = PreparedQuery(self._connection, _FIND_CLASSIFIED)
        parameters = {
            "digests": json.dumps(digests) if self._database.is_sqlite else digests,
            "model_id": model_id,
            "top_k": self._claim.top_k,
            "threshold": self._claim.thresholds[model_id],
        }
        return {digest for (digest,) in self._query.rows(parameters)}

    def _disconnect(self) -> None:
        self._connection = self._query = None
        self._open_connection.close()


@dataclass
class _Question:
    # An image, and the models that lack it, as far as is known.
    digest: str
    lacking: list[int]
    is_answered: bool = False
