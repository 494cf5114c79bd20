"""Requests in, decoded pictures out: threads that read and decode, and what is in hand between them and the model.

A read that hangs is given up and its thread replaced, up to a bound. Copies of one picture that are in hand at once
are decoded once. Knows nothing of batches or models.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure, ReadsHang
from tagger.images import DecodedImage
from tagger.images.memory import ROOM
from tagger.images.plain_jpeg import PlainJpeg
from tagger.metadata.camera import CameraFacts
from tagger.metrics import READS_HUNG
from tagger.photos.reading import stored_time_ns
from tagger.reading import Limits, OpenPhoto, Reader, Request, Sink, timed_out_text, unforeseen
from tagger.results import Failed, FileState, Known, Result, Unchanged

log = logging.getLogger(__name__)

LINGER_S = 0.05
"""How long a batch that is not full waits for more when nothing is being read."""
PATIENCE_S = 1.0
"""How long it waits for photos that are being read; slow reading must not hold up what is ready."""
WATCH_S = 1.0
"""How often reads that hang are looked for."""
MOST_HUNG = 8
"""Threads stuck in a read that are replaced; a disk on which more hang does not answer at all."""
ENCODED_BYTES = 160 * 2**20
"""JPEGs that wait for the device to decode them. As many may be in the hands of each thread that runs the model."""
CLOSE_S = 15.0
"""How long closing waits for threads that are amid a read."""
SLOW_READ_S = 0.02
MOST_AHEAD = 8
"""Readers besides the usual ones, for disks and shares that take their time over each file and serve many at once."""


@dataclass(eq=False)
class _Reading:
    """A request in a reader's hands. Whoever settles it answers: the reader that is done, or the watch that gave up."""

    request: Request
    thread: threading.Thread = field(default_factory=threading.current_thread)
    began: float = field(default_factory=time.monotonic)
    settled: bool = False
    given_up: bool = False
    waits_for_bytes: bool = True
    leads: str | None = None
    """The digest it decodes, for all copies in hand."""


@dataclass(frozen=True)
class Rider:
    """A request whose bytes were read; copies of one picture that are in hand at once ride on one look."""

    request: Request
    file: FileState
    facts: CameraFacts


@dataclass(frozen=True)
class Readied:
    """A decoded picture that waits for its batch."""

    digest: str
    image: DecodedImage


@dataclass(frozen=True)
class HandedOver:
    """A picture that waits for its batch as it stands in its file; `decode` is for a device that cannot decode it."""

    digest: str
    plain: PlainJpeg
    decode: Callable[[], DecodedImage]


Waiting = Readied | HandedOver


