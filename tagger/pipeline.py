"""Photos in, results out: reader threads → bounded queue → batches → model.

Requests of several chunks share one pipeline, so that small jobs do not run small batches. Every stage is bounded:
`submit` blocks while enough is in hand. Knows nothing of jobs or SQL; whoever submits is told results in batches.
"""

import logging
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure
from tagger.images import DecodedImage, decode_photo
from tagger.metadata.camera import CameraFacts, camera_facts
from tagger.model import Model, Scores, top_k
from tagger.photos import PhotoBytes, digest_photo, read_photo
from tagger.photos.reading import stored_time_ns
from tagger.results import Failed, FileState, Known, Looked, Result, Unchanged

log = logging.getLogger(__name__)

LINGER_S = 0.05
"""How long a batch that is not full waits for more when nothing is being read."""
PATIENCE_S = 1.0
"""How long it waits for photos that are being read; slow reading must not hold up what is ready."""

Answer = tuple["Request", Result]


class Sink(Protocol):
    """Whoever submits requests. All methods are called from the pipeline's threads."""

    @property
    def top_k(self) -> int: ...
    @property
    def threshold(self) -> float: ...

    def is_known(self, digest: str) -> bool:
        """Whether this picture needs no second look."""
        ...

    def deliver(self, answers: Sequence[Answer]) -> None:
        """Take results; must not block for long."""
        ...

    def broken(self, error: Exception) -> None:
        """The model failed as a whole; what was submitted and not delivered will not come."""
        ...


@dataclass(frozen=True, eq=False)
class Request:
    """A photo to look at. `looked`: the file as it was when the same look was taken before; if it still is, it is not read."""

    path: Path
    sink: Sink
    looked: FileState | None = None


@dataclass(frozen=True)
class Limits:
    """`readers` threads read and decode; no file over `max_bytes` is read, no image over `max_pixels` decoded."""

    readers: int
    max_bytes: int
    max_pixels: int


@dataclass(frozen=True)
class _Rider:
    """A request whose bytes were read; copies of one picture that are in hand at once ride on one look."""

    request: Request
    file: FileState
    facts: CameraFacts


@dataclass(frozen=True)
class _Readied:
    """A decoded picture that waits for its batch."""

    digest: str
    image: DecodedImage


