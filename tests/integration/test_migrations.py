"""The schema: a new database has the tables, and unknown revisions are refused."""

import subprocess
import sys
from collections.abc import Iterator
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
    insert,
    inspect,
    text,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import SchemaItem
from support.schemas import BEFORE, released_library

from tagger.database import schema
from tagger.database.connection import Database, open_database
from tagger.database.engine import create_database_engine
from tagger.database.schema import (
    SCHEMA_REVISION,
    migrations_folder,
    read_revision,
    schema_revision,
    upgrade,
    upgrade_schema,
)
from tagger.database.tables import ledgers, metadata, model_labels, verdicts, views
from tagger.errors import DatabaseUnavailable, SchemaOutdated, Unavailable
from tagger.transfer import upgrade_database

# Neither SQLAlchemy nor Alembic reads such an index of SQLite.
pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.filterwarnings(
        "ignore:Skipped unsupported reflection of expression-based index '?ix_photos_(name|folder|part)"
    ),
    pytest.mark.filterwarnings(
        "ignore:autogenerate skipping metadata-specified expression-based index '?ix_photos_(name|folder|part)"
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


def test_an_upgrade_that_waits_for_a_dump_gives_up_and_says_why(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "LOCK_S", 0.2)
    url, engine = released_library("2.0", "postgresql", tmp_path / "home", request)
    with engine.connect() as dump:
        dump.execute(text("LOCK TABLE photos IN ACCESS SHARE MODE"))
        with pytest.raises(Unavailable, match="another transaction uses its tables"):
            upgrade_schema(url)
    assert schema_revision(engine) == BEFORE
    assert upgrade_schema(url) == BEFORE
    engine.dispose()


def test_views_have_the_columns_of_their_table_objects(engine: Engine) -> None:
    upgrade(engine)
    for view in views.tables.values():
        assert [column["name"] for column in inspect(engine).get_columns(view.name)] == view.columns.keys()


def test_the_schema_revision_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(migrations_folder())).get_current_head() == SCHEMA_REVISION


def test_invalid_values_and_foreign_keys_are_refused(database: Database) -> None:
    verdict = {"content_id": 1, "landmark_id": 1, "given_at": datetime(2026, 1, 1, tzinfo=UTC)}
    for change, constraint in (
        (insert(ledgers).values(id=2, ledger_id="second", created_at=verdict["given_at"]), "check"),
        (insert(verdicts).values(**verdict, verdict="maybe"), "check"),
        (insert(model_labels).values(model_id=9, position=0, label="a", landmark_id=9), "foreign"),
    ):
        with pytest.raises(IntegrityError, match=f"(?i){constraint}"), database.write() as connection:
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
    with pytest.raises(DatabaseUnavailable, match=r"a newer version.*9999"):
        open_database(database_url)
    with pytest.raises(DatabaseUnavailable, match=r"a newer version.*9999"):
        upgrade_database(database_url)


def test_a_database_of_version_1_is_refused_and_says_the_way(database: Database, database_url: str) -> None:
    for revision in ("0033", "1007"):
        with database.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :old"), {"old": revision})
        for use in (open_database, upgrade_database):
            with pytest.raises(DatabaseUnavailable, match=rf"before 2\.0.*{revision}.*version 2\.1 first"):
                use(database_url)


@pytest.mark.slow
def test_concurrent_processes_can_open_a_new_database(empty_database_url: str) -> None:
    program = (
        "import sys; from tagger.database.connection import open_database; "
        "from tagger.transfer import upgrade_database; "
        "upgrade_database(sys.argv[1]); print(open_database(sys.argv[1]).ledger_id)"
    )
    if empty_database_url.startswith("sqlite"):
        program = program.replace("upgrade_database(sys.argv[1]); ", "")
    command = [sys.executable, "-c", program, empty_database_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ledger_ids = {process.communicate(timeout=60)[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    assert len(ledger_ids) == 1
