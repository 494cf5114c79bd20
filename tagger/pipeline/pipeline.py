"""The pipeline: photos in, results out. Reader threads → bounded buffers → batches → model.

Requests of several chunks share one pipeline, so that small jobs do not run small batches. Every stage is bounded: `submit`
blocks while the buffers are full. Knows nothing of jobs or SQL; results go to the request's sink.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import numpy as np

from tagger.errors import FailureKind, PhotoFailure
from tagger.model.backends.protocol import Embeddings, Outputs, Scores
from tagger.model.model import Model, OutOfDeviceMemory
from tagger.model.predictions import best_predictions, has_finite_length
from tagger.photos.decoding import DecodedImage, Pixels
from tagger.pipeline.buffers import PipelineBuffers
from tagger.pipeline.reader_pool import ReaderPool
from tagger.pipeline.requests import (
    Classified,
    Limits,
    Opener,
    Request,
    RequestResult,
    Result,
    ResultSink,
    open_bytes,
)
from tagger.pipeline.sandbox import Sandbox
from tagger.system.metrics import BATCH_FILL, stage_timer

log = logging.getLogger(__name__)

CLOSE_S = 5.0
"""How long closing waits for a forward pass to end."""
IDLE_S = 10.0
"""How long the model may wait for photos before it releases memory."""
_NOT_FINITE = PhotoFailure(
    FailureKind.INTERNAL,
    "the model's scores for this photo are not numbers; try another model, or TAGGER_DEVICE=cpu",
)


class Pipeline:
    """Runs from construction until `close`.

    With a `sandbox`, which the caller closes, photos are decoded there, or only those RAW photos that must be developed.
    """

    def __init__(
        self, model: Model, limits: Limits, sandbox: Sandbox | None = None, *, only_develops: bool = False
    ) -> None:
        self._model = model
        capacity = (1 + model.at_once) * model.batch_size
        self._buffers = PipelineBuffers(capacity, limits.readers)
        timed_threads: Collection[int] = frozenset() if sandbox is None else sandbox.threads
        open_photo = photo_opener(model, limits, sandbox, only_develops=only_develops)
        self._readers = ReaderPool(open_photo, limits, self._buffers, timed_threads)
        self._threads = [
            threading.Thread(target=self._classify_batches, name="model", daemon=True)
            for _ in range(model.at_once)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Add a request; blocks while the buffers are full. Returns False if `give_up` became true first.

        Raises:
            ReadsTimedOut: so many reads hang that no photo is read any more.
        """
        return self._buffers.submit(request, give_up)

    def withdraw(self, sink: ResultSink) -> list[Request]:
        """Remove and return the sink's requests that no reader has started on."""
        return self._buffers.withdraw(sink)

    def close(self) -> None:
        """End the threads; sinks that still wait for results are told that none will come."""
        self._readers.close()
        deadline = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._buffers.fail_all(RuntimeError("the pipeline was closed"))

    # --- A model thread ---

    def _classify_batches(self) -> None:
        while batch := self._next_batch():
            BATCH_FILL.observe(len(batch) / self._model.batch_size)
            self._classify(batch)

    def _next_batch(self) -> Mapping[str, DecodedImage]:
        if not self._buffers.wait_for_photos(IDLE_S):
            try:
                self._model.free_memory()
            except Exception:
                # The thread goes on: without it, every chunk would wait for the watchdog.
                log.exception("the engine could not release memory")
        return self._buffers.next_batch(self._model.batch_size)

    def _classify(self, batch: Mapping[str, DecodedImage]) -> None:
        try:
            outputs = self._predict([image.pixels for image in batch.values()])
        except Exception as error:
            log.exception("the model failed on a batch of %d", len(batch))
            self._classify_one_by_one(batch, error)
        else:
            self._deliver(batch, outputs)

    def _predict(self, images: Sequence[Pixels]) -> Outputs:
        with stage_timer("model"):
            return self._model.predict(images)

    def _classify_one_by_one(self, batch: Mapping[str, DecodedImage], error: Exception) -> None:
        """Find the photos on which the model fails. If it fails on all of them or on a blank image, the model is at fault."""
        size = self._model.manifest.input.resize.size
        blank = self._predict_or_error(np.zeros((size, size, 3), dtype=np.uint8))
        outcomes = [self._predict_or_error(image.pixels) for image in batch.values()]
        is_out_of_memory = any(isinstance(outcome, OutOfDeviceMemory) for outcome in outcomes)
        all_fail = len(batch) > 1 and all(isinstance(outcome, Exception) for outcome in outcomes)
        if is_out_of_memory or isinstance(blank, Exception) or all_fail:
            self._fail_sinks(batch, error)
            return
        for (digest, image), outcome in zip(batch.items(), outcomes, strict=True):
            if isinstance(outcome, Exception):
                text = f"the model fails on this photo: {_last_line(outcome)}"
                self._fail(digest, PhotoFailure(FailureKind.INTERNAL, text))
            else:
                self._deliver({digest: image}, outcome)

    def _predict_or_error(self, pixels: Pixels) -> Outputs | Exception:
        try:
            return self._predict([pixels])
        except Exception as error:  # noqa: BLE001 - the caller decides whether the photo or the model is at fault
            return error

    def _deliver(self, batch: Mapping[str, DecodedImage], outputs: Outputs) -> None:
        results: dict[ResultSink, list[RequestResult]] = {}
        for (digest, image), output in zip(batch.items(), outputs.rows(), strict=True):
            for request in self._buffers.take_waiters(digest):
                result = _result(digest, request, image, *output)
                results.setdefault(request.sink, []).append((request, result))
        for sink, sink_results in results.items():
            sink.deliver(sink_results)

    def _fail(self, digest: str, failure: PhotoFailure) -> None:
        for request in self._buffers.take_waiters(digest):
            request.sink.deliver([(request, request.failed(failure))])

    def _fail_sinks(self, digests: Iterable[str], error: Exception) -> None:
        requests = [request for digest in digests for request in self._buffers.take_waiters(digest)]
        for sink in {request.sink for request in requests}:
            sink.fail(error)


