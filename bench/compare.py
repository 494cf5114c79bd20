"""Compares the tagger with a PyTorch DataLoader and with plain Celery, with the same model.

    python -m bench.compare FOLDER… [--photos N] [--programs tag worker] [--rounds 3]

Prints a report in Markdown. `docs/how-to/benchmark.md` describes the programs and the report.
"""

import argparse
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import mean, median

from celery import Celery
from sqlalchemy import insert, select

from bench.rig import (
    SHIPPED,
    TAGGER,
    Finished,
    cpu_seconds,
    draw_photos,
    evenly_spread,
    note,
    photos_in,
    plain_environment,
    print_heading,
    run,
    table,
    tagger_environment,
    value_range,
)
from tagger.database.connection import Database, open_database
from tagger.database.tables import backend_selections
from tagger.ledger.job_control import JobProgress, find_job
from tagger.ledger.workers import list_workers
from tests.rig.servers import RedisServer

REPOSITORY = Path(__file__).parents[1]
LIBRARY = "tagger.sqlite"
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
BACKEND_QUERY = (
    "SELECT backend FROM backend_selections ORDER BY selected_at DESC LIMIT 1"
)


@dataclass(frozen=True)
class Workload:
    """The model and the photos of a measurement. `data_folder` has this machine's backend selection."""

    model: Path
    data_folder: Path
    warm_up: Path
    folder: Path

    @cached_property
    def photos(self) -> Sequence[Path]:
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
    def of(
        cls, database: Path, query: str, workload: Workload, cpu_s: float, wall_s: float
    ) -> "Measurement":
        top_tags = read_top_tags(database, query, workload)
        backend = "-"
        if query == TAGGER_QUERY:
            with closing(sqlite3.connect(database)) as connection:
                (backend,) = connection.execute(BACKEND_QUERY).fetchone() or ("-",)
        count = len(top_tags)
        return cls(
            max(1000 * cpu_s / count, MIN_COST),
            count / max(wall_s, MIN_COST),
            top_tags,
            backend,
        )


def measure_tag(**settings: str) -> Callable[[Workload], Measurement]:
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
    url = f"sqlite:///{data_folder / LIBRARY}"
    with closing(open_database(url)) as database, database.read() as connection:
        choices = [
            dict(row)
            for row in connection.execute(select(backend_selections)).mappings()
        ]
    for file in data_folder.glob("*.sqlite*"):
        file.unlink()
    with closing(open_database(url)) as database, database.write() as connection:
        connection.execute(insert(backend_selections), choices)


def measure_loader(*options: str) -> Callable[[Workload], Measurement]:
    return lambda workload: _measure_command(
        workload,
        lambda folder, paths: _run_loader(workload.model, folder, paths, options),
        LOADER_QUERY,
    )


def measure_worker(workload: Workload) -> Measurement:
    """Measure a worker of the tagger, from the first claim of a photo to the end of their job."""
    with _temporary_folder() as data, ExitStack() as stack:
        shutil.copytree(workload.data_folder, data, dirs_exist_ok=True)
        server = stack.enter_context(RedisServer())
        environment = tagger_environment(
            data, model=str(workload.model), device="cpu", redis_url=server.url
        )
        database = stack.enter_context(
            closing(open_database(f"sqlite:///{data / LIBRARY}"))
        )
        worker = stack.enter_context(_process([*TAGGER, "worker"], environment, data))
        while not list_workers(database):  # it registers once its model is loaded
            _wait_for(worker)
        time.sleep(1.0)  # Celery subscribes to its queues just after
        _run_job(workload.warm_up, environment, worker, database)
        cpu_before_s = cpu_seconds(worker.pid)
        job = _run_job(workload.folder, environment, worker, database)
        if job.started_at is None or job.finished_at is None:
            raise SystemExit("the job did not start")
        cpu_s = cpu_seconds(worker.pid) - cpu_before_s
        wall_s = (job.finished_at - job.started_at).total_seconds()
        return Measurement.of(data / LIBRARY, TAGGER_QUERY, workload, cpu_s, wall_s)


def measure_celery(workload: Workload) -> Measurement:
    """Measure a Celery worker of `bench.peers` with one process per core."""
    with _temporary_folder() as folder, RedisServer() as server:
        database = folder / LIBRARY
        environment = _peer_environment() | {
            "PEER_BROKER": server.url,
            "PEER_MODEL": str(workload.model),
            "PEER_DATABASE": str(database),
        }
        command = [sys.executable, "-m", "celery", "-A", "bench.peers", "worker"]
        command += ["--pool", "prefork", "--loglevel", "WARNING"]
        with _process(command, environment, folder) as worker:
            sender = Celery(broker=server.url)
            warm_up_photos = list(workload.warm_up.iterdir())
            _send(sender, warm_up_photos)
            _wait_for_photos(worker, database, len(warm_up_photos))
            cpu_before_s, start = cpu_seconds(worker.pid), time.monotonic()
            _send(sender, workload.photos)
            count = len(warm_up_photos) + len(workload.photos)
            _wait_for_photos(worker, database, count)
            costs = cpu_seconds(worker.pid) - cpu_before_s, time.monotonic() - start
        return Measurement.of(database, LOADER_QUERY, workload, *costs)


