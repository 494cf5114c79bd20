"""Measures one program over photos: CPU time of all its processes, and throughput. Start-up is excluded.

A command runs twice, over the warm-up photos and over these and the others; the difference is the cost.
Workers process the warm-up photos before the measurement begins.
"""

import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sqlalchemy import insert, select

from bench.compare.workers import run_peer, run_worker
from bench.photos import photos_in
from bench.processes import TAGGER, Finished, plain_environment, run, tagger_environment
from tagger.database.connection import open_database
from tagger.database.tables import backend_selections

REPOSITORY = Path(__file__).parents[2]
DATABASE = "tagger.sqlite"
# The lower limit of a cost, which may be zero within the clock's noise: ratios need a positive
# number.
MIN_COST = 0.001
LOADER_QUERY = "SELECT path, slug FROM tags WHERE rank = 1"
TAGGER_QUERY = """
    SELECT roots.location || '/' || photos.path, landmarks.slug
    FROM photos
    JOIN roots ON roots.id = photos.root_id
    JOIN tags ON tags.content_id = photos.content_id AND tags.rank = 1
    JOIN landmarks ON landmarks.id = tags.landmark_id
"""


@dataclass(frozen=True)
class Workload:
    """The model and the photos of a measurement. `data_folder` has this machine's backend selection."""

    model: Path
    data_folder: Path
    warm_up: Path
    folder: Path

    @cached_property
    def photos(self) -> Sequence[Path]:
        """The photos of the folder."""
        return photos_in(self.folder)


@dataclass(frozen=True)
class Measurement:
    """One run of a program, without start-up.

    `rate`: photos/s. `top_tags`: the slug of each photo's best tag. `backend` ran the tagger's model.
    """

    cpu_ms: float
    rate: float
    top_tags: Mapping[str, str]
    backend: str

    @classmethod
    def of(cls, database: Path, query: str, workload: Workload, cpu_s: float, wall_s: float) -> "Measurement":
        """That of a program whose tags are in `database`."""
        top_tags = read_top_tags(database, query, workload)
        backend = read_backend(database) if query == TAGGER_QUERY else "-"
        count = len(top_tags)
        return cls(max(1000 * cpu_s / count, MIN_COST), count / max(wall_s, MIN_COST), top_tags, backend)


def measure_tag(**settings: str) -> Callable[[Workload], Measurement]:
    """`tagger tag` with these settings."""

    def measure(workload: Workload) -> Measurement:
        def run_tag(folder: Path, paths: Sequence[Path]) -> Finished:
            shutil.copytree(workload.data_folder, folder, dirs_exist_ok=True)
            return _run_tag(workload.model, folder, paths, settings)

        return _measure_command(workload, run_tag, TAGGER_QUERY)

    return measure


def cache_backend_selection(model: Path, warm_up: Path, data_folder: Path) -> None:
    """Let the tagger choose the fastest backend of this machine, and keep of its database only the choice.

    Otherwise each run would compare the backends again.
    """
    _run_tag(model, data_folder, [warm_up], {})
    url = f"sqlite:///{data_folder / DATABASE}"
    with closing(open_database(url)) as database, database.read() as connection:
        choices = [dict(row) for row in connection.execute(select(backend_selections)).mappings()]
    for file in data_folder.glob("*.sqlite*"):
        file.unlink()
    with closing(open_database(url)) as database, database.write() as connection:
        connection.execute(insert(backend_selections), choices)


def reference_tags(workload: Workload) -> dict[str, str]:
    """The best tag of each photo, decoded at full size and computed in float32."""
    with _temporary_folder() as folder:
        _run_loader(workload.model, folder, [workload.folder], [])
        return read_top_tags(folder / DATABASE, LOADER_QUERY, workload)


def measure_loader(*options: str) -> Callable[[Workload], Measurement]:
    """The DataLoader of `bench.compare.loader`."""
    return lambda workload: _measure_command(
        workload, lambda folder, paths: _run_loader(workload.model, folder, paths, options), LOADER_QUERY
    )


def measure_worker(workload: Workload) -> Measurement:
    """A Celery worker of the tagger."""
    with _temporary_folder() as folder:
        shutil.copytree(workload.data_folder, folder, dirs_exist_ok=True)
        costs = run_worker(folder, workload.model, workload.warm_up, workload.folder)
        return Measurement.of(folder / DATABASE, TAGGER_QUERY, workload, *costs)


def measure_celery(workload: Workload) -> Measurement:
    """The Celery app of `bench.compare.celery_app`."""
    with _temporary_folder() as folder:
        database = folder / DATABASE
        costs = run_peer(_peer_environment(), database, workload.model, workload.warm_up, workload.photos)
        return Measurement.of(database, LOADER_QUERY, workload, *costs)


def read_top_tags(database: Path, query: str, workload: Workload) -> dict[str, str]:
    """Return the slug of each photo's best tag by the photo's path."""
    with closing(sqlite3.connect(database)) as connection:
        stored = dict(connection.execute(query))
    return {path: stored[path] for path in map(str, workload.photos)}


def read_backend(database: Path) -> str:
    """The backend that the tagger selected last."""
    query = "SELECT backend FROM backend_selections ORDER BY selected_at DESC LIMIT 1"
    with closing(sqlite3.connect(database)) as connection:
        return next((backend for (backend,) in connection.execute(query)), "-")


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        yield Path(name)


def _run_tag(model: Path, folder: Path, paths: Sequence[Path], settings: Mapping[str, str]) -> Finished:
    environment = tagger_environment(folder, model=str(model), device="cpu", **settings)
    return run([*TAGGER, "tag", *paths], environment).checked(0, 3)


def _run_loader(model: Path, folder: Path, paths: Sequence[Path], options: Sequence[str]) -> Finished:
    loader = [sys.executable, "-m", "bench.compare.loader", *options]
    command: list[str | Path] = [*loader, model, folder / DATABASE, *paths]
    return run(command, _peer_environment()).checked()


def _peer_environment() -> dict[str, str]:
    # OpenMP's threads sleep while they wait, as in the tagger. By default they spin: half of DataLoader's CPU
    # time would be spinning, and more on a busy machine.
    return plain_environment() | {"PYTHONPATH": str(REPOSITORY), "OMP_WAIT_POLICY": "PASSIVE"}


def _measure_command(
    workload: Workload, run_command: Callable[[Path, Sequence[Path]], Finished], query: str
) -> Measurement:
    with _temporary_folder() as folder:
        start = run_command(folder, [workload.warm_up])
    with _temporary_folder() as folder:
        total = run_command(folder, [workload.warm_up, workload.folder])
        costs = total.cpu_s - start.cpu_s, total.wall_s - start.wall_s
        return Measurement.of(folder / DATABASE, query, workload, *costs)


@dataclass(frozen=True)
class Program:
    """`name` is for --programs, `title` for the report."""

    name: str
    title: str
    measure: Callable[[Workload], Measurement]


TAG = "tag"
TORCHSCRIPT = {"backend": "torchscript"}

PROGRAMS = (
    Program(TAG, "`tagger tag`", measure_tag()),
    Program("tag-torchscript", "`tagger tag`, TorchScript", measure_tag(**TORCHSCRIPT)),
    Program("worker", "`tagger worker`", measure_worker),
    Program("celery", "Celery, one photo per task", measure_celery),
    Program("loader", "DataLoader", measure_loader()),
    Program("loader-tuned", "DataLoader, scaled, frozen", measure_loader("--tuned")),
)


def find_program(name: str) -> Program:
    return next(program for program in PROGRAMS if program.name == name)
