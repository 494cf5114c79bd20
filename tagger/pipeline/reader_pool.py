"""The reader threads: they take requests, read and decode photos, and put them back for the model.

A read that hangs is abandoned and its thread replaced, up to a bound. Where photos arrive slowly, more
readers are started. Callers that no watch thread looks after read within a time limit, too.

How many reads in flight a store needs is the rate of the photos times the time that it takes to answer: 50
for 1,000 photos a second after 50 ms. Neither is known before, and both change. So each read that arrives
starts one more reader while that helps, which doubles their number in the time of one answer: until the model
has its photos, the cores have enough to decode, the bytes in memory reach their bound, or reads take so long
that they share one connection instead of waiting for answers.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from functools import partial

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure, ReadsTimedOut
from tagger.metadata.stated_facts import orientation_beside, read_side_facts
from tagger.photos.decoding import Resize, turned
from tagger.photos.decoding.memory import MEMORY_BUDGET
from tagger.photos.files import PhotoBytes
from tagger.photos.source import PhotoSource
from tagger.pipeline.buffers import PipelineBuffers
from tagger.pipeline.child_process import STOP_CHECK_S, ParentStopping
from tagger.pipeline.requests import (
    AlreadyClassified,
    Failed,
    Limits,
    Opener,
    OpenPhoto,
    Request,
    Result,
    Unchanged,
    deliver,
    internal_failure,
    read_photo_bytes,
    timeout_text,
)
from tagger.processes.metrics import READS_HUNG


def read_in_time(
    source: PhotoSource, path: str, limits: Limits, must_stop: Callable[[], bool] = lambda: False
) -> PhotoBytes:
    """Read one whole photo. A read that hangs is left to its thread.

    Raises:
        PhotoFailed: as `PhotoSource.read`, or it took too long.
        ParentStopping: `must_stop` became true.
    """
    result: Future[PhotoBytes] = Future()

    def read() -> None:
        try:
            result.set_result(read_photo_bytes(source, path, limits))
        except BaseException as error:  # noqa: BLE001 - raised to the caller
            result.set_exception(error)

    # A daemon thread: one that hangs in the kernel must not keep the process alive.
    threading.Thread(target=read, name="read", daemon=True).start()
    deadline = time.monotonic() + limits.timeout_s
    while not wait([result], max(0.0, min(STOP_CHECK_S, deadline - time.monotonic()))).done:
        if must_stop():
            raise ParentStopping
        if time.monotonic() > deadline:
            raise PhotoFailed(FailureKind.TIMED_OUT, timeout_text(limits.timeout_s))
    return result.result()


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
        self._read_bytes = partial(read_photo_bytes, limits=limits)
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
        """End the threads."""
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
                self._deliver(request, Failed(failed.failure))
            except Exception as error:
                if self._buffers.closed:  # closing ends child processes
                    return
                log.exception("unexpected error while reading a photo")
                self._deliver(request, Failed(internal_failure(error)))
            if request.is_abandoned:
                self._count_recovered()
                return
            if not self._serves_more(request.source) and self._ends_reader():
                return

    def _read(self, request: Request) -> None:
        started_at = time.monotonic()
        if request.classified is not None and request.source.version(request.path) == request.classified:
            self._deliver(request, Unchanged())
            return
        open_photo = self._fetch(request)
        request.side_facts = read_side_facts(request.source, request.path, request.side_files)
        self._note_read(request.source, time.monotonic() - started_at)
        with self._clock_stopped(request):
            self._buffers.start_processing(request)
        photo = open_photo()
        with self._clock_stopped(request):
            models = request.sink.lacking_models(photo.digest)
        if not models:
            self._deliver(request, AlreadyClassified(photo.digest, photo.version, photo.facts))
        elif self._buffers.add_waiter(request, photo, models):
            self._decode(request, photo)

    def _fetch(self, request: Request) -> Callable[[], OpenPhoto]:
        """Read the photo's bytes; returns what opens them."""
        if request.reader is not None:
            return partial(request.reader, request.source, request.path)
        photo = self._read_bytes(request.source, request.path)
        request.size_bytes = len(photo.data)
        return partial(self._open_photo, photo)

    @contextmanager
    def _clock_stopped(self, request: Request) -> Iterator[None]:
        """Do not count the time of database queries towards the read's timeout."""
        request.started_at = math.inf
        try:
            yield
        finally:
            request.started_at = time.monotonic()

    def _decode(self, request: Request, photo: OpenPhoto) -> None:
        try:
            # Once for each size: several models may have the same.
            orientation = None
            if not photo.facts.has_orientation:
                orientation = orientation_beside(request.path, request.side_facts)
            images = {
                resize: turned(photo.decode(resize), orientation)
                for resize in dict.fromkeys(self._resizes[model_id] for model_id in request.models)
            }
        except PhotoFailed as failed:
            self._fail(request, failed.failure)
        except Exception as error:
            if self._buffers.closed:  # closing ends child processes
                return
            log.exception("unexpected error while decoding a photo")
            self._fail(request, internal_failure(error))
        else:
            self._buffers.settle(request, images)

    def _deliver(self, request: Request, result: Result) -> None:
        if self._buffers.settle(request):
            deliver(request.sink, [(request, result)])

    def _fail(self, request: Request, failure: PhotoFailure) -> None:
        """Fail a request and all others that wait for its image."""
        with self._lock:
            if not self._buffers.settle(request):
                return
            image = request.image
            waiters = [request] if image is None else self._buffers.take_waiters(image)
        for waiter in waiters:
            deliver(waiter.sink, [(waiter, waiter.failed(failure))])

    def _start(self, target: Callable[[], None]) -> None:
        # Daemon threads: one that hangs in the kernel must not keep the process alive.
        thread = threading.Thread(target=target, name=target.__name__.strip("_"), daemon=True)
        self._threads.append(thread)
        thread.start()

    # --- The number of readers ---

    def _note_read(self, source: PhotoSource, read_s: float) -> None:
        """Count a read that has arrived, and start one more reader if that helps."""
        with self._lock:
            weight = 1 / AVERAGED_READS if self._mean_read_s else 1.0
            self._mean_read_s += weight * (read_s - self._mean_read_s)
            is_slow = SLOW_READ_S <= self._mean_read_s <= SHARED_READ_S
            if is_slow and self._extra_readers < source.extra_reads and self._buffers.needs_reader:
                self._extra_readers += 1
                self._buffers.readers += 1
                self._start(self._read_photos)

    def _serves_more(self, source: PhotoSource) -> bool:
        """Whether extra readers still help: the source answers slowly, and serves so many well."""
        is_slow = SLOW_READ_S / 2 <= self._mean_read_s <= SHARED_READ_S
        return is_slow and self._extra_readers <= source.extra_reads

    def _ends_reader(self) -> bool:
        """Remove the calling thread if there are extra readers; returns whether it has to end."""
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
        """Reads beyond the timeout, without time suspended, or spent waiting for memory or a child."""
        now = time.monotonic()
        with self._lock:
            for read, thread in self._buffers.reads.items():
                ident = thread.ident
                is_timed_elsewhere = ident in MEMORY_BUDGET.waiting or ident in self._timed_threads
                read.started_at = now if is_timed_elsewhere else read.started_at + suspended_s
            local = [read for read in self._buffers.reads if read.reader is None]
            return [read for read in local if now - read.started_at > self._limits.timeout_s]

    def _abandon(self, request: Request) -> None:
        """Fail the request of a hanging read and replace its thread."""
        with self._lock:
            if request.is_settled:
                return
            request.is_abandoned = True
            self._threads.remove(self._buffers.reads[request])  # closing does not wait for it
            self._hung += 1
            READS_HUNG.inc()
            log.warning("a read hangs and was abandoned; %d threads hang now", self._hung)
            self._fail(request, PhotoFailure(FailureKind.TIMED_OUT, timeout_text(self._limits.timeout_s)))
            if self._hung > MOST_HUNG:
                failure = ReadsTimedOut(count=self._hung, timeout_s=self._limits.timeout_s)
                self._buffers.failure = failure
                self._buffers.fail_all(failure)
                return
            self._start(self._read_photos)

    def _count_recovered(self) -> None:
        """An abandoned read has returned after all."""
        with self._lock:
            self._hung -= 1
            READS_HUNG.dec()
            if self._hung <= MOST_HUNG:
                self._buffers.failure = None
