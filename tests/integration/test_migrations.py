"""The schema: a new database has the tables, later migrations run beside workers, and unknown revisions are refused."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Constraint,
    Engine,
    Index,
    TextClause,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.schema import SchemaItem
from support.ledgers import LedgerBuilder
from support.schemas import downgrade
from support.waiting import wait_until

from tagger.database import schema
from tagger.database.connection import Database, open_database
from tagger.database.engine import create_database_engine
from tagger.database.enums import Note, NoteCode
from tagger.database.schema import (
    SCHEMA_REVISION,
    migrations_folder,
    read_revision,
    schema_revision,
    upgrade,
    upgrade_schema,
)
from tagger.database.tables import jobs, ledgers, metadata, model_labels, photos, positions, verdicts, views
from tagger.errors import SchemaNewer, SchemaOutdated, Unavailable
from tagger.ledger.job_control import pause, resume
from tagger.ledger.progress import find_job
from tagger.tags.settlement import begin_change
from tagger.transfer.upgrade import upgrade_database

# Neither SQLAlchemy nor Alembic reads such an index of SQLite.
pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.filterwarnings(
        "ignore:Skipped unsupported reflection of expression-based index '?ix_photos_(name|folder)"
    ),
    pytest.mark.filterwarnings(
        "ignore:autogenerate skipping metadata-specified expression-based index '?ix_photos_(name|folder)"
    ),
]


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    engine = create_database_engine(empty_database_url)
    yield engine
    engine.dispose()


def test_a_new_database_has_the_tables_and_views(engine: Engine) -> None:
    upgrade(engine)
    assert schema_revision(engine) == SCHEMA_REVISION
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert set(inspect(engine).get_view_names()) == {*views.tables}
    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": partial(_is_of_dialect, connection)}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    assert differences == []


def _is_of_dialect(connection: Connection, each: SchemaItem, *_: object) -> bool:
    """Whether this database has the part of the schema; Alembic does not ask."""
    condition = each._ddl_if if isinstance(each, Constraint | Index) else None
    return condition is None or condition.dialect == connection.dialect.name


@pytest.fixture
def later_migrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two migrations after the first: one creates an index of photos, one changes the tables of photos and of jobs."""
    folder = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), folder)
    for revision, before, lines in LATER_MIGRATIONS:
        (folder / "versions" / f"{revision}_later.py").write_text(
            f"""
import sqlalchemy as sa
from alembic import op
from migrations.concurrent_indexes import create_index_concurrently

revision = "{revision}"
down_revision = "{before}"


def upgrade() -> None:
    {lines}
"""
        )
    monkeypatch.setattr(schema, "migrations_folder", lambda: folder)


NEXT_REVISION = str(int(SCHEMA_REVISION) + 1)
LATEST = str(int(NEXT_REVISION) + 1)
CREATES_INDEX = "create_index_concurrently('ix_photos_later', 'photos', ['size_bytes'])"
ADDS_COLUMNS = "[op.add_column(table, sa.Column('later', sa.Text())) for table in ('photos', 'jobs')]"
LATER_MIGRATIONS = (
    (NEXT_REVISION, SCHEMA_REVISION, CREATES_INDEX),
    (LATEST, NEXT_REVISION, ADDS_COLUMNS),
)


@pytest.fixture
def later_engine(later_migrations: None, empty_postgres_url: str) -> Iterator[Engine]:
    engine = create_database_engine(empty_postgres_url)
    yield engine
    engine.dispose()


def test_a_worker_and_a_migration_that_wait_for_each_other_go_on(later_engine: Engine) -> None:
    engine = later_engine
    upgrade(engine, NEXT_REVISION)
    with ThreadPoolExecutor(1) as pool, engine.connect() as worker:
        worker.execute(text("SET deadlock_timeout = '1h'"))  # so that the server ends the migration
        worker.execute(text("SELECT state FROM jobs"))
        # It holds a lock of its own, and waits for jobs.
        migration = pool.submit(upgrade, engine)
        _wait_for_lock(engine, "jobs")
        worker.execute(text("UPDATE photos SET size_bytes = 1"))
        worker.commit()
        migration.result(60)
    assert schema_revision(engine) == LATEST