class Readers:
    """Run from their making until `close`; at most `room` photos wait to be read, and as many for the model."""

    def __init__(self, reader: Reader, limits: Limits, room: int) -> None:
        self._reader = reader
        self._limits = limits
        self._room = room
        self._lock = threading.RLock()  # guards all that follows
        # Each wakes those only who can go on: a thread woken in vain costs as much as a small photo's digest.
        self._submittable = threading.Condition(self._lock)
        self._readable = threading.Condition(self._lock)
        self._batchable = threading.Condition(self._lock)
        self._full = 1
        self._waiting: deque[Request] = deque()
        self._readings: set[_Reading] = set()
        self._readied: deque[Waiting] = deque()
        self._encoded_bytes = 0
        """Of those that were handed over, in `_readied`."""
        self._riders: dict[str, list[Rider]] = {}
        self._hung = 0
        self._ahead = 0
        self._closed = False
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        for work in [self._read_photos] * limits.readers + [self._watch]:
            self._start(work)

    def submit(self, request: Request, give_up: Callable[[], bool] = lambda: False) -> bool:
        """Take a photo in hand; waits while there is enough waiting. False where `give_up` came first.

        Raises:
            ReadsHang: so many reads hang that no photo is read any more.
        """
        with self._lock:
            while not (self._closed or self._is_stuck() or len(self._waiting) < self._room):
                if give_up():
                    return False
                self._submittable.wait(WATCH_S)
            if self._closed:
                raise RuntimeError("the pipeline is closed")
            if self._is_stuck():
                raise self._reads_hang()
            self._waiting.append(request)
            self._readable.notify()
            return True

    def withdraw(self, sink: Sink) -> list[Request]:
        """Take back what this sink submitted and nobody has begun to read."""
        with self._lock:
            withdrawn = [request for request in self._waiting if request.sink is sink]
            self._waiting = deque(request for request in self._waiting if request.sink is not sink)
            self._submittable.notify_all()
            self._tell_batches()
        return withdrawn

    def next_batch(self, full: int) -> list[Waiting]:
        """The next pictures, `full` of them if more are on their way and there is room for them; empty when closed."""
        batch: list[Waiting] = []
        with self._lock:
            self._full = full
            while not (batch or self._closed):  # somebody else may have taken what was waited for
                self._batchable.wait_for(lambda: self._closed or self._readied)
                self._batchable.wait_for(self._is_batch_there, timeout=PATIENCE_S)
                if not (self._is_full() or self._closed):
                    self._batchable.wait_for(self._is_full, timeout=LINGER_S)
                batch = [self._readied.popleft() for _ in range(min(full, len(self._readied)))]
                self._encoded_bytes -= sum(map(_encoded_bytes, batch))
            self._readable.notify(len(batch))
        return batch

    def _is_batch_there(self) -> bool:
        return self._is_full() or self._is_idle()

    def _is_full(self) -> bool:
        return len(self._readied) >= self._full or self._encoded_bytes >= ENCODED_BYTES

    def _tell_batches(self) -> None:
        """Wake who waits for a batch, if there is something to do: the first picture, a full batch, or the last of all."""
        if self._is_idle():
            self._batchable.notify_all()
        elif self._readied and (len(self._readied) == 1 or self._is_full()):
            self._batchable.notify()

    def take_riders(self, digest: str) -> list[Rider]:
        """All whom the look at this picture is for."""
        with self._lock:
            return self._riders.pop(digest, [])

    def close(self) -> None:
        """Let the threads end; whoever still waits for results is told that they will not come."""
        with self._lock:
            self._closed = True
            self._tell_all()
        self._closing.set()
        until = time.monotonic() + CLOSE_S
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def break_all(self, error: Exception) -> None:
        """Tell everybody who waits for results that they will not come."""
        with self._lock:
            riders = [rider.request for riding in self._riders.values() for rider in riding]
            readings = [reading.request for reading in self._readings]
            sinks = {request.sink for request in [*self._waiting, *readings, *riders]}
            self._waiting.clear()
            self._riders.clear()
            self._tell_all()
        for sink in sinks:
            sink.broken(error)

    def _read_photos(self) -> None:
        while (reading := self._next_reading()) is not None:
            try:
                self._read(reading)
            except PhotoFailed as failed:
                self._answer(reading, Failed(failed.failure))
            except Exception as error:
                log.exception("reading a photo failed in a way that nobody foresaw")
                self._answer(reading, Failed(unforeseen(error)))
            if reading.given_up:
                self._come_back()
                return
            if self._is_superfluous():
                return

    def _next_reading(self) -> _Reading | None:
        with self._lock:
            self._readable.wait_for(lambda: self._closed or (self._waiting and self._has_room()))
            if self._closed:
                return None
            reading = _Reading(self._waiting.popleft())
            self._readings.add(reading)
            self._submittable.notify()
            return reading

    def _has_room(self) -> bool:
        in_hand = len(self._readied) + len(self._readings)
        most = self._room + self._limits.readers + self._ahead
        return in_hand < most and self._encoded_bytes < ENCODED_BYTES

    def _read(self, reading: _Reading) -> None:
        request = reading.request
        if request.looked is not None and _state_of(request.path) == request.looked:
            self._answer(reading, Unchanged())
            return
        photo = (request.reader or self._reader)(request.path)
        reading.waits_for_bytes = False
        with self._not_counted(reading):
            is_known = request.sink.is_known(photo.digest)
        if is_known:
            self._answer(reading, Known(photo.digest, photo.file, photo.facts))
        elif self._leads(reading, photo):
            self._decode(reading, photo)

    @contextmanager
    def _not_counted(self, reading: _Reading) -> Iterator[None]:
        """A database that lets a reader wait is no photo that hangs."""
        reading.began = math.inf
        try:
            yield
        finally:
            reading.began = time.monotonic()

    def _leads(self, reading: _Reading, photo: OpenPhoto) -> bool:
        """Whether this is the only copy in hand, which is to be decoded; otherwise it rides along."""
        with self._lock:
            if reading.settled:
                return False
            riders = self._riders.setdefault(photo.digest, [])
            riders.append(Rider(reading.request, photo.file, photo.facts))
            if len(riders) > 1:
                self._settles(reading)
                return False
            reading.leads = photo.digest
            return True

    def _decode(self, reading: _Reading, photo: OpenPhoto) -> None:
        if photo.plain is not None:
            self._settles(reading, HandedOver(photo.digest, photo.plain, photo.decode))
            return
        try:
            image = photo.decode()
        except PhotoFailed as failed:
            self._fail(reading, failed.failure)
        except Exception as error:
            log.exception("decoding a photo failed in a way that nobody foresaw")
            self._fail(reading, unforeseen(error))
        else:
            self._settles(reading, Readied(photo.digest, image))

    def _answer(self, reading: _Reading, result: Result) -> None:
        if self._settles(reading):
            reading.request.sink.deliver([(reading.request, result)])

    def _fail(self, reading: _Reading, failure: PhotoFailure) -> None:
        """Fail a request, and the copies that ride on it."""
        with self._lock:
            if not self._settles(reading):
                return
            digest = reading.leads
            riders = self._riders.pop(digest, []) if digest is not None else []
        for rider in riders:
            rider.request.sink.deliver([(rider.request, Failed(failure, digest, rider.file))])
        if digest is None:
            reading.request.sink.deliver([(reading.request, Failed(failure))])

    def _settles(self, reading: _Reading, readied: Waiting | None = None) -> bool:
        """Whether nobody else has answered; from now on nobody else will. What is readied goes to the next batch."""
        with self._lock:
            first, reading.settled = not reading.settled, True
            if first:
                self._readings.discard(reading)
                if readied is not None:
                    self._readied.append(readied)
                    self._encoded_bytes += _encoded_bytes(readied)
                else:
                    self._readable.notify()  # the room that was kept for it is free
                self._tell_batches()
            return first

    # ── reads that are slow ──

    def _read_ahead(self) -> None:
        """One reader more, where the model waits for photos and the readers for their disk."""
        with self._lock:
            starved = bool(self._waiting) and len(self._readied) < self._full
            began = time.monotonic() - SLOW_READ_S
            slow = sum(reading.waits_for_bytes and reading.began < began for reading in self._readings)
            if starved and 2 * slow > len(self._readings) and self._ahead < MOST_AHEAD and not self._closed:
                self._ahead += 1
                self._start(self._read_photos)

    def _is_superfluous(self) -> bool:
        """Whether this is a reader more than there should be: reading has caught up. Then it is counted out."""
        with self._lock:
            if not self._ahead or len(self._readied) < self._full:
                return False
            self._ahead -= 1
            self._threads.remove(threading.current_thread())
            return True

    # ── reads that hang ──

    def _watch(self) -> None:
        pause_s = min(WATCH_S, self._limits.timeout_s / 4)
        seen = time.monotonic()
        while not self._closed:
            stood_still_s = time.monotonic() - seen - pause_s  # this whole process: stopped, or starved
            for reading in self._hanging(max(0.0, stood_still_s)):
                self._give_up(reading)
            self._read_ahead()
            seen = time.monotonic()
            self._closing.wait(pause_s)

    def _hanging(self, stood_still_s: float) -> list[_Reading]:
        """Reads that take too long, by time in which this process ran and they did not wait for others."""
        now = time.monotonic()
        with self._lock:
            for reading in self._readings:
                waits = reading.thread.ident in ROOM.waiting
                reading.began = now if waits else reading.began + stood_still_s
            here = [reading for reading in self._readings if reading.request.reader is None]
            return [reading for reading in here if now - reading.began > self._limits.timeout_s]

    def _give_up(self, reading: _Reading) -> None:
        """Answer in place of a reader that hangs, and let another thread take its place."""
        with self._lock:
            if reading.settled:
                return
            reading.given_up = True
            self._threads.remove(reading.thread)  # closing does not wait for it
            self._hung += 1
            READS_HUNG.inc()
            log.warning("a read hangs and was given up; so do %d threads now", self._hung)
            self._fail(reading, PhotoFailure(FailureKind.TIMED_OUT, timed_out_text(self._limits.timeout_s)))
            if self._is_stuck():
                self.break_all(self._reads_hang())
                return
            self._start(self._read_photos)

    def _start(self, work: Callable[[], None]) -> None:
        # A daemon: a thread that hangs in the kernel must not keep the process from ending.
        thread = threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _come_back(self) -> None:
        with self._lock:
            self._hung -= 1
            READS_HUNG.dec()

    def _tell_all(self) -> None:
        for condition in (self._submittable, self._readable, self._batchable):
            condition.notify_all()

    def _is_idle(self) -> bool:
        return self._closed or not (self._waiting or self._readings)

    def _is_stuck(self) -> bool:
        return self._hung > MOST_HUNG

    def _reads_hang(self) -> ReadsHang:
        return ReadsHang(count=self._hung, timeout_s=self._limits.timeout_s)


def _encoded_bytes(waiting: Waiting) -> int:
    return len(waiting.plain.data) if isinstance(waiting, HandedOver) else 0


def _state_of(path: Path) -> FileState | None:
    try:
        status = path.stat()
    except OSError:
        return None  # reading it will say what is wrong
    return FileState(status.st_size, stored_time_ns(status))
