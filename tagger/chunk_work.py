"""Work on one claimed chunk: its photos into the pipeline, what comes back into SQL, until none is left.

Knows nothing of who claims chunks, keeps their leases or loads models (see tagging).
"""

import logging
import queue
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from tagger.child import ChildReader
from tagger.database import Database, is_passing_trouble
from tagger.errors import FailureKind, ModelFailed, PhotoFailure, ReadsHang
from tagger.holding import ChunkEnd, Holding, StoredPhoto
from tagger.ledger.chunks import Claim, busy_elsewhere, count_deaths
from tagger.library import Found, OpenItem, is_known, open_items, store_found
from tagger.metrics import staged
from tagger.model import Model
from tagger.pipeline import Pipeline
from tagger.reading import Answer, Limits, Reader, Request
from tagger.results import Failed
from tagger.roots import Root

log = logging.getLogger(__name__)

BUSY_PAUSE_S = 0.5
"""How long to wait before asking again whether another worker is done with the same photos."""
STOP_CHECK_S = 1.0
"""How often a chunk that waits for results looks whether it has to stop."""
STOP_GRACE_S = 20.0
"""How long a chunk that has to stop waits for what is being read; the rest is given back."""
STORE_PHOTOS = 128
"""A transaction has a cost of its own, which many photos share; what a killed worker had not stored is looked at again."""
STORE_S = 2.0
"""Slow photos are stored sooner, so that progress is seen and little is lost."""
SAFE_ATTEMPTS = 2
"""A chunk whose claims ended badly so often is gone through photo by photo."""
MOST_DEATHS = 2
"""A photo that was alone in hand when its worker died so often has failed."""


_CRASHED = PhotoFailure(
    FailureKind.CRASHED,
    "The worker died each time it had this photo alone in hand. Restore it from a backup or save it again; "
    "if it looks right in a viewer, please report it.",
)


@dataclass(frozen=True)
class RunningModel:
    """A model on this process's device, and the landmark ids of its labels by position."""

    model: Model
    pipeline: Pipeline
    limits: Limits
    landmarks: tuple[int, ...]


def has_to_be_alone(claimed: Claim) -> bool:
    """Whether the chunk is gone through photo by photo, with nothing else in the process's hands."""
    return claimed.attempts > SAFE_ATTEMPTS


class _ChunkSink:
    """Where the pipeline puts what it found; read by the chunk's own thread."""

    def __init__(self, database: Database, claimed: Claim) -> None:
        self._database = database
        self._claimed = claimed
        self.top_k = claimed.top_k
        self.threshold = claimed.threshold
        self.answers: queue.SimpleQueue[Sequence[Answer] | Exception] = queue.SimpleQueue()

    def is_known(self, digest: str) -> bool:
        if self._claimed.again:
            return False
        try:
            return is_known(self._database, self._claimed, digest)
        except SQLAlchemyError as error:
            if not is_passing_trouble(error):
                raise
            return False  # looking twice does no harm

    def deliver(self, answers: Sequence[Answer]) -> None:
        self.answers.put(answers)

    def broken(self, error: Exception) -> None:
        self.answers.put(error)


