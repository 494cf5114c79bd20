"""Measures one library of a fleet: recorded, classified, located, classified again, vacuumed, queried and looked at."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory
from unittest.mock import patch

from bench.fleet.jobs import JobCosts, Servers, run_job
from bench.fleet.photos import ListedFolder
from bench.fleet.storage import TableSize, table_sizes, total_bytes, vacuum
from bench.fleet.stored_photos import store_photos
from bench.page.library import Library
from bench.page.views import request_complete, views_of
from bench.queries import filters
from bench.report import note
from tagger.catalog.landmarks import all_landmarks
from tagger.catalog.registered_models import resolve_model
from tagger.database.connection import Database, open_database
from tagger.database.enums import Priority, Runner
from tagger.database.schema import upgrade_database
from tagger.enqueue import scan
from tagger.enqueue.backfill import Backfill, BackfillScope, backfill_job, record_backfill
from tagger.enqueue.selection import Selection
from tagger.enqueue.tag_jobs import record_tag_job, tag_job
from tagger.ledger.progress import list_jobs
from tagger.positions.update import SmallUpdates
from tagger.query.find import find_tagged
from tagger.query.landmark_counts import landmark_counts
from tagger.settings import load_settings
from tests.rig.large_library import ROOT, add_older_model
from tests.rig.servers import PostgresServer, RedisServer


@dataclass
class FleetCosts:
    """What `photos` cost in a library that has `stored` others. Times are of one thread of this process, unless a job's workers are named."""

    photos: int
    stored: int = 0
    recording_s: dict[str, float] = field(default_factory=dict)
    jobs: dict[str, JobCosts] = field(default_factory=dict)
    locating_s: float = 0.0
    sizes: dict[str, TableSize] = field(default_factory=dict)
    classified_bytes: int = 0
    again_bytes: int = 0
    vacuumed_bytes: int = 0
    dead_rows: int = 0
    vacuum_s: float = 0.0
    query_ms: dict[str, float] = field(default_factory=dict)
    view_ms: dict[str, float] = field(default_factory=dict)

    @property
    def library(self) -> int:
        """The number of all photos."""
        return self.stored + self.photos


def measure_fleet(costs: FleetCosts, workers: int, rounds: int) -> None:
    """Measure a new library with servers of its own, and add its costs."""
    with (
        TemporaryDirectory(prefix="tagger-bench-") as name,
        PostgresServer(settings=()) as postgres,
        RedisServer() as redis,
    ):
        root = _new_root(Path(name) / ROOT.name)
        listed = _new_root(Path(name) / "new") if costs.stored else root
        _prepare(postgres.url, costs.stored)
        with closing(open_database(postgres.url)) as database:
            _run_jobs(database, Servers(postgres, redis), ListedFolder(listed, costs.photos), workers, costs)
            _measure_queries(database, ROOT if costs.stored else root, rounds, costs)
            landmarks = tuple(landmark_counts(database))
        _measure_views(Library(postgres.url, root, costs.library, (), (), landmarks), rounds, costs)


def _new_root(folder: Path) -> Path:
    folder.mkdir()
    (folder / "a file").touch()  # an empty folder would count as an unmounted disk
    return folder


def _prepare(url: str, stored: int) -> None:
    """Make the database, with its stored photos and two models."""
    if stored:
        note(f"storing {stored} photos")
        store_photos(url, stored)
        return
    upgrade_database(url)
    with closing(open_database(url)) as database:
        model = resolve_model(database, None)
        with database.write() as connection:
            add_older_model(connection, model.id)


def _run_jobs(
    database: Database, servers: Servers, source: ListedFolder, workers: int, costs: FleetCosts
) -> None:
    settings = load_settings(database_url=servers.postgres.url)
    selection = Selection((source.folder,), ())

    def record_tag() -> int:
        new = tag_job(database, settings, selection, runner=Runner.WORKERS, priority=Priority.BULK)
        return record_tag_job(database, new, selection, {})[0]

    def record_all() -> int:
        backfill = Backfill(BackfillScope.ALL, under=(source.folder,))
        new = backfill_job(database, settings, backfill, Priority.BULK)
        return record_backfill(database, backfill, new, {})[0]

    with patch.object(scan, "open_source", lambda _: source):
        first = _recorded(costs, "a scan of new photos", record_tag)
    costs.jobs["new photos"] = run_job(database, servers, first, workers)
    with patch.object(scan, "open_source", lambda _: source):
        _recorded(costs, "a scan of known photos", record_tag)
    costs.classified_bytes = total_bytes(table_sizes(database))
    note("locating the photos")
    updates = SmallUpdates(database)
    with _timer() as elapsed_s:
        while updates.update():
            pass
    costs.locating_s = elapsed_s()
    located_bytes = total_bytes(table_sizes(database))
    again = _recorded(costs, "a backfill of all", record_all)
    costs.jobs["all again"] = run_job(database, servers, again, workers)
    costs.again_bytes = total_bytes(table_sizes(database)) - located_bytes
    costs.vacuum_s, costs.dead_rows = vacuum(servers.postgres.url)
    costs.sizes = dict(table_sizes(database))
    costs.vacuumed_bytes = total_bytes(costs.sizes)


def _recorded(costs: FleetCosts, name: str, record: Callable[[], int]) -> int:
    note(f"{costs.photos} photos: {name}")
    with _timer() as elapsed_s:
        job = record()
    costs.recording_s[name] = elapsed_s()
    return job


def _measure_queries(database: Database, root: Path, rounds: int, costs: FleetCosts) -> None:
    note(f"{costs.photos} photos: queries")
    with database.read() as connection:
        landmarks = all_landmarks(connection)
    rng, times_ms = Random(0), dict[str, list[float]]()
    for _ in range(rounds):
        for name, query in filters(landmarks, rng, root).items():
            with _timer() as elapsed_s:
                for _photo in find_tagged(database, query):
                    pass
            times_ms.setdefault(name, []).append(elapsed_s() * 1000)
    costs.query_ms = {name: percentile(each, 0.95) for name, each in times_ms.items()}
    with _timer() as elapsed_s:
        list_jobs(database)
    costs.query_ms["the jobs of `tagger status`"] = elapsed_s() * 1000
    with _timer() as elapsed_s:
        landmark_counts(database)
    costs.query_ms["`tagger landmarks`"] = elapsed_s() * 1000


def _measure_views(library: Library, rounds: int, costs: FleetCosts) -> None:
    note(f"{costs.photos} photos: views")
    views = views_of(library)
    with library.new_server({}) as server:
        for view in views:
            request_complete(server, view.path)
        times_ms = [[server.get(view.path).total_s * 1000 for view in views] for _ in range(rounds)]
    costs.view_ms = {
        view.name: median(each) for view, each in zip(views, zip(*times_ms, strict=True), strict=True)
    }


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of the values lies; 0 without values."""
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))] if ordered else 0.0


@contextmanager
def _timer() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds since the start of the block."""
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start