def photo_opener(model: Model, limits: Limits, sandbox: Sandbox | None, *, only_develops: bool) -> Opener:
    """What opens photos for the model, as in `Pipeline`."""
    resize = model.manifest.input.resize
    if sandbox is not None and not only_develops:
        return lambda photo: sandbox.open(photo, resize)
    develop = None if sandbox is None else sandbox.decode
    return lambda photo: open_bytes(photo, resize, limits, develop)


def _result(
    digest: str, request: Request, image: DecodedImage, scores: Scores, embedding: Embeddings | None
) -> Result:
    if not all(has_finite_length(each) for each in (scores, embedding) if each is not None):
        return request.failed(_NOT_FINITE)
    sink = request.sink
    return Classified(
        digest,
        request.version,
        request.facts,
        image.width,
        image.height,
        best_predictions(scores, sink.top_k, sink.threshold, is_damaged=image.is_damaged),
        None if image.is_damaged else embedding,
        image.is_damaged,
        _colours(image.pixels),
    )


def _colours(pixels: Pixels) -> bytes:
    """The mean colours of the nine parts of a square image, row by row, of every eighth pixel each way."""
    side = len(pixels) // 3
    parts = pixels[: 3 * side, : 3 * side].reshape(3, side, 3, side, 3)[:, ::8, :, ::8]
    samples = parts.transpose(0, 2, 4, 1, 3).reshape(27, -1)
    colours: Pixels = (samples.sum(1, dtype=np.uint32) // samples.shape[1]).astype(np.uint8)
    return colours.tobytes()


def _last_line(error: Exception) -> str:
    """The last line of torch's message names the cause; the lines before show TorchScript's stack."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
