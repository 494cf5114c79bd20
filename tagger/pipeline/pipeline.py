"""The pipeline: photos in, results out. Reader threads → bounded buffers → batches → models.

A photo is read once, decoded once for each size, and classified by all models that lack it.

Requests of several chunks share one pipeline, so that small jobs do not run small batches. Every stage is
bounded: `submit` blocks while the buffers are full. Knows nothing of jobs or SQL.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from tagger.errors import FailureKind, PhotoFailure
from tagger.model import best_predictions, has_finite_length
from tagger.model.backends import Embeddings, Scores
from tagger.model.model import Model, OutOfDeviceMemory
from tagger.photos.decoding import DecodedImage, Pixels, Resize
from tagger.pipeline import (
    Classified,
    ImageKey,
    Images,
    Limits,
    ModelResult,
    Opener,
    Request,
    RequestResult,
    Result,
    ResultSink,
    deliver,
    fail_sink,
    internal_failure,
    last_line,
    open_bytes,
)
from tagger.pipeline.reader_pool import PipelineBuffers, ReaderPool
from tagger.pipeline.sandbox import Sandbox
from tagger.processes.metrics import BATCH_FILL, stage_timer

log = logging.getLogger(__name__)

# How long closing waits for a forward pass to end.
CLOSE_S = 5.0
# How long the model may wait for photos before it releases memory.
IDLE_S = 10.0
_NOT_FINITE = PhotoFailure(
    FailureKind.INTERNAL,
    "the model's scores for this photo are not numbers; try another model, or TAGGER_DEVICE=cpu",
)


# The scores and the embedding that a model returns for an image.
Output = tuple[Scores, Embeddings | None]


class Pipeline:
    """Runs `models`, by their ids, from construction until `close`.

    With a `sandbox`, which the caller closes, photos are decoded there, or only RAW photos to develop.
    """

    def __init__(
        self,
        models: Mapping[int, Model],
        limits: Limits,
        sandbox: Sandbox | None = None,
        *,
        only_develops: bool = False,
    ) -> None:
        self._models = models
        self._ids = {model: model_id for model_id, model in models.items()}
        at_once = min(model.at_once for model in models.values())
        self._buffers = PipelineBuffers(
            (1 + at_once) * self._batch_size, limits.readers
        )
        timed_threads: Collection[int] = (
            frozenset() if sandbox is None else sandbox.threads
        )
        open_photo = photo_opener(limits, sandbox, only_develops=only_develops)
        self._resizes = {
            key: model.manifest.input.resize for key, model in models.items()
        }
        self._readers = ReaderPool(
            open_photo, limits, self._buffers, self._resizes, timed_threads
        )
        self._threads = [
            threading.Thread(target=self._classify_batches, name="model", daemon=True)
            for _ in range(at_once)
        ]
        for thread in self._threads:
            thread.start()

    def submit(
        self, request: Request, give_up: Callable[[], bool] = lambda: False
    ) -> bool:
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

    @property
    def _batch_size(self) -> int:
        # That of the model with the largest one; the others split such batches.
        return max(model.batch_size for model in self._models.values())

    # --- A model thread ---

    def _classify_batches(self) -> None:
        while batch := self._next_batch():
            try:
                BATCH_FILL.observe(len(batch) / self._batch_size)
                self._classify(batch)
            except Exception as error:
                # The thread goes on: without it, every chunk would wait.
                log.exception(
                    "unexpected error while classifying a batch of %d", len(batch)
                )
                self._fail_sinks(batch, error)

    def _next_batch(self) -> Mapping[ImageKey, Images]:
        if not self._buffers.wait_for_photos(IDLE_S):
            try:
                for model in self._models.values():
                    model.free_memory()
            except Exception:
                log.exception("the engine could not release memory")
        return self._buffers.next_batch(self._batch_size)

    def _classify(self, batch: Mapping[ImageKey, Images]) -> None:
        try:
            outputs = self._predict(batch)
        except Exception as error:
            log.exception("the model failed on a batch of %d", len(batch))
            self._classify_one_by_one(batch, error)
        else:
            self._deliver(batch, outputs)

    def _predict(
        self, batch: Mapping[ImageKey, Images]
    ) -> Mapping[ImageKey, Mapping[int, Output]]:
        # The outputs of the models of each image, by their ids.
        found: dict[ImageKey, dict[int, Output]] = {key: {} for key in batch}
        for model_id, model in self._models.items():
            own = {
                key: images[self._resizes[model_id]]
                for key, images in batch.items()
                if model_id in key[1] and model_id not in found[key]
            }
            if not own:
                continue
            with stage_timer("model"):
                outputs = model.predict_all([image.pixels for image in own.values()])
            for each, its_outputs in outputs.items():
                its_id = self._ids.get(each)
                for key, output in zip(own, its_outputs.rows(), strict=True):
                    if its_id in key[1]:
                        found[key][its_id] = output
        return found

    def _classify_one_by_one(
        self, batch: Mapping[ImageKey, Images], error: Exception
    ) -> None:
        # Find the photos on which a model fails. If it fails on all or a blank image, it is at fault.
        blank = self._predict_or_error(
            ("", tuple(self._models)), _blank(self._resizes.values())
        )
        outcomes = [
            self._predict_or_error(key, images) for key, images in batch.items()
        ]
        is_out_of_memory = any(
            isinstance(outcome, OutOfDeviceMemory) for outcome in outcomes
        )
        all_fail = len(batch) > 1 and all(
            isinstance(outcome, Exception) for outcome in outcomes
        )
        if is_out_of_memory or isinstance(blank, Exception) or all_fail:
            self._fail_sinks(batch, error)
            return
        for (key, images), outcome in zip(batch.items(), outcomes, strict=True):
            if isinstance(outcome, Exception):
                text = f"the model fails on this photo: {last_line(outcome)}"
                failure = PhotoFailure(FailureKind.INTERNAL, text)
                for request in self._buffers.take_waiters(key):
                    deliver(request.sink, [(request, request.failed(failure))])
            else:
                self._deliver({key: images}, outcome)

    def _predict_or_error(
        self, key: ImageKey, images: Images
    ) -> Mapping[ImageKey, Mapping[int, Output]] | Exception:
        try:
            return self._predict({key: images})
        except Exception as error:  # noqa: BLE001 - the caller decides what is at fault
            return error

    def _deliver(
        self,
        batch: Mapping[ImageKey, Images],
        outputs: Mapping[ImageKey, Mapping[int, Output]],
    ) -> None:
        results: dict[ResultSink, list[RequestResult]] = {}
        for key, images in batch.items():
            for request in self._buffers.take_waiters(key):
                image = next(iter(images.values()))
                try:
                    result = _result(key[0], request, image, outputs[key])
                except Exception as error:
                    log.exception("unexpected error in the result of a photo")
                    result = request.failed(internal_failure(error))
                results.setdefault(request.sink, []).append((request, result))
        for sink, sink_results in results.items():
            deliver(sink, sink_results)

    def _fail_sinks(self, keys: Iterable[ImageKey], error: Exception) -> None:
        requests = [
            request for key in keys for request in self._buffers.take_waiters(key)
        ]
        for sink in {request.sink for request in requests}:
            fail_sink(sink, error)


def photo_opener(
    limits: Limits, sandbox: Sandbox | None, *, only_develops: bool
) -> Opener:
    if sandbox is not None and not only_develops:
        return sandbox.open
    develop = None if sandbox is None else sandbox.decode
    return lambda photo: open_bytes(photo, limits, develop)


def _blank(resizes: Iterable[Resize]) -> Images:
    shapes = {resize: (resize.size, resize.size, 3) for resize in resizes}
    return {
        resize: DecodedImage(np.zeros(shape, np.uint8), *shape[:2])
        for resize, shape in shapes.items()
    }


def _result(
    digest: str, request: Request, image: DecodedImage, outputs: Mapping[int, Output]
) -> Result:
    arrays = (
        each for output in outputs.values() for each in output if each is not None
    )
    if not all(map(has_finite_length, arrays)):
        return request.failed(_NOT_FINITE)
    sink = request.sink
    results = {
        model_id: ModelResult(
            best_predictions(
                scores,
                sink.top_k,
                sink.thresholds[model_id],
                is_damaged=image.is_damaged,
            ),
            None if image.is_damaged else embedding,
        )
        for model_id, (scores, embedding) in outputs.items()
    }
    return Classified(
        digest,
        request.version,
        request.facts,
        image.width,
        image.height,
        results,
        image.is_damaged,
        _colours(image.pixels),
    )


def _colours(pixels: Pixels) -> bytes:
    # The mean colours of the nine parts of a square image, row by row, of every eighth pixel each way.
    side = len(pixels) // 3
    parts = pixels[: 3 * side, : 3 * side].reshape(3, side, 3, side, 3)[:, ::8, :, ::8]
    samples = parts.transpose(0, 2, 4, 1, 3).reshape(27, -1)
    colours: Pixels = (samples.sum(1, dtype=np.uint32) // samples.shape[1]).astype(
        np.uint8
    )
    return colours.tobytes()
