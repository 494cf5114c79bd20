"""Photos in, results out: reader threads → bounded queue → batches → model.

Readers decode; where the device does it faster, they hand plain JPEGs over as they are, and a batch is decoded at once.

Requests of several chunks share one pipeline, so that small jobs do not run small batches. Every stage is bounded:
`submit` blocks while enough is in hand. Knows nothing of jobs or SQL; whoever submits is told results in batches.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.images import DecodedImage, Pixels
from tagger.images.plain_jpeg import PlainJpeg
from tagger.in_hand import HandedOver, InHand, Readied, Rider, Waiting
from tagger.metrics import BATCH_FILL, staged
from tagger.model import Model, OutOfDeviceMemory, top_k
from tagger.readers import Readers
from tagger.reading import Answer, Limits, Request, Sink, reader_here, unforeseen
from tagger.results import Failed, Looked, Result
from tagger.runners import Scores

log = logging.getLogger(__name__)

CLOSE_S = 15.0
"""How long closing waits for a forward pass to end."""


class Pipeline:
    """Runs from its making until `close`."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self._model = model
        decoder = model.decoder
        hands_over = (lambda: decoder.works) if decoder is not None else (lambda: False)
        reader = reader_here(model.manifest.input.resize, limits, hands_over)
        self._in_hand = InHand(room=(1 + model.at_once) * model.batch_size, readers=limits.readers)
        self._readers = Readers(reader, limits, self._in_hand)
        self._threads = [
            threading.Thread(target=self._look_at_batches, name="model", daemon=True)
            for _ in range(model.at_once)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Take a photo in hand; waits while there is enough waiting. False where `give_up` came first.

        Raises:
            ReadsHang: so many reads hang that no photo is read any more.
        """
        return self._in_hand.submit(request, give_up)

    def withdraw(self, sink: Sink) -> list[Request]:
        """Take back what this sink submitted and nobody has begun to read."""
        return self._in_hand.withdraw(sink)

    def close(self) -> None:
        """Let the threads end; whoever still waits for results is told that they will not come."""
        self._readers.close()
        until = time.monotonic() + CLOSE_S
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._in_hand.break_all(RuntimeError("the pipeline was closed"))

    def _look_at_batches(self) -> None:
        while waiting := self._in_hand.next_batch(self._model.batch_size):
            BATCH_FILL.observe(len(waiting) / self._model.batch_size)
            if batch := self._decoded(waiting):
                self._look(batch)

    def _look(self, batch: Sequence[Readied]) -> None:
        try:
            scores = self._scores([readied.image.pixels for readied in batch])
        except Exception as error:
            log.exception("the model failed on a batch of %d", len(batch))
            self._look_one_by_one(batch, error)
        else:
            self._deliver(batch, scores)

    def _decoded(self, batch: Sequence[Waiting]) -> list[Readied]:
        """The batch with what was handed over decoded, on the device or, where that cannot, here; less what failed."""
        images = iter(self._on_device([each.plain for each in batch if isinstance(each, HandedOver)]))
        readied = [
            self._readied(each, next(images)) if isinstance(each, HandedOver) else each for each in batch
        ]
        return [each for each in readied if each is not None]

    def _on_device(self, photos: Sequence[PlainJpeg]) -> list[Pixels | None]:
        decoder = self._model.decoder
        if decoder is None or not photos:
            return []
        try:
            with staged("decode"):
                return decoder.decode(photos)
        except Exception:
            log.exception("the device failed to decode %d JPEGs; the cores do", len(photos))
            return [None] * len(photos)

    def _readied(self, photo: HandedOver, pixels: Pixels | None) -> Readied | None:
        """None where the photo fails, which is then told."""
        try:
            image = photo.decode() if pixels is None else _image(photo.plain, pixels)
        except PhotoFailed as failed:
            self._fail(photo, failed.failure)
        except Exception as error:
            log.exception("decoding a photo failed in a way that nobody foresaw")
            self._fail(photo, unforeseen(error))
        else:
            return Readied(photo.digest, image)
        return None

    def _scores(self, images: Sequence[Pixels]) -> Scores:
        with staged("model"):
            scores = self._model.scores(images)
        expected = (len(images), len(self._model.manifest.labels))
        if scores.shape != expected:
            raise ValueError(f"it gave scores of shape {scores.shape} instead of {expected}")
        return scores

    def _look_one_by_one(self, batch: Sequence[Readied], error: Exception) -> None:
        """Find the photos the model fails on, which fail alone; if it fails on all of them, or on nothing, it is the model."""
        size = self._model.manifest.input.resize.size
        nothing = np.zeros((size, size, 3), dtype=np.uint8)
        blank = self._scores_or_trouble(nothing)
        alone = [self._scores_or_trouble(readied.image.pixels) for readied in batch]
        no_memory = any(isinstance(each, OutOfDeviceMemory) for each in alone)
        if (
            no_memory
            or isinstance(blank, Exception)
            or (len(batch) > 1 and all(isinstance(each, Exception) for each in alone))
        ):
            self._break(batch, error)
            return
        for readied, scores in zip(batch, alone, strict=True):
            if isinstance(scores, Exception):
                text = f"the model fails on this photo: {_cause(scores)}"
                self._fail(readied, PhotoFailure(FailureKind.INTERNAL, text))
            else:
                self._deliver([readied], scores)

    def _scores_or_trouble(self, pixels: Pixels) -> Scores | Exception:
        try:
            return self._scores([pixels])
        except Exception as trouble:  # noqa: BLE001 - whatever the model does is told to whom it concerns
            return trouble

    def _deliver(self, batch: Sequence[Readied], scores: Scores) -> None:
        answers: dict[Sink, list[Answer]] = {}
        for readied, row in zip(batch, scores, strict=True):
            for rider in self._in_hand.take_riders(readied.digest):
                looked = _looked(readied, rider, row)
                answers.setdefault(rider.request.sink, []).append((rider.request, looked))
        for sink, its_answers in answers.items():
            sink.deliver(its_answers)

    def _fail(self, readied: Waiting, failure: PhotoFailure) -> None:
        for rider in self._in_hand.take_riders(readied.digest):
            failed = Failed(failure, readied.digest, rider.file)
            rider.request.sink.deliver([(rider.request, failed)])

    def _break(self, batch: Sequence[Readied], error: Exception) -> None:
        sinks = {
            rider.request.sink for readied in batch for rider in self._in_hand.take_riders(readied.digest)
        }
        for sink in sinks:
            sink.broken(error)


def _image(photo: PlainJpeg, pixels: Pixels) -> DecodedImage:
    return DecodedImage(pixels, photo.width, photo.height)


def _looked(readied: Readied, rider: Rider, scores: Scores) -> Result:
    if not np.isfinite(scores).all():
        return Failed(_NO_NUMBERS, readied.digest, rider.file)
    sink = rider.request.sink
    predictions = top_k(scores, sink.top_k, sink.threshold)
    return Looked(
        readied.digest, rider.file, rider.facts, readied.image.width, readied.image.height, predictions
    )


_NO_NUMBERS = PhotoFailure(
    FailureKind.INTERNAL,
    "the model's scores for this photo are not numbers; try another model, or TAGGER_DEVICE=cpu",
)


def _cause(error: Exception) -> str:
    """The last line of what torch says is the cause; the lines before show TorchScript's own stack."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1]
