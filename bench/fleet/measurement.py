"""Measures one library of a fleet: recorded, classified, located, classified again, vacuumed."""

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from sqlalchemy import Connection, text

from bench.fleet.jobs import JobCosts, Servers, run_job
from bench.fleet.photos import ListedFolder
from bench.report import note
from tagger.database.connection import Database, open_database
from tagger.database.enums import Priority, Runner
from tagger.database.schema import upgrade_database
from tagger.jobs.enqueue import scan
from tagger.jobs.enqueue.backfill import Backfill, BackfillScope, backfill_job, record_backfill
from tagger.jobs.enqueue.scan import Selection
from tagger.jobs.enqueue.tag_jobs import record_tag_job, tag_job
from tagger.library.catalog.kept_counts import recount_all
from tagger.library.catalog.registered_models import resolve_model
from tagger.library.positions.update import SmallUpdates
from tagger.library.query.options import PhotoQuery
from tagger.settings import load_settings
from tests.rig.large_library import ROOT, add_older_model, fill_library
from tests.rig.postgres_databases import autocommitted
from tests.rig.servers import PostgresServer, RedisServer

_LOADING = {
    "session_replication_role": "replica",
    "synchronous_commit": "off",
    "maintenance_work_mem": "'1GB'",
}
"""Settings of the sessions that load the rows, as `pg_restore` would: without triggers and checks of foreign keys, which the rows fulfil."""
_INDEXES = text("""
    SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
    WHERE relnamespace = 'public'::regnamespace AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)""")
_EMBEDDINGS = text("""
    INSERT INTO embeddings (content_id, model_id, taught_version, data)
    SELECT id, model_id, 0, :range || decode(repeat(md5(id::text), :times), 'hex') FROM contents""")
_COUNTS = "landmark_block_counts, landmark_totals, month_block_counts, month_totals, changed_blocks"
_NEXT_ID = text("SELECT setval(pg_get_serial_sequence('contents', 'id'), (SELECT max(id) FROM contents))")
_MD5_BYTES = 16
_SIZES = text("""
    SELECT relname, pg_table_size(oid) AS rows, pg_indexes_size(oid) AS indexes FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace""")
_DEAD = text("SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables")


@dataclass(frozen=True)
class TableSize:
    """In bytes, large values included."""

    rows: int
    indexes: int


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

    @property
    def library(self) -> int:
        """The number of all photos."""
        return self.stored + self.photos


def measure_fleet(costs: FleetCosts, workers: int) -> None:
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
        backfill = Backfill(BackfillScope.ALL, PhotoQuery(under=(source.folder,)))
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


def percentile(values: Sequence[float], part: float) -> float:
    """The value below which this part of the values lies; 0 without values."""
    ordered = sorted(values)
    return ordered[int(part * (len(ordered) - 1))] if ordered else 0.0


@contextmanager
def _timer() -> Iterator[Callable[[], float]]:
    """Yield a function that returns the seconds since the start of the block."""
    start = time.perf_counter()
    yield lambda: time.perf_counter() - start


def store_photos(url: str, count: int) -> None:
    """Fill an empty PostgreSQL database with the rows of `tests.rig.large_library`, and an embedding of each image.

    PostgreSQL makes the rows: a job over so many photos would take hours.
    """
    upgrade_database(url)
    with autocommitted(url) as connection:
        indexes = connection.execute(_INDEXES).all()
        for index in indexes:
            connection.execute(text(f"DROP INDEX {index.name}"))
        for name, value in _LOADING.items():
            connection.execute(text(f"ALTER DATABASE {connection.engine.url.database} SET {name} = {value}"))
    fill_library(url, count)
    with autocommitted(url) as connection:  # with the settings above
        _store_embeddings(connection, _dimension(url))
        connection.execute(_NEXT_ID)
        for index in indexes:
            connection.execute(text(index.definition))
        connection.execute(text("VACUUM (ANALYZE)"))
        connection.execute(text(f"ALTER DATABASE {connection.engine.url.database} RESET ALL"))
    with closing(open_database(url)) as database:
        recount_all(database)
    with autocommitted(url) as connection:
        connection.execute(text(f"VACUUM (ANALYZE) {_COUNTS}"))
        connection.execute(text("CHECKPOINT"))


def _store_embeddings(connection: Connection, dimension: int) -> None:
    """Each is a pattern of 4 bits for each dimension, between -3 and 3."""
    times = dimension // 2 // _MD5_BYTES
    connection.execute(_EMBEDDINGS, {"range": struct.pack("<ff", -3.0, 3.0), "times": times})


def _dimension(url: str) -> int:
    with closing(open_database(url)) as database:
        embedding = resolve_model(database, None).manifest.embedding
    if embedding is None:
        raise SystemExit("the shipped model gives no embeddings")
    return embedding.dimension


def table_sizes(database: Database) -> Mapping[str, TableSize]:
    """The size of each table."""
    with database.read() as connection:
        return {row.relname: TableSize(row.rows, row.indexes) for row in connection.execute(_SIZES)}


def total_bytes(sizes: Mapping[str, TableSize]) -> int:
    """The size of all tables and their indexes."""
    return sum(each.rows + each.indexes for each in sizes.values())


def vacuum(url: str) -> tuple[float, int]:
    """Vacuum and analyse all tables; returns the seconds, and the dead rows before, as PostgreSQL estimates them."""
    with autocommitted(url) as connection:
        dead = int(connection.scalar(_DEAD) or 0)
        start = time.monotonic()
        connection.execute(text("VACUUM (ANALYZE)"))
        seconds = time.monotonic() - start
    return seconds, dead
