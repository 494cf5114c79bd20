"""The pipeline's buffers: requests to be read, reads in progress, and photos for the model.

Every buffer is bounded. Copies of an image that are here at the same time are decoded once.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice

from tagger.errors import ReadsTimedOut
from tagger.pipeline.requests import ImageKey, Images, OpenPhoto, Request, ResultSink, fail_sink

# How long an incomplete batch waits for more photos if none is being read.
LINGER_S = 0.05
# How long it waits for photos that are being read: slow reads must not delay photos that are ready.
READ_WAIT_S = 1.0
# How often a blocked `submit` checks whether to give up.
GIVE_UP_CHECK_S = 0.2
# The most bytes of photos that are being read and decoded, not counting one photo for each core. It
# is what a GPU needs at 1,000 photos of 5 MB a second from a store that answers after 50 ms.
READ_BYTES = 256 * 2**20


class PipelineBuffers:
    """Holds at most `capacity` requests, and as many photos for the model, besides one for each reader.

    There are `readers` readers, and more while photos arrive slowly. At most `readers` photos are processed.

    `lock` guards everything here; the reader pool holds it, too, to keep its state consistent.
    """

    def __init__(self, capacity: int, readers: int) -> None:
        self.lock = threading.RLock()
        # Several conditions, so that only threads that can proceed wake up: a spurious wake-up is expensive.
        self._submittable = threading.Condition(self.lock)
        self._readable = threading.Condition(self.lock)
        self._batchable = threading.Condition(self.lock)
        self._processable = threading.Condition(self.lock)
        self._capacity = capacity
        self._batch_size = 1
        self._processors = readers
        self._processed: set[Request] = set()
        self._awaiting_processing = 0
        self.readers = readers
        self.requests: deque[Request] = deque()
        # The requests that readers are working on, with the readers' threads.
        self.reads: dict[Request, threading.Thread] = {}
        # The images that wait for a batch.
        self.images: dict[ImageKey, Images] = {}
        # The requests that wait for an image.
        self.waiters: dict[ImageKey, list[Request]] = {}
        # Why no photo can be read any more.
        self.failure: ReadsTimedOut | None = None
        self.closed = False

    def submit(self, request: Request, give_up: Callable[[], bool]) -> bool:
        """Add a request; blocks while the buffer is full. Returns False if `give_up` became true first.

        Raises:
            ReadsTimedOut: so many reads hang that no photo is read any more.
        """
        with self.lock:
            while not (self.closed or self.failure or len(self.requests) < self._capacity):
                if give_up():
                    return False
                self._submittable.wait(GIVE_UP_CHECK_S)
            if self.closed:
                raise RuntimeError("the pipeline is closed")
            if self.failure:
                raise ReadsTimedOut(**self.failure.values)
            self.requests.append(request)
            self._readable.notify()
            return True

    def withdraw(self, sink: ResultSink) -> list[Request]:
        """Remove and return the sink's requests that no reader has started on."""
        with self.lock:
            withdrawn = [request for request in self.requests if request.sink is sink]
            self.requests = deque(request for request in self.requests if request.sink is not sink)
            self._submittable.notify_all()
            self._notify_batches()
        return withdrawn

    def next_read(self, timeout_s: float) -> Request | None:
        """Wait for a request and for room for its photo; None after the timeout and once closed."""
        with self.lock:
            self._readable.wait_for(lambda: self.closed or (self.requests and self.has_room()), timeout_s)
            if self.closed or not (self.requests and self.has_room()):
                return None
            request = self.requests.popleft()
            request.started_at = time.monotonic()
            self.reads[request] = threading.current_thread()
            if (
                len(self.requests) <= self._capacity // 2
            ):  # a thread that submits many then wakes up once for many
                self._submittable.notify_all()
            if self._has_extra_reads:  # the end of one large photo makes room for several small ones
                self._readable.notify()
            return request

    def start_processing(self, read: Request) -> None:
        """Wait until fewer photos are processed than there are cores. Settling the read ends it."""
        with self.lock:
            self._awaiting_processing += 1
            self._processable.wait_for(lambda: self.closed or len(self._processed) < self._processors)
            self._awaiting_processing -= 1
            if not read.is_settled:
                self._processed.add(read)

    def add_waiter(self, read: Request, photo: OpenPhoto, models: Sequence[int]) -> bool:
        """Let a request wait for its image. Returns whether this read has to decode it, as the first copy."""
        with self.lock:
            if read.is_settled:
                return False
            read.digest, read.version, read.facts = photo.digest, photo.version, photo.facts
            read.models = tuple(models)
            waiters = self.waiters.setdefault((photo.digest, read.models), [])
            waiters.append(read)
            if len(waiters) > 1:
                self.settle(read)
            return len(waiters) == 1

    def settle(self, read: Request, image: Images | None = None) -> bool:
        """End a read and add its image to the next batch. Returns False if it was settled before."""
        with self.lock:
            is_first, read.is_settled = not read.is_settled, True
            if is_first:
                has_extra_reads = self._has_extra_reads
                self.reads.pop(read, None)
                if read in self._processed:
                    self._processed.discard(read)
                    self._processable.notify()
                if image is not None and read.image is not None:
                    self.images[read.image] = image
                if image is None or has_extra_reads:
                    self._readable.notify()  # the room reserved for its photo, or for its bytes, is free
                self._notify_batches()
            return is_first

    def wait_for_photos(self, timeout_s: float) -> bool:
        """Wait until a photo is ready or the buffers are closed. Returns False after the timeout."""
        with self.lock:
            return bool(self._batchable.wait_for(lambda: self.closed or self.images, timeout_s))

    def next_batch(self, batch_size: int) -> Mapping[ImageKey, Images]:
        """Wait for images, at most `batch_size`; fewer if no more arrive in time, none once closed."""
        batch: dict[ImageKey, Images] = {}
        with self.lock:
            self._batch_size = batch_size
            while not (batch or self.closed):  # another thread may have taken the photos
                self._batchable.wait_for(lambda: self.closed or self.images)
                self._batchable.wait_for(lambda: self._is_full() or self._is_idle(), timeout=READ_WAIT_S)
                if not (self._is_full() or self.closed):
                    self._batchable.wait_for(self._is_full, timeout=LINGER_S)
                batch = {key: self.images.pop(key) for key in [*islice(self.images, batch_size)]}
            self._readable.notify(len(batch))
        return batch

    def take_waiters(self, image: ImageKey) -> list[Request]:
        """Remove and return the requests that wait for an image."""
        with self.lock:
            return self.waiters.pop(image, [])

    def close(self) -> None:
        """Refuse further requests and wake all threads."""
        with self.lock:
            self.closed = True
            self._notify_all()

    def fail_all(self, error: Exception) -> None:
        """Tell every sink that its missing results will not come."""
        with self.lock:
            requests = chain(self.requests, self.reads, *self.waiters.values())
            sinks = {request.sink for request in requests}
            self.requests.clear()
            self.waiters.clear()
            self._notify_all()
        for sink in sinks:
            fail_sink(sink, error)

    @property
    def needs_reader(self) -> bool:
        """Whether one more reader would help: the model waits, no photo waits for a core, with room."""
        is_starved = self.requests and len(self.images) < self._batch_size
        return bool(is_starved and not self._awaiting_processing and self.has_room())

    def has_room(self) -> bool:
        """Whether one more photo may be read."""
        if len(self.images) + len(self.reads) >= self._capacity + self.readers:
            return False
        if len(self.reads) < self._processors or not self.requests:
            return True
        return sum(read.size_bytes for read in self.reads) + self.requests[0].size_bytes <= READ_BYTES

    @property
    def _has_extra_reads(self) -> bool:
        """Whether reads beyond one for each core are in progress, so that their bytes limit further ones."""
        return len(self.reads) > self._processors

    def _is_full(self) -> bool:
        return len(self.images) >= self._batch_size

    def _is_idle(self) -> bool:
        return self.closed or not (self.requests or self.reads)

    def _notify_batches(self) -> None:
        """Wake a model thread at the first photo, at a full batch, and when no more photos come."""
        if self._is_idle():
            self._batchable.notify_all()
        elif self.images and (len(self.images) == 1 or self._is_full()):
            self._batchable.notify()

    def _notify_all(self) -> None:
        for condition in (self._submittable, self._readable, self._batchable, self._processable):
            condition.notify_all()
