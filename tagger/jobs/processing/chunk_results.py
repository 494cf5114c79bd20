"""The results of one chunk: received from the pipeline, and stored in batches."""

import queue
import time
from collections.abc import Sequence

from sqlalchemy.exc import SQLAlchemyError

from tagger.database.retry import is_transient
from tagger.errors import FailureKind, ModelFailed, ReadsTimedOut
from tagger.jobs.processing.claimed_chunk import ClaimedChunk
from tagger.jobs.processing.model_cache import LoadedModel
from tagger.jobs.processing.open_items import ItemResult, OpenItem
from tagger.jobs.processing.storage import is_classified, store_results
from tagger.pipeline.requests import Request, RequestResult
from tagger.pipeline.results import Failed, Result
from tagger.system.metrics import stage_timer

STOP_CHECK_S = 0.2
"""How often a chunk that waits for results checks whether it has to stop."""
STORE_PHOTOS = 128
"""Photos per transaction. If the worker is killed, the photos not yet stored are classified again."""
STORE_S = 2.0
"""Slow photos are stored after this time, so that progress is visible and little is lost."""
_UNREACHABLE_KINDS = {FailureKind.GONE, FailureKind.UNREADABLE, FailureKind.TIMED_OUT}
"""Failures that an unmounted root causes too."""


class ChunkResults:
    """The pipeline's `ResultSink` for one chunk: receives results and stores them in batches.

    The pipeline's threads call `is_classified`, `deliver` and `fail`; the chunk's own thread calls everything else.
    """

    def __init__(self, chunk: ClaimedChunk, loaded: LoadedModel) -> None:
        self.top_k = chunk.claim.top_k
        self.threshold = chunk.claim.threshold
        self.pending: dict[Request, OpenItem] = {}
        """Submitted photos without a result."""
        self.is_root_unavailable = False
        """Whether photos could not be read because their root is no longer mounted."""
        self.settling = 0
        """Photos that changed just now; their items stay open, and the chunk reads them again."""
        self.retries_settling = loaded.limits.settle_s > 0
        self._chunk = chunk
        self._loaded = loaded
        self._deliveries: queue.SimpleQueue[Sequence[RequestResult] | Exception] = queue.SimpleQueue()
        self._batch: list[ItemResult] = []
        self._fallbacks: list[OpenItem] = []
        self._stored_at = time.monotonic()

    def is_classified(self, digest: str) -> bool:
        if self._chunk.claim.reprocess:
            return False
        chunk = self._chunk
        try:
            return chunk.with_retry(lambda: is_classified(chunk.database, chunk.claim, digest))
        except SQLAlchemyError as error:
            if not is_transient(error):
                raise
            return False  # Classifying the image twice does no harm.

    def deliver(self, results: Sequence[RequestResult]) -> None:
        self._chunk.count_unstored(len(results))
        self._deliveries.put(results)

    def fail(self, error: Exception) -> None:
        self._deliveries.put(error)

    def receive(self, *, wait: bool) -> None:
        """Take deliveries from the queue, at least one if `wait` is set, and store the batch when it is due.

        Raises:
            ModelFailed, ReadsTimedOut: the pipeline failed; results delivered before are stored.
        """
        while self.pending and (wait or not self._deliveries.empty()):
            try:
                delivery = self._deliveries.get(timeout=STOP_CHECK_S)
            except queue.Empty:
                self._store_if_due()
                return
            self._chunk.on_progress()
            if isinstance(delivery, Exception):
                self.store_delivered()
                raise self._chunk_error(delivery) from delivery
            self._add_all(delivery)
            self._store_if_due()
            wait = False

    def add(self, item: OpenItem, result: Result) -> None:
        """Add a result that the pipeline did not deliver."""
        self._chunk.count_unstored(1)
        self._add(item, result)

    def take_fallbacks(self) -> list[OpenItem]:
        """Take the photos whose own file failed, and whose RAW file is to be read instead."""
        fallbacks, self._fallbacks = self._fallbacks, []
        return fallbacks

    def store_delivered(self) -> None:
        """Store what was delivered before the pipeline failed."""
        while not self._deliveries.empty():
            delivery = self._deliveries.get()
            if not isinstance(delivery, Exception):
                self._add_all(delivery)
        self.store()

    def store(self) -> None:
        count = len(self._batch)
        results, self._batch = self._of_available_roots(self._batch), []
        self._stored_at = time.monotonic()
        chunk = self._chunk
        chunk.check_lease()
        if results:
            with stage_timer("store"):
                loaded = self._loaded
                stored = chunk.with_retry(
                    lambda: store_results(chunk.database, chunk.claim, results, loaded.store_hooks)
                )
            chunk.report(stored)
        chunk.count_unstored(-count)

    def _add_all(self, results: Sequence[RequestResult]) -> None:
        for request, result in results:
            item = self.pending.pop(request, None)
            if item is None:  # a read that the chunk had given up on has ended
                self._chunk.count_unstored(-1)
            else:
                self._add(item, result)

    def _add(self, item: OpenItem, result: Result) -> None:
        if self.retries_settling and _failure_kind(result) is FailureKind.SETTLING:
            self._chunk.count_unstored(-1)
            self.settling += 1
        elif isinstance(result, Failed) and (fallback := item.fallback(result)) is not None:
            self._chunk.count_unstored(-1)
            self._fallbacks.append(fallback)
        else:
            failed = item.failure if isinstance(result, Failed) else None
            self._batch.append(ItemResult(item, failed or result))

    def _store_if_due(self) -> None:
        is_due = len(self._batch) >= STORE_PHOTOS or time.monotonic() - self._stored_at > STORE_S
        if is_due or (
            self._batch and self._chunk.stop.is_set()
        ):  # the process may be ended before the last result
            self.store()

    def _of_available_roots(self, results: list[ItemResult]) -> list[ItemResult]:
        """Drop failures caused by an unmounted root: those items stay open, and the job waits for the root."""
        suspect_ids = {result.item.root_id for result in results if _is_unreachable(result)}
        if not suspect_ids:
            return results
        roots = self._chunk.roots()
        unavailable = self._chunk.unavailable_roots(suspect_ids, roots)
        self.is_root_unavailable = bool(unavailable)
        available_ids = roots.keys() - {root.id for root in unavailable}
        return [
            result
            for result in results
            if result.item.root_id in available_ids or not _is_unreachable(result)
        ]

    def _chunk_error(self, error: Exception) -> Exception:
        if isinstance(error, ReadsTimedOut):
            return ReadsTimedOut(**error.values)
        return ModelFailed(name=self._loaded.model.manifest.name, reason=error)


def _is_unreachable(each: ItemResult) -> bool:
    return _failure_kind(each.result) in _UNREACHABLE_KINDS


def _failure_kind(result: Result) -> FailureKind | None:
    return result.failure.kind if isinstance(result, Failed) else None
