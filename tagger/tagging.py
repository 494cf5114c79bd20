"""Claimed chunks: their leases kept, their model loaded, their photos looked at. What `tagger tag` and the workers share.

Knows nothing of Celery. One `Tagger` is one process's: its models, their pipelines, and the leases it holds.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.exc import SQLAlchemyError

from tagger.chunk_work import ChunkWork, RunningModel, has_to_be_alone
from tagger.database import Database
from tagger.devices import Device, choose_device, core_count, passes_at_once
from tagger.errors import LeaseLost
from tagger.holding import ChunkEnd, Holding, Stored
from tagger.ledger.chunks import Claim, release
from tagger.ledger.keeper import LeaseKeeper
from tagger.library import landmark_ids
from tagger.metrics import CHUNKS_HELD, RETRIES
from tagger.model import HowToRun, load_fastest
from tagger.pipeline import Pipeline
from tagger.reading import Limits
from tagger.registry import model_by_id, verify
from tagger.settings import Settings
from tagger.tables import WRITING_KINDS
from tagger.turns import Turns
from tagger.writing.chunk import ChunkWriting

log = logging.getLogger(__name__)

SELF_TESTS = "self-tests.json"
"""In the data folder: what runs each model best on this machine."""


class Pulse:
    """Whether work goes on: when a message last came, and of each chunk in hand, when anything last came of it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heard = time.monotonic()
        self._beats: dict[object, float] = {}

    def hear(self) -> None:
        """A message has come."""
        self._heard = time.monotonic()

    @contextmanager
    def busy(self) -> Iterator[Callable[[], None]]:
        """A chunk is in hand; call what this gives whenever something comes of it."""
        me = object()

        def beat() -> None:
            self._beats[me] = time.monotonic()

        with self._lock:
            beat()
            CHUNKS_HELD.set(len(self._beats))
        try:
            yield beat
        finally:
            with self._lock:
                del self._beats[me]
                CHUNKS_HELD.set(len(self._beats))

    @property
    def is_busy(self) -> bool:
        return bool(self._beats)

    @property
    def stuck_s(self) -> float:
        """Seconds since anything came of the chunk that has been silent longest; 0 where none is in hand."""
        with self._lock:
            return time.monotonic() - min(self._beats.values()) if self._beats else 0.0

    @property
    def silent_s(self) -> float:
        """Seconds since the last message."""
        return time.monotonic() - self._heard


class Tagger:
    """Works on claimed chunks until `stop` is set; then what is in hand is stored and the rest given back."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self._database = database
        self._settings = settings
        self._loading = threading.Lock()
        self._running: dict[int, RunningModel] = {}
        self._keeper = LeaseKeeper(database)
        self.stop = threading.Event()
        self.pulse = Pulse()
        self._turns = Turns(self.stop)

    def tag_chunk(
        self, claimed: Claim, on_stored: Callable[[Stored], None] = lambda _stored: None
    ) -> ChunkEnd:
        """Look at every photo of a claimed chunk that has no outcome yet, or write its metadata, and store what came of it.

        Raises:
            ModelFailed, ModelGone, ModelChanged, ModelRefused: the model cannot be run; the chunk was given back.
            ReadsHang: no photo is read any more; the chunk was given back, and this process has to end.
        """
        alone = has_to_be_alone(claimed)
        with (
            self._keeper.keeping(claimed) as lost,
            self._turns.taken(alone=alone) as is_our_turn,
            self.pulse.busy() as beat,
        ):
            try:
                end = self._work(claimed, lost, on_stored, beat) if is_our_turn else ChunkEnd.RELEASED
            except LeaseLost:
                end = ChunkEnd.LOST
            except BaseException:
                self._give_back(claimed)
                raise
            if end in {ChunkEnd.RELEASED, ChunkEnd.WAITING}:
                self._give_back(claimed)
        if end is ChunkEnd.LOST:
            log.warning(
                "job %d chunk %d was taken over, paused or cancelled", claimed.name.job_id, claimed.name.chunk
            )
        return end

    def _work(
        self,
        claimed: Claim,
        lost: threading.Event,
        on_stored: Callable[[Stored], None],
        beat: Callable[[], None],
    ) -> ChunkEnd:
        if claimed.attempts > 1:
            RETRIES.inc()
        holding = Holding(
            self._database,
            self._settings,
            claimed,
            stop=self.stop,
            lost=lost,
            on_stored=on_stored,
            on_progress=beat,
        )
        if claimed.kind in WRITING_KINDS:
            return ChunkWriting(holding).run()
        return ChunkWork(holding, self.running_model(claimed.model_id)).run()

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
        model = load_fastest(
            registered.file, registered.digest, registered.manifest, device, how_to_run(device, settings)
        )
        readers = settings.threads or core_count()
        limits = Limits(readers, settings.max_bytes, settings.max_pixels, settings.read_timeout_s)
        return RunningModel(model, Pipeline(model, limits), limits, landmark_ids(self._database, model_id))

    def _give_back(self, claimed: Claim) -> None:
        try:
            release(self._database, claimed)
        except SQLAlchemyError:
            log.warning("job %d chunk %d could not be given back; its lease ends", *_numbers(claimed))


def how_to_run(device: Device, settings: Settings) -> HowToRun:
    """What these settings ask of a model on a device."""
    return HowToRun(
        runner=None if settings.runner == "auto" else settings.runner,
        at_once=passes_at_once(device, settings.threads),
        batch_size=settings.batch_size,
        memory=settings.data_folder / SELF_TESTS,
    )


def _numbers(claimed: Claim) -> tuple[int, int]:
    return claimed.name.job_id, claimed.name.chunk
