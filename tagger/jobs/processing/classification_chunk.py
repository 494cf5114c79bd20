"""Classifies the photos of one claimed chunk: open items → pipeline → results → SQL, in batches.

Knows nothing of how chunks are claimed, leases renewed or models loaded (see executor).
"""

import logging
import queue
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from tagger.database.retry import is_transient
from tagger.errors import FailureKind, ModelFailed, PhotoFailed, ReadsTimedOut
from tagger.jobs.processing.claimed_chunk import ChunkEnd, ClaimedChunk, Item, open_items
from tagger.jobs.processing.isolation import PhotoLeftOpen, alone, needs_isolation, until_decided
from tagger.jobs.processing.model_cache import LoadedModels
from tagger.jobs.processing.storage import lacking_models, store_results
from tagger.ledger.chunks import photos_claimed_earlier
from tagger.library.catalog.roots import Root
from tagger.photos.decoding import DecodedImage, Resize
from tagger.photos.source import PhotoSource
from tagger.pipeline.child_process import ChildKilled
from tagger.pipeline.requests import Failed, Reader, Request, RequestResult, Result
from tagger.pipeline.sandbox import Sandbox
from tagger.system.metrics import stage_timer

STOP_CHECK_S = 0.2
"""How often a chunk that waits for results checks whether it has to stop."""
STORE_PHOTOS = 256
"""Photos per transaction. If the worker is killed, the photos not yet stored are classified again."""
STORE_S = 2.0
"""Slow photos are stored after this time, so that progress is visible and little is lost."""
_UNREACHABLE_KINDS = {FailureKind.GONE, FailureKind.UNREADABLE, FailureKind.TIMED_OUT}
"""Failures that an unmounted root causes too."""


class ChunkResults:
    """The pipeline's `ResultSink` for one chunk: receives results and stores them in batches.

    The pipeline's threads call `lacking_models`, `deliver` and `fail`; the chunk's own thread calls everything else.
    """

    def __init__(self, chunk: ClaimedChunk, loaded: LoadedModels) -> None:
        self.top_k = chunk.claim.top_k
        self.thresholds = chunk.claim.thresholds
        self.pending: dict[Request, Item] = {}
        """Submitted photos without a result."""
        self.is_root_unavailable = False
        """Whether photos could not be read because their root is no longer mounted."""
        self.stored = 0
        """Photos with an outcome."""
        self.settling = 0
        """Photos that changed just now; their items stay open, and the chunk reads them again."""
        self.retries_settling = loaded.limits.settle_s > 0
        self._chunk = chunk
        self._loaded = loaded
        self._deliveries: queue.SimpleQueue[Sequence[RequestResult] | Exception] = queue.SimpleQueue()
        self._batch: list[Item] = []
        self._stored_at = time.monotonic()

    def lacking_models(self, digest: str) -> Sequence[int]:
        if self._chunk.claim.reprocess:
            return tuple(self.thresholds)
        chunk = self._chunk
        try:
            return chunk.with_retry(lambda: lacking_models(chunk.database, chunk.claim, digest))
        except SQLAlchemyError as error:
            if not is_transient(error):
                raise
            return tuple(self.thresholds)  # Classifying the image twice does no harm.

    def deliver(self, results: Sequence[RequestResult]) -> None:
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
                if isinstance(delivery, ReadsTimedOut):
                    raise ReadsTimedOut(**delivery.values) from delivery
                raise ModelFailed(name=self._loaded.name, reason=delivery) from delivery
            self._add_all(delivery)
            self._store_if_due()
            wait = False

    def add(self, item: Item, result: Result) -> None:
        """Add a result to the batch, unless the photo is to be read again."""
        if self.retries_settling and _failure_kind(result) is FailureKind.SETTLING:
            self.settling += 1
        else:
            item.result = result
            self._batch.append(item)

    def store_delivered(self) -> None:
        """Store what was delivered before the pipeline failed."""
        while not self._deliveries.empty():
            delivery = self._deliveries.get()
            if not isinstance(delivery, Exception):
                self._add_all(delivery)
        self.store()

    def store(self) -> None:
        items, self._batch = self._of_available_roots(self._batch), []
        self._stored_at = time.monotonic()
        chunk = self._chunk
        chunk.check_lease()
        if items:
            with stage_timer("store"):
                loaded = self._loaded
                stored = chunk.with_retry(
                    lambda: store_results(chunk.database, chunk.claim, items, loaded.taught)
                )
            self.stored += len(stored)
            chunk.report(stored)

    def _add_all(self, results: Sequence[RequestResult]) -> None:
        for request, result in results:
            item = self.pending.pop(request, None)
            if item is not None:  # otherwise, a read that the chunk had given up on has ended
                item.side_facts = request.side_facts
                self.add(item, result)

    def _store_if_due(self) -> None:
        is_due = len(self._batch) >= STORE_PHOTOS or time.monotonic() - self._stored_at > STORE_S
        if is_due or (
            self._batch and self._chunk.stop.is_set()
        ):  # the process may be ended before the last result
            self.store()

    def _of_available_roots(self, items: list[Item]) -> list[Item]:
        """Drop failures caused by an unmounted root: those items stay open, and the job waits for the root."""
        suspect_ids = {item.root_id for item in items if _is_unreachable(item)}
        if not suspect_ids:
            return items
        roots = self._chunk.roots()
        unavailable = self._chunk.unavailable_roots(suspect_ids, roots)
        self.is_root_unavailable = bool(unavailable)
        available_ids = roots.keys() - {root.id for root in unavailable}
        return [item for item in items if item.root_id in available_ids or not _is_unreachable(item)]