class ChunkWork:
    """One claimed chunk on its way through the pipeline."""

    def __init__(self, holding: Holding, running: RunningModel) -> None:
        self._holding = holding
        self._database = holding.database
        self._claimed = holding.claimed
        self._running = running
        self._sink = _ChunkSink(self._database, self._claimed)
        self._pending: dict[Request, OpenItem] = {}
        self._batch: list[Found] = []
        self._stored_at = time.monotonic()
        self._root_vanished = False

    def run(self) -> ChunkEnd:
        """Until nothing of the chunk is left, or it has to be given back.

        Raises:
            LeaseLost: somebody else took it over.
            ModelFailed, ReadsHang: nothing can be looked at any more.
        """
        while items := self._open_items():
            self._root_vanished = False
            roots = self._holding.roots()
            if away := self._holding.away({item.root_id for item in items}, roots):
                self._holding.wait_for(away[0])
                return ChunkEnd.WAITING
            busy = self._holding.patiently(lambda: busy_elsewhere(self._database, self._claimed))
            free = [item for item in items if item.photo_id not in busy and item.root_id in roots]
            self._look_at(free, roots)
            if self._holding.stop.is_set():
                return ChunkEnd.RELEASED
            self._holding.check_lease()
            if not free:
                self._holding.stop.wait(BUSY_PAUSE_S)
        return ChunkEnd.DONE

    def _open_items(self) -> list[OpenItem]:
        return self._holding.patiently(lambda: open_items(self._database, self._claimed))

    def _look_at(self, items: Sequence[OpenItem], roots: Mapping[int, Root]) -> None:
        if has_to_be_alone(self._claimed):
            self._look_one_by_one(items, roots)
        else:
            self._look_at_all(items, roots)

    def _look_one_by_one(self, items: Sequence[OpenItem], roots: Mapping[int, Root]) -> None:
        """Read each photo in a child process, and store it before the next: the chunk has taken its workers down."""
        log.warning("job %d chunk %d is gone through photo by photo", *self._holding.numbers)
        with ChildReader(self._running.model.manifest.input.resize, self._running.limits) as child:
            for item in items:
                if self._must_end():
                    return
                if item.deaths >= MOST_DEATHS:
                    self._batch.append(Found(item, Failed(_CRASHED)))
                    self._store()
                    continue
                with self._alone_in_hand(item):
                    self._look_at_all([item], roots, child.open)

    @contextmanager
    def _alone_in_hand(self, item: OpenItem) -> Iterator[None]:
        """Counted before and taken back after, so that only a death of this process leaves the count."""
        self._holding.patiently(lambda: count_deaths(self._database, self._claimed, item.position, +1))
        try:
            yield
        finally:
            self._holding.patiently(lambda: count_deaths(self._database, self._claimed, item.position, -1))

    def _look_at_all(
        self, items: Sequence[OpenItem], roots: Mapping[int, Root], reader: Reader | None = None
    ) -> None:
        """Send photos into the pipeline and store what comes back, until all is stored or this has to stop."""
        try:
            self._send(items, roots, reader)
            self._finish()
            self._store()
        except ReadsHang:
            self._store_what_came()
            raise
        finally:
            self._withdraw()
            self._pending.clear()

    def _send(self, items: Sequence[OpenItem], roots: Mapping[int, Root], reader: Reader | None) -> None:
        for item in items:
            if self._must_end():
                break
            path = roots[item.root_id].path_of(item.path, item.path_bytes)
            request = Request(path, self._sink, item.looked, reader)
            self._pending[request] = item
            if not self._running.pipeline.submit(request, self._must_end):
                del self._pending[request]
                break
            self._take_answers(wait=False)

    def _finish(self) -> None:
        """Take what is still to come; one that has to end waits for a while, for what is being read."""
        until: float | None = None
        while self._pending:
            if self._must_end():
                self._withdraw()
                until = until or time.monotonic() + STOP_GRACE_S
                if time.monotonic() > until:
                    log.warning(
                        "job %d chunk %d: %d reads do not end", *self._holding.numbers, len(self._pending)
                    )
                    return
            self._take_answers(wait=True)

    def _must_end(self) -> bool:
        return self._holding.must_end or self._root_vanished

    def _withdraw(self) -> None:
        """What nobody has begun to read is left for whoever takes the chunk next."""
        for request in self._running.pipeline.withdraw(self._sink):
            del self._pending[request]

    def _take_answers(self, *, wait: bool) -> None:
        """Collect what the pipeline delivered, at least once if told to; store it when it is worth a transaction."""
        while self._pending and (wait or not self._sink.answers.empty()):
            try:
                answers = self._sink.answers.get(timeout=STOP_CHECK_S)
            except queue.Empty:
                self._store_if_due()
                return
            self._holding.on_progress()
            if isinstance(answers, Exception):
                self._store_what_came()
                raise self._trouble(answers) from answers
            self._collect(answers)
            self._store_if_due()

    def _collect(self, answers: Sequence[Answer]) -> None:
        for request, result in answers:
            item = self._pending.pop(request, None)
            if item is not None:  # else a read that had been left behind has ended after all
                self._batch.append(Found(item, result))

    def _store_what_came(self) -> None:
        """Nothing more will come; what did is not lost."""
        while not self._sink.answers.empty():
            answers = self._sink.answers.get()
            if not isinstance(answers, Exception):
                self._collect(answers)
        self._store()

    def _trouble(self, error: Exception) -> Exception:
        if isinstance(error, ReadsHang):
            return ReadsHang(**error.values)
        return ModelFailed(name=self._running.model.manifest.name, reason=error)

    def _store_if_due(self) -> None:
        if len(self._batch) >= STORE_PHOTOS or time.monotonic() - self._stored_at > STORE_S:
            self._store()

    def _store(self) -> None:
        found, self._batch = self._without_away(self._batch), []
        self._stored_at = time.monotonic()
        self._holding.check_lease()
        if found:
            with staged("store"):
                stored = self._holding.patiently(
                    lambda: store_found(self._database, self._claimed, found, self._running.landmarks)
                )
            self._holding.report([StoredPhoto(each.item, end, each.result) for each, end in stored])

    def _without_away(self, found: list[Found]) -> list[Found]:
        """Photos that vanished with their whole root are not gone: they stay open, and the job waits for the root."""
        vanished = {each.item.root_id for each in found if _is_unreached(each)}
        if not vanished:
            return found
        roots = self._holding.roots()
        away = self._holding.away(vanished, roots)
        self._root_vanished = bool(away)
        here = roots.keys() - {root.id for root in away}
        return [each for each in found if each.item.root_id in here or not _is_unreached(each)]


def _is_unreached(found: Found) -> bool:
    """Whether the file could not be reached, as when its root is not there any more."""
    unreached = {FailureKind.GONE, FailureKind.UNREADABLE, FailureKind.TIMED_OUT}
    return isinstance(found.result, Failed) and found.result.failure.kind in unreached
