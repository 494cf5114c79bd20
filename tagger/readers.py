"""Threads that read photos and decode them, from what is in hand for what is in hand.

A read that hangs is given up and its thread replaced, up to a bound; where the disk is slow, more photos are read at a
time. Knows nothing of batches or models.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tagger.errors import FailureKind, PhotoFailed, PhotoFailure, ReadsHang
from tagger.images.memory import ROOM
from tagger.in_hand import HandedOver, InHand, Readied, Reading
from tagger.metrics import READS_HUNG
from tagger.photos.reading import stored_time_ns
from tagger.reading import Limits, OpenPhoto, Reader, timed_out_text, unforeseen
from tagger.results import Failed, FileState, Known, Result, Unchanged

log = logging.getLogger(__name__)

WATCH_S = 1.0
"""How often reads that hang, or are slow, are looked for."""
MOST_HUNG = 8
"""Threads stuck in a read that are replaced; a disk on which more hang does not answer at all."""
CLOSE_S = 15.0
"""How long closing waits for threads that are amid a read."""
SLOW_READ_S = 0.02
MOST_AHEAD = 8
"""Readers besides the usual ones, for disks and shares that take their time over each file and serve many at once."""


class Readers:
    """Run from their making until `close`."""

    def __init__(self, reader: Reader, limits: Limits, in_hand: InHand) -> None:
        self._reader = reader
        self._limits = limits
        self._in_hand = in_hand
        self._lock = in_hand.lock
        self._hung = 0
        self._ahead = 0
        self._closing = threading.Event()
        self._threads: list[threading.Thread] = []
        for work in [self._read_photos] * limits.readers + [self._watch]:
            self._start(work)

    def close(self) -> None:
        """Let the threads end."""
        self._in_hand.close()
        self._closing.set()
        until = time.monotonic() + CLOSE_S
        for thread in list(self._threads):
            thread.join(max(0.0, until - time.monotonic()))

    def _read_photos(self) -> None:
        while (reading := self._in_hand.next_reading()) is not None:
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

    def _read(self, reading: Reading) -> None:
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
        elif self._in_hand.leads(reading, photo):
            self._decode(reading, photo)

    @contextmanager
    def _not_counted(self, reading: Reading) -> Iterator[None]:
        """A database that lets a reader wait is no photo that hangs."""
        reading.began = math.inf
        try:
            yield
        finally:
            reading.began = time.monotonic()

    def _decode(self, reading: Reading, photo: OpenPhoto) -> None:
        if photo.plain is not None:
            self._in_hand.settles(reading, HandedOver(photo.digest, photo.plain, photo.decode))
            return
        try:
            image = photo.decode()
        except PhotoFailed as failed:
            self._fail(reading, failed.failure)
        except Exception as error:
            log.exception("decoding a photo failed in a way that nobody foresaw")
            self._fail(reading, unforeseen(error))
        else:
            self._in_hand.settles(reading, Readied(photo.digest, image))

    def _answer(self, reading: Reading, result: Result) -> None:
        if self._in_hand.settles(reading):
            reading.request.sink.deliver([(reading.request, result)])

    def _fail(self, reading: Reading, failure: PhotoFailure) -> None:
        """Fail a request, and the copies that ride on it."""
        with self._lock:
            if not self._in_hand.settles(reading):
                return
            digest = reading.leads
            riders = self._in_hand.take_riders(digest) if digest is not None else []
        for rider in riders:
            rider.request.sink.deliver([(rider.request, Failed(failure, digest, rider.file))])
        if digest is None:
            reading.request.sink.deliver([(reading.request, Failed(failure))])

    # ── reads that are slow ──

    def _read_ahead(self) -> None:
        """One reader more, where the model waits for photos and the readers for their disk."""
        with self._lock:
            readings = self._in_hand.readings
            began = time.monotonic() - SLOW_READ_S
            slow = sum(reading.waits_for_bytes and reading.began < began for reading in readings)
            if self._in_hand.is_starved and 2 * slow > len(readings) and self._ahead < MOST_AHEAD:
                self._ahead += 1
                self._in_hand.readers += 1
                self._start(self._read_photos)

    def _is_superfluous(self) -> bool:
        """Whether this is a reader more than there should be: reading has caught up. Then it is counted out."""
        with self._lock:
            if not self._ahead or self._in_hand.is_starved:
                return False
            self._ahead -= 1
            self._in_hand.readers -= 1
            self._threads.remove(threading.current_thread())
            return True

    # ── reads that hang ──

    def _watch(self) -> None:
        pause_s = min(WATCH_S, self._limits.timeout_s / 4)
        seen = time.monotonic()
        while not self._closing.is_set():
            stood_still_s = time.monotonic() - seen - pause_s  # this whole process: stopped, or starved
            for reading in self._hanging(max(0.0, stood_still_s)):
                self._give_up(reading)
            self._read_ahead()
            seen = time.monotonic()
            self._closing.wait(pause_s)

    def _hanging(self, stood_still_s: float) -> list[Reading]:
        """Reads that take too long, by time in which this process ran and they did not wait for others."""
        now = time.monotonic()
        with self._lock:
            for reading in self._in_hand.readings:
                waits = reading.thread.ident in ROOM.waiting
                reading.began = now if waits else reading.began + stood_still_s
            here = [reading for reading in self._in_hand.readings if reading.request.reader is None]
            return [reading for reading in here if now - reading.began > self._limits.timeout_s]

    def _give_up(self, reading: Reading) -> None:
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
            if self._hung > MOST_HUNG:
                trouble = ReadsHang(count=self._hung, timeout_s=self._limits.timeout_s)
                self._in_hand.trouble = trouble
                self._in_hand.break_all(trouble)
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
            if self._hung <= MOST_HUNG:
                self._in_hand.trouble = None


def _state_of(path: Path) -> FileState | None:
    try:
        status = path.stat()
    except OSError:
        return None  # reading it will say what is wrong
    return FileState(status.st_size, stored_time_ns(status))
