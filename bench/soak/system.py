"""The system under test: photos, Redis, a database and workers; and the jobs that keep the workers busy."""

import json
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bench.models import SHIPPED
from bench.photos import draw_image
from bench.processes import TAGGER, run, tagger_environment
from bench.soak.supervisor import Supervisor
from tagger.database.connection import Database, open_database
from tagger.database.schema import upgrade_database
from tagger.ledger.progress import list_jobs
from tests.support.servers import PostgresServer, RedisServer

INFERENCE_COUNTER = Path(__file__).parent / "inference_counter"
PHOTO_SIZE = (640, 480)
BATCH_SIZE = 8
MAX_OPEN_JOBS = 4
ENQUEUE_INTERVAL_S = 1.0
NEW_FOLDER_PROBABILITY = 0.25


@dataclass(frozen=True)
class EnqueuedJob:
    """A job that `enqueue` reported, and the number of photos in its folder."""

    job: int
    folder: Path
    photos: int


@dataclass(frozen=True)
class System:
    """The servers, the workers and their files; `postgres` is None with SQLite."""

    folder: Path
    redis: RedisServer
    postgres: PostgresServer | None
    database: Database
    supervisor: Supervisor
    environment: dict[str, str]
    stopping: threading.Event
    photos_lock: threading.Lock
    """Held while photos are drawn or enqueued, and by the fault that renames their folder."""

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"

    def inference_count(self) -> int:
        """Return how many photos all workers together have classified."""
        counts = self.folder / "inferences"
        return sum(map(int, counts.read_text().split())) if counts.exists() else 0


@contextmanager
def running_system(*, postgres: bool, workers: int) -> Iterator[System]:
    """Start the servers; stop them and delete all files at the end. The workers are started by their supervisor."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="tagger-soak-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        shutil.copy(SHIPPED, folder / "model.pt")
        server = stack.enter_context(PostgresServer()) if postgres else None
        redis = stack.enter_context(RedisServer())
        url = server.url if server else f"sqlite:///{folder / 'tagger.sqlite'}"
        upgrade_database(url)
        environment = tagger_environment(
            folder,
            redis_url=redis.url,
            database_url=url,
            model=str(folder / "model.pt"),
            threads="1",
            batch_size=str(BATCH_SIZE),
        )
        counter = {"PYTHONPATH": str(INFERENCE_COUNTER), "SOAK_INFERENCES": str(folder / "inferences")}
        supervisor = Supervisor(workers, environment | counter, folder / "workers.log")
        database = stack.enter_context(closing(open_database(url)))
        yield System(
            folder, redis, server, database, supervisor, environment, threading.Event(), threading.Lock()
        )


class JobProducer:
    """Enqueues jobs until the system stops: the same folders again, and sometimes a folder of new photos."""

    def __init__(self, system: System, photos: int, rng: random.Random) -> None:
        self._system = system
        self._rng = rng
        self._folders: dict[Path, int] = {}
        self.jobs: list[EnqueuedJob] = []
        self.errors: list[str] = []
        """Errors of `enqueue`, which are expected while the database is unavailable or the model file is invalid."""
        self._create_folder(photos)

    def run(self) -> None:
        while not self._system.stopping.wait(ENQUEUE_INTERVAL_S):
            if self._open_jobs() < MAX_OPEN_JOBS:
                self._enqueue()

    @property
    def photo_count(self) -> int:
        return sum(self._folders.values())

    def _open_jobs(self) -> int:
        try:
            return sum(not job.is_over for job in list_jobs(self._system.database))
        except SQLAlchemyError:
            return MAX_OPEN_JOBS  # without the database, no job can be recorded

    def _enqueue(self) -> None:
        if self._rng.random() < NEW_FOLDER_PROBABILITY:
            folder = self._create_folder(self.photo_count // 4)
        else:
            folder = self._rng.choice(list(self._folders))
        with self._system.photos_lock:
            command = run([*TAGGER, "enqueue", "--again", "--json", folder], self._system.environment)
        if command.code == 0:
            self.jobs.append(EnqueuedJob(int(json.loads(command.out)["job"]), folder, self._folders[folder]))
        else:
            self.errors.append(command.err.strip().rpartition("\n")[2])

    def _create_folder(self, count: int) -> Path:
        folder = self._system.photos / f"{len(self._folders):02}"
        first = self.photo_count
        with self._system.photos_lock:
            folder.mkdir(parents=True)
            for number in range(first, first + count):
                draw_image(number, PHOTO_SIZE).save(folder / f"{number:06}.jpg")
        self._folders[folder] = count
        return folder