def test_an_upgrade_that_waits_for_a_dump_lets_others_go_on_and_gives_up(
    later_engine: Engine, empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_S", 0.2)
    monkeypatch.setattr(schema, "LOCK_PAUSE_S", 0.0)
    monkeypatch.setattr(schema, "LOCK_TRIES", 3)
    engine = later_engine
    upgrade(engine, NEXT_REVISION)
    with engine.connect() as dump:
        dump.execute(text("LOCK TABLE jobs IN ACCESS SHARE MODE"))
        with pytest.raises(Unavailable, match="another transaction uses its tables"):
            upgrade_schema(empty_postgres_url)
        assert schema_revision(engine) == NEXT_REVISION
        with engine.connect() as worker:
            worker.execute(text("SET statement_timeout = '10s'"))
            assert worker.scalar(text("SELECT count(*) FROM jobs")) == 0
    upgrade(engine)
    assert schema_revision(engine) == LATEST


@contextmanager
def _index_in_creation(engine: Engine) -> Iterator[tuple[Future[None], Connection]]:
    """Yield an upgrade that creates an index, and the open transaction that it waits for."""
    upgrade(engine, SCHEMA_REVISION)
    with ThreadPoolExecutor(1) as pool, engine.connect() as slow:
        slow.execute(text("UPDATE photos SET size_bytes = 1"))
        migration = pool.submit(upgrade, engine, NEXT_REVISION)
        _wait_for_index(engine)
        yield migration, slow


def test_workers_write_while_an_index_is_created(later_engine: Engine) -> None:
    with _index_in_creation(later_engine) as (migration, slow), later_engine.connect() as worker:
        worker.execute(text("SET statement_timeout = '10s'"))
        worker.execute(text("UPDATE photos SET size_bytes = 2"))
        worker.commit()
        slow.commit()
        migration.result(60)
    assert _index_states(later_engine) == [True]


def test_an_index_whose_creation_was_interrupted_is_created_again(later_engine: Engine) -> None:
    engine = later_engine
    with _index_in_creation(engine) as (migration, _), engine.connect() as operator:
        operator.execute(text(f"SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE {_CREATES_INDEX}"))
        with pytest.raises(OperationalError, match="canceling statement"):
            migration.result(60)
    assert (schema_revision(engine), _index_states(engine)) == (SCHEMA_REVISION, [False])
    upgrade(engine)
    assert (schema_revision(engine), _index_states(engine)) == (LATEST, [True])


def test_an_upgrade_that_waits_for_another_one_does_not_keep_its_index_waiting(
    later_engine: Engine, empty_postgres_url: str
) -> None:
    upgrade(later_engine, SCHEMA_REVISION)
    with ThreadPoolExecutor(2) as pool, later_engine.connect() as slow:
        slow.execute(text("UPDATE photos SET size_bytes = 1"))
        first = pool.submit(upgrade, later_engine)
        _wait_for_index(later_engine)
        second = pool.submit(upgrade_schema, empty_postgres_url)
        time.sleep(0.3)  # so that it waits
        slow.commit()
        first.result(60)
        assert second.result(60) == SCHEMA_REVISION
    assert schema_revision(later_engine) == LATEST


def test_the_default_isolation_level_does_not_keep_an_index_waiting(
    later_engine: Engine, empty_postgres_url: str
) -> None:
    with later_engine.begin() as operator:
        database = operator.scalar(text("SELECT quote_ident(current_database())"))
        for setting in ("default_transaction_isolation = 'repeatable read'", "statement_timeout = '20s'"):
            operator.execute(text(f"ALTER DATABASE {database} SET {setting}"))
    later_engine.dispose()
    assert upgrade_schema(empty_postgres_url) == ""
    assert (schema_revision(later_engine), _index_states(later_engine)) == (LATEST, [True])


_CREATES_INDEX = "query LIKE 'CREATE INDEX CONCURRENTLY%' AND wait_event_type = 'Lock'"


def _wait_for_index(engine: Engine) -> None:
    """Wait until the creation of an index waits for a transaction that has begun before it."""
    query = text(f"SELECT count(*) FROM pg_stat_activity WHERE {_CREATES_INDEX}")
    wait_until(lambda: _scalar(engine, query))


def _index_states(engine: Engine) -> list[bool]:
    """Whether the index is valid; empty: there is none."""
    query = text("SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('ix_photos_later')")
    with engine.connect() as connection:
        return list(connection.scalars(query))


def _wait_for_lock(engine: Engine, table: str) -> None:
    waits = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST(:table AS regclass)")
    wait_until(lambda: _scalar(engine, waits.bindparams(table=table)))


def _scalar(engine: Engine, query: TextClause) -> object:
    with engine.connect() as connection:
        return connection.scalar(query)


def test_views_have_the_columns_of_their_table_objects(engine: Engine) -> None:
    upgrade(engine)
    for view in views.tables.values():
        assert [column["name"] for column in inspect(engine).get_columns(view.name)] == view.columns.keys()


def test_the_schema_revision_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations_folder())).get_current_head() == SCHEMA_REVISION


