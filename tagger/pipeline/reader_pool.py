"""The reader threads: they take requests, read and decode photos, and put them into buffers for the model.

A read that hangs is abandoned and its thread replaced, up to a bound. Where photos arrive slowly, more
readers are started.

How many reads in flight a store needs is the rate of the photos times the time that it takes to answer: 50
for 1,000 photos a second after 50 ms. Neither is known before, and both change. So each read that arrives
starts one more reader while that helps, which doubles their number in the time of one answer: until the model
has its photos, the cores have enough to decode, the bytes in memory reach their bound, or reads take so long
that they share one connection instead of waiting for answers.

Every buffer is bounded. Copies of an image that are here at the same time are decoded once.
"""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure, ReadsTimedOut
from tagger.metadata.stated_facts import orientation_beside, read_side_facts
from tagger.photos.decoding import Resize, turned
from tagger.photos.decoding.limits import MEMORY_BUDGET
from tagger.photos.names import is_raw_name
from tagger.photos.source import PhotoSource
from tagger.pipeline import (
    AlreadyClassified,
    ImageKey,
    Images,
    Limits,
    Opener,
    OpenPhoto,
    Request,
    Result,
    ResultSink,
    Unchanged,
    deliver,
    fail_sink,
    internal_failure,
    read_photo_bytes,
    timeout_text,
)
from tagger.processes.metrics import READS_HUNG

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
        with self.lock:
            while not (
                self.closed or self.failure or len(self.requests) < self._capacity
            ):
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
        with self.lock:
            withdrawn = [request for request in self.requests if request.sink is sink]
            self.requests = deque(
                request for request in self.requests if request.sink is not sink
            )
            self._submittable.notify_all()
            self._notify_batches()
        return withdrawn

    def next_read(self, timeout_s: float) -> Request | None:
        """Wait for a request and for room for its photo; None after the timeout and once closed."""
        with self.lock:
            self._readable.wait_for(
                lambda: self.closed or (self.requests and self.has_room()), timeout_s
            )
            if self.closed or not (self.requests and self.has_room()):
                return None
            request = self.requests.popleft()
            request.started_at = time.monotonic()
            self.reads[request] = threading.current_thread()
            if (
                len(self.requests) <= self._capacity // 2
            ):  # a thread that submits many then wakes up once for many
                self._submittable.notify_all()
            if (
                self._has_extra_reads
            ):  # the end of one large photo makes room for several small ones
                self._readable.notify()
            return request

    def start_processing(self, read: Request) -> None:
        """Wait until fewer photos are processed than there are cores. Settling the read ends it."""
        with self.lock:
            self._awaiting_processing += 1
            self._processable.wait_for(
                lambda: self.closed or len(self._processed) < self._processors
            )
            self._awaiting_processing -= 1
            if not read.is_settled:
                self._processed.add(read)

    def add_waiter(
        self, read: Request, photo: OpenPhoto, models: Sequence[int]
    ) -> bool:
        """Let a request wait for its image. Returns whether this read has to decode it, as the first copy."""
        with self.lock:
            if read.is_settled:
                return False
            read.digest, read.version, read.facts = (
                photo.digest,
                photo.version,
                photo.facts,
            )
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
            return bool(
                self._batchable.wait_for(lambda: self.closed or self.images, timeout_s)
            )

    def next_batch(self, batch_size: int) -> Mapping[ImageKey, Images]:
        """Wait for images, at most `batch_size`; fewer if no more arrive in time, none once closed."""
        batch: dict[ImageKey, Images] = {}
        with self.lock:
            self._batch_size = batch_size
            while not (
                batch or self.closed
            ):  # another thread may have taken the photos
                self._batchable.wait_for(lambda: self.closed or self.images)
                self._batchable.wait_for(
                    lambda: self._is_full() or self._is_idle(), timeout=READ_WAIT_S
                )
                if not (self._is_full() or self.closed):
                    self._batchable.wait_for(self._is_full, timeout=LINGER_S)
                batch = {
                    key: self.images.pop(key)
                    for key in [*islice(self.images, batch_size)]
                }
            self._readable.notify(len(batch))
        return batch

    def take_waiters(self, image: ImageKey) -> list[Request]:
        with self.lock:
            return self.waiters.pop(image, [])

    def close(self) -> None:
        with self.lock:
            self.closed = True
            self._notify_all()

    def fail_all(self, error: Exception) -> None:
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
        if len(self.images) + len(self.reads) >= self._capacity + self.readers:
            return False
        if len(self.reads) < self._processors or not self.requests:
            return True
        return (
            sum(read.size_bytes for read in self.reads) + self.requests[0].size_bytes
            <= READ_BYTES
        )

    @property
    def _has_extra_reads(self) -> bool:
        # Whether reads beyond one for each core are in progress, so that their bytes limit further ones.
        return len(self.reads) > self._processors

    def _is_full(self) -> bool:
        return len(self.images) >= self._batch_size

    def _is_idle(self) -> bool:
        return self.closed or not (self.requests or self.reads)

    def _notify_batches(self) -> None:
        # Wake a model thread at the first photo, at a full batch, and when no more photos come.
        if self._is_idle():
            self._batchable.notify_all()
        elif self.images and (len(self.images) == 1 or self._is_full()):
            self._batchable.notify()

    def _notify_all(self) -> None:
        for condition in (
            self._submittable,
            self._readable,
            self._batchable,
            self._processable,
        ):
            condition.notify_all()