class Pipeline:
    """Runs from its making until `close`."""

    def __init__(self, model: Model, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        self._changed = threading.Condition()  # guards all that follows
        self._waiting: deque[Request] = deque()
        self._reading = 0
        self._readied: deque[_Readied] = deque()
        self._riders: dict[str, list[_Rider]] = {}
        self._closed = False
        workers = [self._read_photos] * limits.readers + [self._look_at_batches]
        self._threads = [threading.Thread(target=work, name=work.__name__, daemon=True) for work in workers]
        for thread in self._threads:
            thread.start()

    def submit(self, request: Request) -> None:
        """Take a photo in hand; blocks while there is enough waiting."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._waiting) < 2 * self._model.batch_size)
            if self._closed:
                raise RuntimeError("the pipeline is closed")
            self._waiting.append(request)
            self._changed.notify_all()

    def withdraw(self, sink: Sink) -> list[Request]:
        """Take back what this sink submitted and nobody has begun to read."""
        with self._changed:
            withdrawn = [request for request in self._waiting if request.sink is sink]
            self._waiting = deque(request for request in self._waiting if request.sink is not sink)
            self._changed.notify_all()
        return withdrawn

    def close(self) -> None:
        """Let the threads end; whoever still waits for results is told that they will not come."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        riders = [rider.request for riding in self._riders.values() for rider in riding]
        for sink in {request.sink for request in [*self._waiting, *riders]}:
            sink.broken(RuntimeError("the pipeline was closed"))
        self._waiting.clear()
        self._riders.clear()

    # ── readers ──

    def _read_photos(self) -> None:
        while (request := self._next_request()) is not None:
            try:
                self._read(request)
            except PhotoFailed as failed:
                request.sink.deliver([(request, Failed(failed.failure))])
            except Exception as error:
                log.exception("reading a photo failed in a way that nobody foresaw")
                request.sink.deliver([(request, Failed(_unforeseen(error)))])
            finally:
                with self._changed:
                    self._reading -= 1
                    self._changed.notify_all()

    def _next_request(self) -> Request | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or (self._waiting and self._has_room()))
            if self._closed:
                return None
            self._reading += 1
            request = self._waiting.popleft()
            self._changed.notify_all()
            return request

    def _has_room(self) -> bool:
        return len(self._readied) + self._reading < 2 * self._model.batch_size + self._limits.readers

    def _read(self, request: Request) -> None:
        if request.looked is not None and _state_of(request.path) == request.looked:
            request.sink.deliver([(request, Unchanged())])
            return
        photo = read_photo(request.path, max_bytes=self._limits.max_bytes)
        digest = digest_photo(photo.data)
        rider = _Rider(request, FileState(photo.size_bytes, photo.mtime_ns), camera_facts(photo.data))
        if request.sink.is_known(digest):
            request.sink.deliver([(request, Known(digest, rider.file, rider.facts))])
        elif self._leads(digest, rider):
            self._decode(digest, photo)

    def _leads(self, digest: str, rider: _Rider) -> bool:
        """Whether this is the only copy in hand, which is to be decoded; otherwise it rides along."""
        with self._changed:
            riders = self._riders.setdefault(digest, [])
            riders.append(rider)
            return len(riders) == 1

    def _decode(self, digest: str, photo: PhotoBytes) -> None:
        try:
            resize = self._model.manifest.input.resize
            image = decode_photo(photo.data, resize, max_pixels=self._limits.max_pixels)
        except PhotoFailed as failed:
            self._fail(digest, failed.failure)
        except Exception as error:
            log.exception("decoding a photo failed in a way that nobody foresaw")
            self._fail(digest, _unforeseen(error))
        else:
            with self._changed:
                self._readied.append(_Readied(digest, image))

    def _fail(self, digest: str, failure: PhotoFailure) -> None:
        for rider in self._take_riders(digest):
            rider.request.sink.deliver([(rider.request, Failed(failure, digest, rider.file))])

    def _take_riders(self, digest: str) -> list[_Rider]:
        with self._changed:
            return self._riders.pop(digest)

    # ── the model's thread ──

    def _look_at_batches(self) -> None:
        while batch := self._next_batch():
            try:
                scores = self._model.scores([readied.image.pixels for readied in batch])
                _check_shape(scores, len(batch), len(self._model.manifest.labels))
            except Exception as error:
                log.exception("the model failed on a batch of %d", len(batch))
                self._break(batch, error)
            else:
                self._deliver(batch, scores)

    def _next_batch(self) -> list[_Readied]:
        """The next images, a full batch if more are on their way; empty when the pipeline is closed."""
        full = self._model.batch_size
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._readied)
            self._changed.wait_for(lambda: len(self._readied) >= full or self._is_idle(), timeout=PATIENCE_S)
            if len(self._readied) < full and not self._closed:
                self._changed.wait_for(lambda: len(self._readied) >= full, timeout=LINGER_S)
            batch = [self._readied.popleft() for _ in range(min(full, len(self._readied)))]
            self._changed.notify_all()
        return batch

    def _is_idle(self) -> bool:
        return self._closed or (not self._waiting and self._reading == 0)

    def _deliver(self, batch: Sequence[_Readied], scores: Scores) -> None:
        answers: dict[Sink, list[Answer]] = {}
        for readied, row in zip(batch, scores, strict=True):
            for rider in self._take_riders(readied.digest):
                looked = _looked(readied, rider, row)
                answers.setdefault(rider.request.sink, []).append((rider.request, looked))
        for sink, its_answers in answers.items():
            sink.deliver(its_answers)

    def _break(self, batch: Sequence[_Readied], error: Exception) -> None:
        sinks = {rider.request.sink for readied in batch for rider in self._take_riders(readied.digest)}
        for sink in sinks:
            sink.broken(error)


def _check_shape(scores: Scores, images: int, labels: int) -> None:
    if scores.shape != (images, labels):
        raise ValueError(f"it gave scores of shape {scores.shape} for {images} images and {labels} labels")


def _looked(readied: _Readied, rider: _Rider, scores: Scores) -> Result:
    if not np.isfinite(scores).all():
        return Failed(_NO_NUMBERS, readied.digest, rider.file)
    sink = rider.request.sink
    predictions = top_k(scores, sink.top_k, sink.threshold)
    return Looked(
        readied.digest, rider.file, rider.facts, readied.image.width, readied.image.height, predictions
    )


def _state_of(path: Path) -> FileState | None:
    try:
        status = path.stat()
    except OSError:
        return None  # reading it will say what is wrong
    return FileState(status.st_size, stored_time_ns(status))


_NO_NUMBERS = PhotoFailure(
    FailureKind.INTERNAL,
    "the model's scores for this photo are not numbers; try another model, or TAGGER_DEVICE=cpu",
)


def _unforeseen(error: Exception) -> PhotoFailure:
    text = f"an error in this program ({type(error).__name__}: {error}); please report it, with the photo if you can"
    return PhotoFailure(FailureKind.INTERNAL, text)