def test_positions_of_1_0_stay_and_those_of_side_files_can_follow(
    database: Database, database_url: str
) -> None:
    ledger = LedgerBuilder(database)
    first, second = ledger.photos(2)
    position = {"latitude": 48.8584, "longitude": 2.2945, "error_m": 30.0, "evidence": {}}

    def put(photo_id: int, source: str) -> None:
        with database.write() as connection:
            connection.execute(insert(positions).values(photo_id=photo_id, source=source, **position))

    put(first, "camera")
    put(second, "takeout")
    engine = downgrade(database_url, "1003")
    columns = {column["name"] for column in inspect(engine).get_columns("photos")}
    assert not columns & {"taken_source", "gps_source", "side_files", "unread_facts"}
    upgrade(engine)
    names = {index["name"] for index in inspect(engine).get_indexes("positions")}
    assert names == {index.name for index in positions.indexes}
    engine.dispose()
    with database.read() as connection:
        rows = connection.execute(select(positions).order_by(positions.c.photo_id)).mappings().all()
        assert [(row["source"], row["latitude"]) for row in rows] == [("camera", 48.8584)] * 2
        seen = connection.execute(text("SELECT position_source, taken_source FROM photos_view")).all()
        assert seen == [("camera", None)] * 2
        assert connection.scalars(select(photos.c.gps_source)).all() == ["camera"] * 2
    with database.write() as connection:
        connection.execute(delete(positions))
    put(first, "sidecar")
    with pytest.raises(IntegrityError):
        put(second, "name")


def test_a_job_that_1_0_paused_is_resumed_without_the_note_of_its_pause(
    database: Database, database_url: str
) -> None:
    ledger = LedgerBuilder(database)
    at_night = "paused at 06:00 (Europe/Paris); the next run of the schedule nightly continues it"
    by_hand = "disk error"
    job_ids = [ledger.job(1), ledger.job(1)]
    for job_id, note in zip(job_ids, (at_night, by_hand), strict=True):
        pause(database, job_id)
        with database.write() as connection:
            connection.execute(update(jobs).where(jobs.c.id == job_id).values(note=note))
    engine = downgrade(database_url, "1002")
    assert "note_message" not in {column["name"] for column in inspect(engine).get_columns("jobs")}
    upgrade(engine)
    engine.dispose()
    first, second = (find_job(database, job_id) for job_id in job_ids)
    assert (first.note, second.note, second.note_message) == (at_night, by_hand, None)
    assert first.note_message is not None
    assert str(Note(NoteCode(first.note_message["code"]), first.note_message["values"])) == at_night
    for job_id in job_ids:
        assert resume(database, job_id)
    assert [find_job(database, job_id).note for job_id in job_ids] == [None, by_hand]


def test_invalid_values_and_foreign_keys_are_refused(database: Database) -> None:
    verdict = {"content_id": 1, "landmark_id": 1, "given_at": datetime(2026, 1, 1, tzinfo=UTC)}
    for change, constraint in (
        (insert(ledgers).values(id=2, ledger_id="second", created_at=verdict["given_at"]), "check"),
        (insert(verdicts).values(**verdict, verdict="maybe"), "check"),
        (insert(model_labels).values(model_id=9, position=0, label="a", landmark_id=9), "foreign"),
    ):
        with database.write() as connection:
            begin_change(connection, [])
            with pytest.raises(IntegrityError, match=f"(?i){constraint}"), connection.begin_nested():
                connection.execute(change)


def test_an_sqlite_file_is_created_when_it_is_opened_and_a_server_is_not(empty_database_url: str) -> None:
    assert read_revision(empty_database_url) == ""
    if empty_database_url.startswith("sqlite"):
        open_database(empty_database_url).close()
    else:
        with pytest.raises(SchemaOutdated, match="tagger db upgrade"):
            open_database(empty_database_url)
        assert upgrade_database(empty_database_url) == ""
        open_database(empty_database_url).close()
    assert read_revision(empty_database_url) == SCHEMA_REVISION
    assert upgrade_database(empty_database_url) == SCHEMA_REVISION


def test_a_newer_database_is_refused(database: Database, database_url: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaNewer, match="9999"):
        open_database(database_url)
    with pytest.raises(SchemaNewer, match="9999"):
        upgrade_database(database_url)


@pytest.mark.slow
def test_concurrent_processes_can_open_a_new_database(empty_database_url: str) -> None:
    program = (
        "import sys; from tagger.database.connection import open_database; "
        "from tagger.transfer.upgrade import upgrade_database; "
        "upgrade_database(sys.argv[1]); print(open_database(sys.argv[1]).ledger_id)"
    )
    if empty_database_url.startswith("sqlite"):
        program = program.replace("upgrade_database(sys.argv[1]); ", "")
    command = [sys.executable, "-c", program, empty_database_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ledger_ids = {process.communicate(timeout=60)[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    assert len(ledger_ids) == 1
