"""What one worker process has: its database, its tagger, its sweeper. Made when the worker starts, not at import."""

import logging
import socket
import threading

import redis
from celery import Celery
from kombu.exceptions import KombuError, OperationalError
from sqlalchemy.exc import SQLAlchemyError

from tagger.database import Database, open_database, patiently
from tagger.devices import choose_device
from tagger.holding import ChunkEnd
from tagger.ledger.chunks import Claim, claim
from tagger.registry import resolve_model
from tagger.schedules import RunPutOff, run_due
from tagger.settings import Settings
from tagger.tables import Runner
from tagger.tagging import Tagger
from tagger.writing.chosen import choose_adopted
from worker.broker import Broker, send_all
from worker.messages import ChunkMessage
from worker.sweeper import Seen, Sweeper
from worker.watchdog import STALL_S, Watchdog

log = logging.getLogger(__name__)


class Engine:
    """One process's: shared by all its task threads."""

    def __init__(self, app: Celery, settings: Settings, name: str) -> None:
        self.name = name
        self._app = app
        self._settings = settings
        self.database: Database = open_database(settings.effective_database_url)
        self.device = choose_device(settings.device, settings.batch_size).kind
        self.tagger = Tagger(self.database, settings)
        # Loaded before the first message comes: a model that cannot run stops the worker at its start.
        self.tagger.running_model(resolve_model(self.database, settings.model).id)
        self.broker = Broker(str(app.conf.broker_url), embedded=settings.redis_url is None)
        self._sweeper = Sweeper(app, self.broker, self.database, settings, Seen(name, self.device))
        stall_s = max(STALL_S, 2 * settings.read_timeout_s)
        self._watchdog = Watchdog(self.tagger.pulse, self._sweeper, stall_s)

    def start(self) -> None:
        """Show this worker to others, and look after what is theirs."""
        self._sweeper.start()
        self._watchdog.start()

    def tag(self, message: ChunkMessage) -> ChunkEnd | None:
        """Work on the chunk a message names; None where there is nothing to do any more."""
        claimed = patiently(lambda: self._claim(message), self.tagger.stop)
        if claimed is None:
            return None
        end = self.tagger.tag_chunk(claimed)
        self._top_up(claimed.name.job_id)
        about = {"job": claimed.name.job_id, "chunk": claimed.name.chunk}
        log.info("photos %d to %d: %s", claimed.first + 1, claimed.last + 1, end.value, extra=about)
        return end

    def _claim(self, message: ChunkMessage) -> Claim | None:
        self.tagger.pulse.hear()  # again each time: waiting for the database is no standstill
        return claim(self.database, message.name, Runner.WORKERS, self.name)

    def _top_up(self, job_id: int) -> None:
        """The job's window has moved on, or a job chained to it is due: send that, so that no worker waits for a sweep."""
        try:
            for chained in choose_adopted(self.database):
                send_all(self._app, self.database, chained)
            send_all(self._app, self.database, job_id)
        except (SQLAlchemyError, redis.RedisError, KombuError, OperationalError, OSError) as error:
            log.info("the next chunks are sent by the sweeper: %s", error, extra={"job": job_id})

    def run_schedules(self) -> None:
        """Make the runs that are due; their messages go out with the next sweep."""
        self.tagger.pulse.hear()
        for run in run_due(self.database, self._settings, self._may_go_on):
            log.info("a schedule was run: %s", run.note or "recorded", extra={"job": run.job})

    def _may_go_on(self, _found: int) -> None:
        self.tagger.pulse.hear()
        if self.tagger.stop.is_set():
            raise RunPutOff

    def close(self) -> None:
        """Store what is in hand, give the rest back, end the threads."""
        self._watchdog.close()
        self.tagger.close()
        self._sweeper.close()
        self.database.close()


_engine: Engine | None = None
_making = threading.Lock()


def make_engine(app: Celery, settings: Settings, name: str | None = None) -> Engine:
    """Make this process's engine, once; it is started when the worker can be stopped."""
    global _engine  # noqa: PLW0603 - a Celery task finds its process's engine nowhere else
    with _making:
        if _engine is None:
            _engine = Engine(app, settings, name or socket.gethostname())
        return _engine


def current_engine() -> Engine:
    if _engine is None:
        raise RuntimeError("the engine is made when the worker starts")
    return _engine


def stop_engine() -> None:
    """End this process's engine, if it has one."""
    global _engine  # noqa: PLW0603
    with _making:
        if _engine is not None:
            _engine.close()
            _engine = None
