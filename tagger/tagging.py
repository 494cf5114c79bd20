"""Claimed chunks through the pipeline into the library: the part that `tagger tag` and the workers share.

Knows nothing of Celery. One `Tagger` is one process's: its models, their pipelines, and the leases it holds.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database, is_passing_trouble, patiently
from tagger.devices import choose_device, core_count
from tagger.errors import FailureKind, LeaseLost, ModelFailed
from tagger.ledger.chunks import Claim, ItemOutcome, busy_elsewhere, release
from tagger.ledger.jobs import wait_for_root
from tagger.ledger.keeper import LeaseKeeper
from tagger.library import Found, OpenItem, is_known, landmark_ids, open_items, store_found
from tagger.model import Model, load_model
from tagger.pipeline import Answer, Limits, Pipeline, Request
from tagger.registry import model_by_id, verify
from tagger.results import Failed
from tagger.roots import Root, is_away, list_roots
from tagger.settings import Settings

log = logging.getLogger(__name__)

BUSY_PAUSE_S = 0.5
"""How long to wait before asking again whether another worker is done with the same photos."""
STOP_CHECK_S = 1.0
"""How often a chunk that waits for results looks whether it has to stop."""

T = TypeVar("T")
STORE_PHOTOS = 32
"""A transaction costs as much for one photo as for thirty; what a killed worker had not stored is looked at again."""
STORE_S = 2.0
"""Slow photos are stored sooner, so that progress is seen and little is lost."""

Stored = Sequence[tuple[Found, ItemOutcome]]


class ChunkEnd(Enum):
    """How work on a claimed chunk ended; only DONE means that nothing of it is left."""

    DONE = "done"
    RELEASED = "released"
    LOST = "lost"
    WAITING = "waiting"


@dataclass(frozen=True)
class RunningModel:
    """A model on this process's device, and the landmark ids of its labels by position."""

    model: Model
    pipeline: Pipeline
    landmarks: tuple[int, ...]


