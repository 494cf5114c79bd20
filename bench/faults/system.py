"""The system under test: photos, Redis, a database and workers."""

import json
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.faults.supervisor import Supervisor
from bench.models import SHIPPED
from bench.photos import draw_image
from bench.processes import TAGGER, Finished, run, tagger_environment
from tagger.database.connection import Database, open_database
from tagger.database.schema import upgrade_database
from tagger.ledger.workers import list_workers
from tests.rig.servers import PostgresServer, RedisServer

INFERENCE_COUNTER = Path(__file__).parent / "inference_counter"
PHOTO_SIZE = (640, 480)
BATCH_SIZE = 8
READY_TIMEOUT_S = 120.0
SETTLE_S = "3"
"""The default, as one of the faults copies photos."""


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
        temporary = tempfile.TemporaryDirectory(prefix="tagger-faults-", ignore_cleanup_errors=True)
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
            settle_s=SETTLE_S,
        )
        counter = {"PYTHONPATH": str(INFERENCE_COUNTER), "INFERENCE_COUNTS": str(folder / "inferences")}
        supervisor = Supervisor(workers, environment | counter, folder / "workers.log")
        database = stack.enter_context(closing(open_database(url)))
        yield System(
            folder, redis, server, database, supervisor, environment, threading.Event(), threading.Lock()
        )


def wait_until_ready(system: System) -> None:
    """Wait until a worker is ready.

    Raises:
        SystemExit: none is in time. The message ends with the workers' log.
    """
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not list_workers(system.database):
        if time.monotonic() > deadline:
            raise SystemExit(f"no worker started:\n{system.log.read_text()[-2000:]}")
        time.sleep(0.2)


def draw_photos(folder: Path, first: int, count: int) -> None:
    """Draw distinct photos into a new folder; `first` is the number of those drawn before."""
    folder.mkdir(parents=True)
    for number in range(first, first + count):
        draw_image(number, PHOTO_SIZE).save(folder / f"{number:06}.jpg")


def enqueue_again(system: System, folder: Path) -> Finished:
    """Enqueue all photos of a folder, also those that have tags."""
    return run([*TAGGER, "enqueue", "--again", "--json", folder], system.environment)


def job_id(enqueued: Finished) -> int:
    """Return the id of the job that `enqueue` created."""
    return int(json.loads(enqueued.checked().out)["job"])
