"""The jobs that keep the workers busy during a soak."""

import random
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from bench.faults.system import System, draw_photos, enqueue_again, job_id
from tagger.ledger.progress import list_jobs

MAX_OPEN_JOBS = 4
ENQUEUE_INTERVAL_S = 1.0
NEW_FOLDER_PROBABILITY = 0.25


@dataclass(frozen=True)
class EnqueuedJob:
    """A job that `enqueue` reported, and the number of photos in its folder."""

    job: int
    folder: Path
    photos: int


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
            command = enqueue_again(self._system, folder)
        if command.code == 0:
            self.jobs.append(EnqueuedJob(job_id(command), folder, self._folders[folder]))
        else:
            self.errors.append(command.err.strip().rpartition("\n")[2])

    def _create_folder(self, count: int) -> Path:
        folder = self._system.photos / f"{len(self._folders):02}"
        with self._system.photos_lock:
            draw_photos(folder, self.photo_count, count)
        self._folders[folder] = count
        return folder