class Tagger:
    """Works on claimed chunks until `stop` is set; then what is in hand is stored and the rest given back."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._loading = threading.Lock()
        self._running: dict[int, RunningModel] = {}
        self._keeper = LeaseKeeper(database)
        self.stop = threading.Event()

    def tag_chunk(
        self, claimed: Claim, on_stored: Callable[[Stored], None] = lambda _stored: None
    ) -> ChunkEnd:
        """Look at every photo of a claimed chunk that has no outcome yet, and store what was found.

        Raises:
            ModelFailed, ModelGone, ModelChanged, ModelRefused: the model cannot be run; the chunk was given back.
        """
        with self._keeper.keeping(claimed) as lost:
            try:
                running = self.running_model(claimed.model_id)
                end = _ChunkWork(
                    self._database,
                    self._settings,
                    claimed,
                    running,
                    stop=self.stop,
                    lost=lost,
                    on_stored=on_stored,
                ).run()
            except LeaseLost:
                end = ChunkEnd.LOST
            except BaseException:
                self._give_back(claimed)
                raise
            if end in {ChunkEnd.RELEASED, ChunkEnd.WAITING}:
                self._give_back(claimed)
        if end is ChunkEnd.LOST:
            log.warning(
                "job %d chunk %d was taken over or cancelled", claimed.name.job_id, claimed.name.chunk
            )
        return end

    def running_model(self, model_id: int) -> RunningModel:
        """The model, loaded on first use."""
        with self._loading:
            if model_id not in self._running:
                self._running[model_id] = self._load(model_id)
            return self._running[model_id]

    def close(self) -> None:
        """Wait for what is in hand and end the threads."""
        self.stop.set()
        self._keeper.close()
        for running in self._running.values():
            running.pipeline.close()

    def _load(self, model_id: int) -> RunningModel:
        registered = model_by_id(self._database, model_id)
        verify(registered)
        settings = self._settings
        device = choose_device(settings.device, settings.batch_size)
        model = load_model(
            registered.file, registered.digest, registered.manifest, device, threads=settings.threads
        )
        limits = Limits(settings.threads or core_count(), settings.max_bytes, settings.max_pixels)
        return RunningModel(model, Pipeline(model, limits), landmark_ids(self._database, model_id))

    def _give_back(self, claimed: Claim) -> None:
        try:
            release(self._database, claimed)
        except SQLAlchemyError:
            log.warning("job %d chunk %d could not be given back; its lease ends", *_numbers(claimed))


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


class _ChunkWork:
    """One claimed chunk on its way through the pipeline."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        claimed: Claim,
        running: RunningModel,
        *,
        stop: threading.Event,
        lost: threading.Event,
        on_stored: Callable[[Stored], None],
    ) -> None:
        self._database = database
        self._settings = settings
        self._claimed = claimed
        self._running = running
        self._stop = stop
        self._lost = lost
        self._on_stored = on_stored
        self._sink = _ChunkSink(database, claimed)
        self._pending: dict[Request, OpenItem] = {}
        self._batch: list[Found] = []
        self._stored_at = time.monotonic()

    def run(self) -> ChunkEnd:
        while items := self._open_items():
            roots = self._roots()
            if away := self._away({item.root_id for item in items}, roots):
                self._wait_for(away[0])
                return ChunkEnd.WAITING
            busy = self._patiently(lambda: busy_elsewhere(self._database, self._claimed))
            free = [item for item in items if item.photo_id not in busy and item.root_id in roots]
            self._look_at(free, roots)
            if self._stop.is_set():
                return ChunkEnd.RELEASED
            self._check_lease()
            if not free:
                self._stop.wait(BUSY_PAUSE_S)
        return ChunkEnd.DONE

    def _open_items(self) -> list[OpenItem]:
        return self._patiently(lambda: open_items(self._database, self._claimed))

    def _look_at(self, items: Sequence[OpenItem], roots: Mapping[int, Root]) -> None:
        """Send photos into the pipeline and store what comes back, until all is stored or this has to stop."""
        try:
            self._send(items, roots)
            while self._pending:
                if self._stop.is_set() or self._lost.is_set():
                    self._withdraw()
                self._take_answers(wait=True)
            self._store()
        finally:
            self._withdraw()

    def _send(self, items: Sequence[OpenItem], roots: Mapping[int, Root]) -> None:
        for item in items:
            if self._stop.is_set() or self._lost.is_set():
                break
            request = Request(
                roots[item.root_id].path_of(item.path, item.path_bytes), self._sink, item.looked
            )
            self._pending[request] = item
            self._running.pipeline.submit(request)
            self._take_answers(wait=False)

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
                return
            if isinstance(answers, Exception):
                raise ModelFailed(name=self._running.model.manifest.name, reason=answers) from answers
            self._batch += [Found(self._pending.pop(request), result) for request, result in answers]
            if len(self._batch) >= STORE_PHOTOS or time.monotonic() - self._stored_at > STORE_S:
                self._store()

    def _store(self) -> None:
        found, self._batch = self._without_away(self._batch), []
        self._stored_at = time.monotonic()
        self._check_lease()
        if found:
            stored = self._patiently(
                lambda: store_found(self._database, self._claimed, found, self._running.landmarks)
            )
            self._on_stored(stored)

    def _without_away(self, found: list[Found]) -> list[Found]:
        """Photos that vanished with their whole root are not gone: they stay open, and the job waits for the root."""
        vanished = {each.item.root_id for each in found if _is_unreached(each)}
        if not vanished:
            return found
        roots = self._roots()
        here = roots.keys() - {root.id for root in self._away(vanished, roots)}
        return [each for each in found if each.item.root_id in here or not _is_unreached(each)]

    def _wait_for(self, root: Root) -> None:
        self._patiently(lambda: wait_for_root(self._database, self._claimed.name.job_id, root.name))

    def _check_lease(self) -> None:
        if self._lost.is_set():
            raise LeaseLost(job=self._claimed.name.job_id, chunk=self._claimed.name.chunk)

    def _roots(self) -> dict[int, Root]:
        def read() -> dict[int, Root]:
            with self._database.read() as connection:
                return {root.id: root for root in list_roots(connection, self._settings.roots)}

        return self._patiently(read)

    def _away(self, root_ids: set[int], roots: Mapping[int, Root]) -> list[Root]:
        named = [roots[root_id] for root_id in sorted(root_ids) if root_id in roots]

        def check() -> list[Root]:
            with self._database.read() as connection:
                return [root for root in named if is_away(connection, root)]

        return self._patiently(check)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Wait for a database that is away or locked, not as long if this process has to stop."""
        return patiently(work, self._stop, give_up=self._lost)


def _is_unreached(found: Found) -> bool:
    """Whether the file could not be reached, as when its root is not there any more."""
    unreached = {FailureKind.GONE, FailureKind.UNREADABLE}
    return isinstance(found.result, Failed) and found.result.failure.kind in unreached


def _numbers(claimed: Claim) -> tuple[int, int]:
    return claimed.name.job_id, claimed.name.chunk
