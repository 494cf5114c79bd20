"""What is in hand between submission and the model: requests that wait, reads, and pictures that are ready.

Every stage is bounded. Copies of one picture that are in hand at once are decoded once. Knows nothing of how photos are
read (see readers).
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from tagger.errors import ReadsHang
from tagger.images import DecodedImage
from tagger.images.plain_jpeg import PlainJpeg
from tagger.metadata.camera import CameraFacts
from tagger.reading import OpenPhoto, Request, Sink
from tagger.results import FileState

LINGER_S = 0.05
"""How long a batch that is not full waits for more when nothing is being read."""
PATIENCE_S = 1.0
"""How long it waits for photos that are being read; slow reading must not hold up what is ready."""
LOOK_AGAIN_S = 1.0
"""How often whoever waits to submit looks whether to give up."""
ENCODED_BYTES = 160 * 2**20
"""JPEGs that wait for the device to decode them. As many may be in the hands of each thread that runs the model."""


@dataclass(eq=False)
class Reading:
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


class InHand:
    """At most `room` photos wait to be read, and as many for the model; `readers` more are being read.

    `lock` guards all of it, and what its owner keeps in step with it.
    """

    def __init__(self, room: int, readers: int) -> None:
        self.lock = threading.RLock()
        # Each wakes those only who can go on: a thread woken in vain costs as much as a small photo's digest.
        self._submittable = threading.Condition(self.lock)
        self._readable = threading.Condition(self.lock)
        self._batchable = threading.Condition(self.lock)
        self._room = room
        self._full = 1
        self.readers = readers
        self.waiting: deque[Request] = deque()
        self.readings: set[Reading] = set()
        self.readied: deque[Waiting] = deque()
        self.riders: dict[str, list[Rider]] = {}
        self._encoded_bytes = 0
        """Of those that were handed over, in `readied`."""
        self.trouble: ReadsHang | None = None
        """Why nothing can be read any more."""
        self.closed = False

    def submit(self, request: Request, give_up: Callable[[], bool]) -> bool:
        """Take a photo in hand; waits while there is enough waiting. False where `give_up` came first.

        Raises:
            ReadsHang: so many reads hang that no photo is read any more.
        """
        with self.lock:
            while not (self.closed or self.trouble or len(self.waiting) < self._room):
                if give_up():
                    return False
                self._submittable.wait(LOOK_AGAIN_S)
            if self.closed:
                raise RuntimeError("the pipeline is closed")
            if self.trouble:
                raise ReadsHang(**self.trouble.values)
            self.waiting.append(request)
            self._readable.notify()
            return True

    def withdraw(self, sink: Sink) -> list[Request]:
        """Take back what this sink submitted and nobody has begun to read."""
        with self.lock:
            withdrawn = [request for request in self.waiting if request.sink is sink]
            self.waiting = deque(request for request in self.waiting if request.sink is not sink)
            self._submittable.notify_all()
            self._tell_batches()
        return withdrawn

    def next_reading(self) -> Reading | None:
        """A request to read, once there is room for its picture; None when closed."""
        with self.lock:
            self._readable.wait_for(lambda: self.closed or (self.waiting and self.has_room()))
            if self.closed:
                return None
            reading = Reading(self.waiting.popleft())
            self.readings.add(reading)
            self._submittable.notify()
            return reading

    def leads(self, reading: Reading, photo: OpenPhoto) -> bool:
        """Whether this is the only copy in hand, which is to be decoded; otherwise it rides along."""
        with self.lock:
            if reading.settled:
                return False
            riders = self.riders.setdefault(photo.digest, [])
            riders.append(Rider(reading.request, photo.file, photo.facts))
            if len(riders) > 1:
                self.settles(reading)
                return False
            reading.leads = photo.digest
            return True

    def settles(self, reading: Reading, readied: "Waiting | None" = None) -> bool:
        """Whether nobody else has answered; from now on nobody else will. What is readied goes to the next batch."""
        with self.lock:
            first, reading.settled = not reading.settled, True
            if first:
                self.readings.discard(reading)
                if readied is not None:
                    self.readied.append(readied)
                    self._encoded_bytes += _encoded_bytes(readied)
                else:
                    self._readable.notify()  # the room that was kept for it is free
                self._tell_batches()
            return first

    def next_batch(self, full: int) -> "list[Waiting]":
        """The next pictures, `full` of them if more are on their way and there is room for them; empty when closed."""
        batch: list[Waiting] = []
        with self.lock:
            self._full = full
            while not (batch or self.closed):  # somebody else may have taken what was waited for
                self._batchable.wait_for(lambda: self.closed or self.readied)
                self._batchable.wait_for(lambda: self._is_full() or self._is_idle(), timeout=PATIENCE_S)
                if not (self._is_full() or self.closed):
                    self._batchable.wait_for(self._is_full, timeout=LINGER_S)
                batch = [self.readied.popleft() for _ in range(min(full, len(self.readied)))]
                self._encoded_bytes -= sum(map(_encoded_bytes, batch))
            self._readable.notify(len(batch))
        return batch

    def take_riders(self, digest: str) -> list[Rider]:
        """All whom the look at this picture is for."""
        with self.lock:
            return self.riders.pop(digest, [])

    def close(self) -> None:
        """Nothing is taken in hand any more, and whoever waits goes on."""
        with self.lock:
            self.closed = True
            self._tell_all()

    def break_all(self, error: Exception) -> None:
        """Tell everybody who waits for results that they will not come."""
        with self.lock:
            riders = [rider.request for riding in self.riders.values() for rider in riding]
            readings = [reading.request for reading in self.readings]
            sinks = {request.sink for request in [*self.waiting, *readings, *riders]}
            self.waiting.clear()
            self.riders.clear()
            self._tell_all()
        for sink in sinks:
            sink.broken(error)

    @property
    def is_starved(self) -> bool:
        """Whether the model could have more than there is, and it is not for want of photos."""
        return bool(self.waiting) and len(self.readied) < self._full

    def has_room(self) -> bool:
        """Whether one more picture may be readied."""
        in_hand = len(self.readied) + len(self.readings)
        return in_hand < self._room + self.readers and self._encoded_bytes < ENCODED_BYTES

    def _is_full(self) -> bool:
        return len(self.readied) >= self._full or self._encoded_bytes >= ENCODED_BYTES

    def _is_idle(self) -> bool:
        return self.closed or not (self.waiting or self.readings)

    def _tell_batches(self) -> None:
        """Wake who waits for a batch, if there is something to do: the first picture, a full batch, or the last of all."""
        if self._is_idle():
            self._batchable.notify_all()
        elif self.readied and (len(self.readied) == 1 or self._is_full()):
            self._batchable.notify()

    def _tell_all(self) -> None:
        for condition in (self._submittable, self._readable, self._batchable):
            condition.notify_all()


def _encoded_bytes(waiting: "Waiting") -> int:
    return len(waiting.plain.data) if isinstance(waiting, HandedOver) else 0
