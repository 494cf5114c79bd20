"""All that a soak runs: photos, a Redis, a database, workers; and the jobs that keep them busy."""

import json
import random
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sqlalchemy.exc import SQLAlchemyError

from bench.processes import TAGGER, run, tagger_environment
from bench.soak.supervisor import Supervisor
from tagger.database.connection import Database, open_database
from tagger.database.schema import upgrade_database
from tagger.ledger.progress import list_jobs
from tests.support.servers import PostgresServer, RedisServer

SHIPPED = Path(__file__).parents[2] / "tagger" / "shipped" / "landmarks.pt"
COUNTED = Path(__file__).parent / "counted"
SIZE = (640, 480)
BATCH_SIZE = 8
JOBS_IN_HAND = 4
FEED_S = 1.0


@dataclass(frozen=True)
class Recorded:
    """A job as `enqueue` reported it, over a folder with so many photos."""

    job: int
    folder: Path
    photos: int


@dataclass(frozen=True)
class Stage:
    """One soak's own machine room; `postgres` is None on SQLite."""

    folder: Path
    redis: RedisServer
    postgres: PostgresServer | None
    database: Database
    workers: Supervisor
    environment: dict[str, str]
    ending: threading.Event
    photos_in_use: threading.Lock
    """Held by whoever draws or enqueues photos, and by the fault that takes their folder away."""

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def model(self) -> Path:
        return self.folder / "model.pt"

    @property
    def log(self) -> Path:
        return self.folder / "workers.log"

    def passed(self) -> int:
        """How many photos went through the model of any worker."""
        passes = self.folder / "passes"
        return sum(int(line) for line in passes.read_text().split()) if passes.exists() else 0


@contextmanager
def staged(*, postgres: bool, workers: int) -> Iterator[Stage]:
    """Everything started, and ended and removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="tagger-soak-"))
    shutil.copy(SHIPPED, folder / "model.pt")
    server = PostgresServer() if postgres else None
    try:
        with RedisServer() as redis:
            url = f"sqlite:///{folder / 'tagger.sqlite'}"
            if server is not None:
                server.start()
                url = server.url
                upgrade_database(url)
            environment = tagger_environment(
                folder,
                redis_url=redis.url,
                database_url=url,
                model=str(folder / "model.pt"),
                threads="1",
                batch_size=str(BATCH_SIZE),
            )
            counted = {"PYTHONPATH": str(COUNTED), "SOAK_PASSES": str(folder / "passes")}
            database = open_database(url)
            supervisor = Supervisor(workers, environment | counted, folder / "workers.log")
            yield Stage(
                folder, redis, server, database, supervisor, environment, threading.Event(), threading.Lock()
            )
            database.close()
    finally:
        if server is not None:
            server.close()
        shutil.rmtree(folder, ignore_errors=True)


class Feeder:
    """Keeps enqueueing while the soak lasts: the same photos again, and now and then a folder of new ones."""

    def __init__(self, stage: Stage, photos: int, chance: random.Random) -> None:
        self._stage = stage
        self._chance = chance
        self._folders: dict[Path, int] = {}
        self.recorded: list[Recorded] = []
        self.refused: list[str] = []
        """What `enqueue` said where it ended with an error, as it may while the database is away or a wrong model lies there."""
        self._new_folder(photos)

    def run(self) -> None:
        """Until the stage ends."""
        while not self._stage.ending.wait(FEED_S):
            if self._in_hand() < JOBS_IN_HAND:
                self._enqueue()

    @property
    def drawn(self) -> int:
        """How many different photos there are."""
        return sum(self._folders.values())

    def _in_hand(self) -> int:
        try:
            return sum(not job.is_over for job in list_jobs(self._stage.database))
        except SQLAlchemyError:
            return JOBS_IN_HAND  # it is away: nothing could be recorded

    def _enqueue(self) -> None:
        if self._chance.random() < 0.25:
            folder = self._new_folder(self.drawn // 4)
        else:
            folder = self._chance.choice(list(self._folders))
        with self._stage.photos_in_use:
            done = run([*TAGGER, "enqueue", "--again", "--json", folder], self._stage.environment)
        if done.code == 0:
            self.recorded.append(Recorded(int(json.loads(done.out)["job"]), folder, self._folders[folder]))
        else:
            self.refused.append(done.err.strip().rpartition("\n")[2])

    def _new_folder(self, count: int) -> Path:
        folder = self._stage.photos / f"{len(self._folders):02}"
        with self._stage.photos_in_use:
            folder.mkdir(parents=True)
            for number in range(self.drawn, self.drawn + count):
                _draw(folder / f"{number:06}.jpg", number)
        self._folders[folder] = count
        return folder


def _draw(path: Path, number: int) -> None:
    """A picture of coloured clouds; another number, another picture."""
    few = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
    Image.fromarray(few).resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=85)