def _is_unreachable(item: Item) -> bool:
    return _failure_kind(item.result) in _UNREACHABLE_KINDS


def _failure_kind(result: Result | str) -> FailureKind | None:
    return result.failure.kind if isinstance(result, Failed) else None


log = logging.getLogger(__name__)

BUSY_PAUSE_S = 0.5
"""Pause before checking again whether another worker is done with the same photos."""
SETTLE_PAUSE_S = 0.5
"""Pause before reading photos again that changed a moment ago."""
SETTLE_PERIODS = 10
"""A chunk waits for photos that keep changing for this many times as long as a photo takes to settle; then they fail."""
STOP_TIMEOUT_S = 3.0
"""How long a chunk that has to stop waits for reads and passes in progress; it releases the other photos at once."""


class ChunkClassifier:
    """Classifies the photos of one claimed chunk with those of its job's models that are loaded."""

    def __init__(self, chunk: ClaimedChunk, loaded: LoadedModels) -> None:
        chunk.claim = chunk.claim.of_models(loaded.models)
        self._chunk = chunk
        self._loaded = loaded
        self._results = ChunkResults(chunk, loaded)
        self._settle_deadline: float | None = None

    def run(self) -> ChunkEnd:
        """Classify the open items and store the results until none is open or the chunk has to be released.

        Raises:
            LeaseLost: another worker took over the chunk.
            ModelFailed, ReadsTimedOut: no photo can be classified any more.
        """
        while True:
            # Before the items: a photo that another claim stores between the two queries is then busy or classified.
            busy = self._chunk.with_retry(
                lambda: photos_claimed_earlier(self._chunk.database, self._chunk.claim)
            )
            items = self._chunk.with_retry(lambda: open_items(self._chunk.database, self._chunk.claim))
            if not items:
                return ChunkEnd.DONE
            if self._chunk.is_slice_over:
                return ChunkEnd.SLICE_OVER
            roots = self._chunk.roots()
            if unavailable := self._chunk.unavailable_roots({item.root_id for item in items}, roots):
                self._chunk.wait_for_root(*next(iter(unavailable.items())))
                return ChunkEnd.WAITING
            free = [item for item in items if item.photo_id not in busy and item.root_id in roots]
            self._results.is_root_unavailable = False
            self._results.stored = self._results.settling = 0
            if needs_isolation(self._chunk.claim):
                self._classify_in_isolation(free, roots)
            else:
                self._classify(free, roots)
            if self._results.stored == len(items):
                return ChunkEnd.DONE
            if self._chunk.stop.is_set():
                return ChunkEnd.RELEASED
            self._chunk.check_lease()
            if not free:
                self._chunk.stop.wait(BUSY_PAUSE_S)
            elif self._results.settling:
                self._wait_for_settling()

    def _wait_for_settling(self) -> None:
        """Pause before the photos that changed a moment ago are read again. After the last time, they fail."""
        settle_s = self._loaded.limits.settle_s
        if self._settle_deadline is None:
            self._settle_deadline = time.monotonic() + SETTLE_PERIODS * settle_s
            count = self._results.settling
            log.info("%s: waits for %d photos that changed just now", self._chunk.title, count)
        self._chunk.stop.wait(min(SETTLE_PAUSE_S, settle_s))
        self._results.retries_settling = time.monotonic() < self._settle_deadline

    def _classify(
        self, items: Sequence[Item], roots: Mapping[int, Root], reader: Reader | None = None
    ) -> None:
        """Submit photos and store the results until all are stored or the chunk has to stop."""
        try:
            for item in items:
                if self._must_end_pass():
                    break
                source = roots[item.root_id].source
                request = Request(
                    *(source, item.file, self._results, item.classified, reader, item.size_bytes),
                    side_files=item.side_files,
                )
                self._results.pending[request] = item
                if not self._loaded.pipeline.submit(request, self._must_end_pass):
                    del self._results.pending[request]
                    break
                self._results.receive(wait=False)
            self._wait_for_results()
            self._results.store()
        except ReadsTimedOut:
            self._results.store_delivered()
            raise
        finally:
            self._withdraw()
            self._results.pending.clear()

    def _classify_in_isolation(self, items: Sequence[Item], roots: Mapping[int, Root]) -> None:
        """Read each photo in a sandbox and store its result before the next: the chunk may have killed workers."""
        log.warning("%s: processed one at a time", self._chunk.title)
        with Sandbox(self._loaded.limits, must_stop=self._must_stop_waiting) as sandbox:
            # Those that may have killed a worker come last, so that they do not keep the others from being classified.
            for item in sorted(items, key=lambda item: item.deaths):
                if self._must_stop():
                    return
                try:
                    self._classify_alone(item, roots, sandbox)
                except PhotoFailed as failed:
                    self._results.add(item, Failed(failed.failure))
                    self._results.store()
                except PhotoLeftOpen:
                    log.warning("%s: one stays open", self._chunk.title)

    def _classify_alone(self, item: Item, roots: Mapping[int, Root], sandbox: Sandbox) -> None:
        """Read the photo in the sandbox and classify it here.

        Raises:
            PhotoFailed, PhotoLeftOpen: as `until_decided` and `alone`.
        """
        source = roots[item.root_id].source
        path = item.file
        reader: Reader = sandbox.read
        if item.classified is None or source.version(path) != item.classified:
            reader = until_decided(
                partial(_read_photo, sandbox, source, path, self._loaded.resizes), sandbox.survives
            )
        with alone(self._chunk, item):
            self._classify([item], roots, reader)

    def _wait_for_results(self) -> None:
        deadline: float | None = None
        while self._results.pending:
            if self._must_end_pass():
                self._withdraw()
            if self._must_stop():
                deadline = deadline or time.monotonic() + STOP_TIMEOUT_S
                if time.monotonic() > deadline:
                    unread = len(self._results.pending)
                    log.warning("%s: %d reads do not end", self._chunk.title, unread)
                    return
            self._results.receive(wait=True)

    def _withdraw(self) -> None:
        """Withdraw the photos that no reader has started on."""
        for request in self._loaded.pipeline.withdraw(self._results):
            del self._results.pending[request]

    def _must_stop(self) -> bool:
        return self._chunk.must_stop or self._results.is_root_unavailable

    def _must_end_pass(self) -> bool:
        """Whether no more photos are read now. Unlike `_must_stop`, the results of those that are being read are awaited."""
        return self._must_stop() or self._chunk.is_slice_over

    def _must_stop_waiting(self) -> bool:
        """As `_must_stop`, during a wait that has a time limit of its own: it must not trigger the watchdog."""
        self._chunk.on_progress()
        return self._must_stop()


def _read_photo(sandbox: Sandbox, source: PhotoSource, path: str, resizes: Collection[Resize]) -> Reader:
    """Read and decode a photo, in these sizes. Returns a reader that opens what is in memory now."""
    photo = sandbox.read(source, path)
    images: dict[Resize, DecodedImage] | PhotoFailed
    try:
        images = {resize: photo.decode(resize) for resize in resizes}
    except ChildKilled:
        raise
    except PhotoFailed as failed:
        images = failed  # the pipeline reports it together with the photo's digest

    def decode(resize: Resize) -> DecodedImage:
        if isinstance(images, PhotoFailed):
            raise images
        return images[resize]

    return lambda _source, _path: replace(photo, decode=decode)