log = logging.getLogger(__name__)

# How often the watch thread checks for reads that hang.
WATCH_S = 1.0
# The most hanging threads that are replaced. If more hang, the disk does not answer at all.
MOST_HUNG = 8
# How long closing waits for reads. One that hangs in the system does not prevent the process's end.
CLOSE_S = 1.0
# More readers are started if reads take longer on average: the store then serves several at once.
SLOW_READ_S = 0.004
# Reads that take longer wait for bandwidth rather than for an answer, which more would only share.
SHARED_READ_S = 1.0
AVERAGED_READS = 8
# An extra reader ends after this time without a photo to read.
IDLE_S = 10.0


class ReaderPool:
    """Runs from construction until `close`. `timed_threads`: those whose time something else limits now."""

    def __init__(
        self,
        open_photo: Opener,
        limits: Limits,
        buffers: PipelineBuffers,
        resizes: Mapping[int, Resize],
        timed_threads: Collection[int] = frozenset(),
    ) -> None:
        self._open_photo = open_photo
        self._resizes = resizes
        self._timed_threads = timed_threads
        self._limits = limits
        self._buffers = buffers
        self._lock = buffers.lock
        self._hung = 0
        self._extra_readers = 0
        self._mean_read_s = 0.0
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        for target in [self._read_photos] * limits.readers + [self._watch]:
            self._start(target)

    def close(self) -> None:
        self._buffers.close()
        self._closing.set()
        deadline = time.monotonic() + CLOSE_S
        for thread in list(self._threads):
            thread.join(max(0.0, deadline - time.monotonic()))

    # --- A reader thread ---

    def _read_photos(self) -> None:
        while True:
            request = self._buffers.next_read(IDLE_S)
            if request is None:
                if self._buffers.closed or self._ends_reader():
                    return
                continue
            try:
                self._read(request)
            except PhotoFailed as failed:
                self._fail(request, failed.failure)
            except Exception as error:
                if self._buffers.closed:  # closing ends child processes
                    return
                log.exception("unexpected error while reading a photo")
                self._fail(request, internal_failure(error))
            if request.is_abandoned:
                # An abandoned read has returned after all.
                with self._lock:
                    self._hung -= 1
                    READS_HUNG.dec()
                    if self._hung <= MOST_HUNG:
                        self._buffers.failure = None
                return
            # Extra readers help while the source answers slowly, and serves so many well.
            is_slow = SLOW_READ_S / 2 <= self._mean_read_s <= SHARED_READ_S
            has_few = self._extra_readers <= request.source.extra_reads
            if not (is_slow and has_few) and self._ends_reader():
                return

    def _read(self, request: Request) -> None:
        started_at = time.monotonic()
        if (
            request.classified is not None
            and request.source.version(request.path) == request.classified
        ):
            self._deliver(request, Unchanged())
            return
        open_photo = self._fetch(request)
        request.side_facts = read_side_facts(
            request.source, request.path, request.side_files
        )
        self._note_read(request.source, time.monotonic() - started_at)
        with self._clock_stopped(request):
            self._buffers.start_processing(request)
        photo = open_photo()
        with self._clock_stopped(request):
            models = request.sink.lacking_models(photo.digest)
        if not models:
            self._deliver(
                request, AlreadyClassified(photo.digest, photo.version, photo.facts)
            )
        elif self._buffers.add_waiter(request, photo, models):
            self._buffers.settle(request, self._decoded(request, photo))

    def _fetch(self, request: Request) -> Callable[[], OpenPhoto]:
        # Read the photo's bytes; returns what opens them.
        if request.reader is not None:
            return partial(request.reader, request.source, request.path)
        photo = read_photo_bytes(request.source, request.path, self._limits)
        request.size_bytes = len(photo.data)
        return partial(self._open_photo, photo)

    @contextmanager
    def _clock_stopped(self, request: Request) -> Iterator[None]:
        # Do not count the time of database queries towards the read's timeout.
        request.started_at = math.inf
        try:
            yield
        finally:
            request.started_at = time.monotonic()

    def _decoded(self, request: Request, photo: OpenPhoto) -> Images:
        own, orientation = photo.facts.orientation, None
        # Programs turn RAW files by sidecars, and others in the file, which leaves sidecars as they were.
        if own is None or is_raw_name(request.path):
            orientation = orientation_beside(request.path, request.side_facts)
        # Once for each size: several models may have the same.
        sizes = dict.fromkeys(self._resizes[model_id] for model_id in request.models)
        return {
            resize: turned(photo.decode(resize), orientation, own) for resize in sizes
        }

    def _deliver(self, request: Request, result: Result) -> None:
        if self._buffers.settle(request):
            deliver(request.sink, [(request, result)])

    def _fail(self, request: Request, failure: PhotoFailure) -> None:
        # Fail a request and all others that wait for its image.
        with self._lock:
            if not self._buffers.settle(request):
                return
            image = request.image
            waiters = [request] if image is None else self._buffers.take_waiters(image)
        for waiter in waiters:
            deliver(waiter.sink, [(waiter, waiter.failed(failure))])

    def _start(self, target: Callable[[], None]) -> None:
        # Daemon threads: one that hangs in the kernel must not keep the process alive.
        thread = threading.Thread(
            target=target, name=target.__name__.strip("_"), daemon=True
        )
        self._threads.append(thread)
        thread.start()

    # --- The number of readers ---

    def _note_read(self, source: PhotoSource, read_s: float) -> None:
        # Count a read that has arrived, and start one more reader if that helps.
        with self._lock:
            weight = 1 / AVERAGED_READS if self._mean_read_s else 1.0
            self._mean_read_s += weight * (read_s - self._mean_read_s)
            is_slow = SLOW_READ_S <= self._mean_read_s <= SHARED_READ_S
            has_few = self._extra_readers < source.extra_reads
            if is_slow and has_few and self._buffers.needs_reader:
                self._extra_readers += 1
                self._buffers.readers += 1
                self._start(self._read_photos)

    def _ends_reader(self) -> bool:
        # Remove the calling thread if there are extra readers; returns whether it has to end.
        with self._lock:
            if not self._extra_readers:
                return False
            self._extra_readers -= 1
            self._buffers.readers -= 1
            self._threads.remove(threading.current_thread())
            return True

    # --- The watch thread ---

    def _watch(self) -> None:
        pause_s = min(WATCH_S, self._limits.timeout_s / 4)
        checked_at = time.monotonic()
        while not self._closing.is_set():
            suspended_s = (
                time.monotonic() - checked_at - pause_s
            )  # the process was stopped or got no CPU time
            for read in self._hanging_reads(max(0.0, suspended_s)):
                self._abandon(read)
            checked_at = time.monotonic()
            self._closing.wait(pause_s)

    def _hanging_reads(self, suspended_s: float) -> list[Request]:
        # Reads beyond the timeout, without time suspended, or spent waiting for memory or a child.
        now, limit_s = time.monotonic(), self._limits.timeout_s
        with self._lock:
            for read, thread in self._buffers.reads.items():
                timed_elsewhere = (MEMORY_BUDGET.waiting, self._timed_threads)
                if any(thread.ident in threads for threads in timed_elsewhere):
                    read.started_at = now
                else:
                    read.started_at += suspended_s
            local = [read for read in self._buffers.reads if read.reader is None]
            return [read for read in local if now - read.started_at > limit_s]

    def _abandon(self, request: Request) -> None:
        # Fail the request of a hanging read and replace its thread.
        with self._lock:
            if request.is_settled:
                return
            request.is_abandoned = True
            self._threads.remove(
                self._buffers.reads[request]
            )  # closing does not wait for it
            self._hung += 1
            READS_HUNG.inc()
            log.warning(
                "a read hangs and was abandoned; %d threads hang now", self._hung
            )
            self._fail(
                request,
                PhotoFailure(
                    FailureKind.TIMED_OUT, timeout_text(self._limits.timeout_s)
                ),
            )
            if self._hung > MOST_HUNG:
                failure = ReadsTimedOut(
                    count=self._hung, timeout_s=self._limits.timeout_s
                )
                self._buffers.failure = failure
                self._buffers.fail_all(failure)
                return
            self._start(self._read_photos)