def read_top_tags(
    database: Path,
    query: str,
    workload: Workload,
) -> dict[str, str]:
    with closing(sqlite3.connect(database)) as connection:
        stored = dict(connection.execute(query))
    return {path: stored[path] for path in map(str, workload.photos)}


@contextmanager
def _temporary_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        yield Path(name)


def _run_tag(
    model: Path,
    folder: Path,
    paths: Sequence[Path],
    settings: Mapping[str, str],
) -> Finished:
    environment = tagger_environment(folder, model=str(model), device="cpu", **settings)
    return run([*TAGGER, "tag", *paths], environment).checked(0, 3)


def _run_loader(
    model: Path,
    folder: Path,
    paths: Sequence[Path],
    options: Sequence[str],
) -> Finished:
    loader = [sys.executable, "-m", "bench.peers", *options]
    command: list[str | Path] = [*loader, model, folder / LIBRARY, *paths]
    return run(command, _peer_environment()).checked()


def _peer_environment() -> dict[str, str]:
    # OpenMP's threads sleep while they wait, as in the tagger. By default they spin: half of DataLoader's CPU
    # time would be spinning, and more on a busy machine.
    return plain_environment() | {
        "PYTHONPATH": str(REPOSITORY),
        "OMP_WAIT_POLICY": "PASSIVE",
    }


def _measure_command(
    workload: Workload,
    run_command: Callable[[Path, Sequence[Path]], Finished],
    query: str,
) -> Measurement:
    with _temporary_folder() as folder:
        start = run_command(folder, [workload.warm_up])
    with _temporary_folder() as folder:
        total = run_command(folder, [workload.warm_up, workload.folder])
        costs = total.cpu_s - start.cpu_s, total.wall_s - start.wall_s
        return Measurement.of(folder / LIBRARY, query, workload, *costs)


TAG = "tag"
# By their names for --programs: their titles in the report, and what measures them.
PROGRAMS: Mapping[str, tuple[str, Callable[[Workload], Measurement]]] = {
    TAG: ("`tagger tag`", measure_tag()),
    "tag-torchscript": (
        "`tagger tag`, TorchScript",
        measure_tag(backend="torchscript"),
    ),
    "worker": ("`tagger worker`", measure_worker),
    "celery": ("Celery, one photo per task", measure_celery),
    "loader": ("DataLoader", measure_loader()),
    "loader-tuned": ("DataLoader, scaled, frozen", measure_loader("--tuned")),
}


# Real Celery workers with a new database: the tagger's, and that of `bench.peers`.

POLL_S = 0.1
Worker = subprocess.Popen[bytes]


def _send(sender: Celery, photos: Sequence[Path]) -> None:
    for path in photos:
        sender.send_task("tag", (str(path),))


def _wait_for_photos(worker: Worker, database: Path, count: int) -> None:
    stored = 0
    while stored < count:
        _wait_for(worker)
        with (
            closing(sqlite3.connect(database, timeout=30)) as connection,
            suppress(sqlite3.OperationalError),
        ):
            # the table may not exist yet
            stored = connection.execute(
                "SELECT count(*) FROM tags WHERE rank = 1"
            ).fetchone()[0]


def _run_job(
    folder: Path,
    environment: dict[str, str],
    worker: Worker,
    database: Database,
) -> JobProgress:
    # Enqueue a folder and wait for the job's end.
    enqueue = run([*TAGGER, "enqueue", folder], environment).checked()
    while not (progress := find_job(database, int(enqueue.out))).is_over:
        _wait_for(worker)
    return progress


@contextmanager
def _process(
    command: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
) -> Iterator[Worker]:
    # Run a worker process, with a log in the folder; stop it with SIGTERM at the end.
    with (folder / "worker.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def _wait_for(worker: Worker) -> None:
    if worker.poll() is not None:
        raise SystemExit("a worker ended")
    time.sleep(POLL_S)


# The results for one set of photos: medians of all rounds, ratios within a round, and their tables.

# TorchScript optimises a network in its first two runs, also with batches.
WARM_UP_PHOTOS = 64
INTRODUCTION = f"""\
Values are medians of the rounds; ratios are medians of each round's ratio. See `docs/how-to/benchmark.md`.

- **backend**: what ran the tagger's model.
- **CPU ms/photo**: user and system time of all processes, without start-up. Compare programs by this value:
  other load on the machine hardly changes it. A command runs twice, over
  {WARM_UP_PHOTOS} small photos, and over these and the others; the difference counts.
- **photos/s**: wall time, also without start-up; other load changes it.
- **same top-1**: photos whose best tag equals that of DataLoader, which decodes at full size, in float32.
"""
_COLUMNS = (
    "",
    "backend",
    "CPU ms/photo",
    "range",
    "÷ `tagger tag`",
    "photos/s",
    "range",
    "same top-1",
)


def report(
    name: str,
    photos: Sequence[Path],
    rounds: Mapping[str, Sequence[Measurement]],
    reference: Mapping[str, str],
) -> str:
    """The table of the measurements by program; `reference` has the expected best tag of each photo."""
    rows = []
    for program, measurements in rounds.items():
        costs = [each.cpu_ms for each in measurements]
        rates = [each.rate for each in measurements]
        baseline = [each.cpu_ms for each in rounds.get(TAG, ())]
        ratios = [cost / other for cost, other in zip(costs, baseline, strict=False)]
        same = min(
            sum(each.top_tags[path] == slug for path, slug in reference.items())
            for each in measurements
        )
        row: list[object] = [
            PROGRAMS[program][0],
            ", ".join(sorted({each.backend for each in measurements})),
            median(costs),
            value_range(costs),
            f"{median(ratios):.2f} x" if ratios else "-",
            median(rates),
            value_range(rates),
            f"{100 * same / len(reference):.1f} %",
        ]
        rows.append(row)
    mean_mb = mean(photo.stat().st_size for photo in photos) / 1e6
    count = len(next(iter(rounds.values())))
    heading = f"### {name}: {len(photos)} photos, {mean_mb:.2f} MB on average, rounds: {count}"
    return f"{heading}\n\n{table(_COLUMNS, rows)}"


# The size of the photos that every program processes before it is measured.
SMALL = (320, 240)


def main() -> None:
    """Compare the tagger with a PyTorch DataLoader and with plain Celery."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.compare", description=main.__doc__
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="FOLDER", help="folders with photos"
    )
    photos = "photos of each folder at most, evenly spread [800]"
    parser.add_argument("--photos", type=int, default=800, help=photos)
    parser.add_argument("--rounds", type=int, default=3, help="[3]")
    names = list(PROGRAMS)
    parser.add_argument(
        "--programs", nargs="+", choices=names, default=names, help="[all]"
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=SHIPPED,
        help="a model file [the one of the package]",
    )
    args = parser.parse_args()
    args.model = args.model.absolute()
    programs = [name for name in names if name in args.programs]
    with tempfile.TemporaryDirectory(prefix="tagger-bench-") as name:
        data_folder, warm_up = Path(name, "data"), Path(name, "warm-up")
        draw_photos(warm_up, 0, WARM_UP_PHOTOS, SMALL)
        cache_backend_selection(args.model, warm_up, data_folder)
        print_heading("Comparison")
        print(INTRODUCTION, flush=True)
        for number, source in enumerate(args.folders):
            folder = Path(name, f"photos-{number}")
            # So many of a folder's photos, evenly spread: all programs get a folder.
            for photo in evenly_spread(photos_in(source.resolve()), args.photos):
                copy = folder / photo.relative_to(source.resolve())
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(photo, copy)
            workload = Workload(args.model, data_folder, warm_up, folder)
            name_of_folder = source.resolve().name
            print(compare(name_of_folder, workload, programs, args.rounds), flush=True)


def compare(name: str, workload: Workload, programs: Sequence[str], count: int) -> str:
    note(f"{name}: {len(workload.photos)} photos; computing the reference tags")
    # The best tag of each photo, decoded at full size and computed in float32.
    with _temporary_folder() as folder:
        _run_loader(workload.model, folder, [workload.folder], [])
        reference = read_top_tags(folder / LIBRARY, LOADER_QUERY, workload)
    rounds: dict[str, list[Measurement]] = {program: [] for program in programs}
    for number in range(count):
        note(f"{name}: round {number + 1} of {count}")
        first = number % len(programs)  # none always follows the same one
        for program in (*programs[first:], *programs[:first]):
            title, measure = PROGRAMS[program]
            measurement = measure(workload)
            rounds[program].append(measurement)
            note(
                f"{title}: {measurement.cpu_ms:.1f} CPU ms/photo, {measurement.rate:.1f} photos/s"
            )
    return report(name, workload.photos, rounds, reference)


if __name__ == "__main__":
    main()
