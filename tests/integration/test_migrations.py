"""The schema: migrations go up, down and up again, agree with the tables, and refuse what they do not know."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, inspect, text
from sqlalchemy.exc import IntegrityError

from tagger.database import (
    SCHEMA_REVISION,
    Database,
    _engine,
    _migrations_folder,
    open_database,
    revision_of,
    schema_revision,
    upgrade,
    upgrade_database,
)
from tagger.errors import SchemaNewer, SchemaOutdated
from tagger.tables import effective_tags, jobs, ledgers, metadata, verdicts


@pytest.fixture
def engine(empty_database_url: str) -> Iterator[Engine]:
    made = _engine(empty_database_url)
    yield made
    made.dispose()


def test_up_down_and_up_again(engine: Engine) -> None:
    upgrade(engine)
    assert schema_revision(engine) == SCHEMA_REVISION
    upgrade(engine, "base")
    assert set(inspect(engine).get_table_names()) <= {"alembic_version"}
    assert inspect(engine).get_view_names() == []
    upgrade(engine)
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert inspect(engine).get_view_names() == [effective_tags.name]


def test_the_migrated_schema_is_that_of_the_tables(engine: Engine) -> None:
    upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    assert differences == []


def test_migrated_constraints_and_indexes_have_the_names_of_the_tables(
    engine: Engine, empty_database_url: str
) -> None:
    upgrade(engine)
    migrated = _names(engine)
    upgrade(engine, "base")
    with engine.connect() as connection, connection.begin():
        metadata.create_all(connection)
    assert _names(engine) == migrated


def test_the_view_has_the_columns_it_is_read_by(engine: Engine) -> None:
    upgrade(engine)
    columns = [column["name"] for column in inspect(engine).get_columns(effective_tags.name)]
    assert columns == [column.name for column in effective_tags.columns]


def test_the_known_revision_is_the_newest_migration() -> None:
    assert ScriptDirectory(str(_migrations_folder())).get_current_head() == SCHEMA_REVISION


@pytest.mark.parametrize(
    ("table", "values"),
    [
        (ledgers, {"id": 2, "ledger_id": "second"}),
        (verdicts, {"verdict": "maybe"}),
        (jobs, {"runner": "somebody"}),
        (jobs, {"priority": "urgent"}),
        (jobs, {"state": "lost"}),
    ],
    ids=["one ledger", "verdict", "runner", "priority", "state"],
)
def test_values_that_mean_nothing_are_refused(
    database: Database, table: Any, values: dict[str, object]
) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    sound: dict[str, dict[str, object]] = {
        "ledgers": {"created_at": now},
        "verdicts": {"content_id": 1, "landmark_id": 1, "given_at": now},
        "jobs": {
            "kind": "tag",
            "options": {},
            "model_id": 1,
            "top_k": 5,
            "threshold": 0.5,
            "again": False,
            "runner": "local",
            "priority": "bulk",
            "state": "queued",
            "created_at": now,
        },
    }
    with pytest.raises(IntegrityError, match=r"(?i)check"), database.write() as connection:
        connection.execute(insert(table).values({**sound[table.name], **values}))


def test_references_are_kept(database: Database) -> None:
    with pytest.raises(IntegrityError, match=r"(?i)foreign"), database.write() as connection:
        connection.execute(
            text("INSERT INTO model_labels (model_id, position, label, landmark_id) VALUES (9, 0, 'a', 9)")
        )


def test_an_empty_sqlite_file_is_set_up_by_itself_and_a_server_is_not(empty_database_url: str) -> None:
    assert revision_of(empty_database_url) == ""
    if empty_database_url.startswith("sqlite"):
        open_database(empty_database_url).close()
    else:
        with pytest.raises(SchemaOutdated, match="tagger db upgrade"):
            open_database(empty_database_url)
        assert upgrade_database(empty_database_url) == ""
        open_database(empty_database_url).close()
    assert revision_of(empty_database_url) == SCHEMA_REVISION
    assert upgrade_database(empty_database_url) == SCHEMA_REVISION


def test_a_database_of_a_newer_version_is_refused(database: Database, database_url: str) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaNewer, match="9999"):
        open_database(database_url)
    with pytest.raises(SchemaNewer, match="9999"):
        upgrade_database(database_url)


def test_two_processes_that_open_a_fresh_database_at_once_both_succeed(empty_database_url: str) -> None:
    program = (
        "import sys; from tagger.database import open_database, upgrade_database; "
        "upgrade_database(sys.argv[1]); print(open_database(sys.argv[1]).ledger_id)"
    )
    if empty_database_url.startswith("sqlite"):
        program = program.replace("upgrade_database(sys.argv[1]); ", "")
    command = [sys.executable, "-c", program, empty_database_url]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    ledger_ids = {process.communicate(timeout=60)[0] for process in running}
    assert {process.returncode for process in running} == {0}
    assert len(ledger_ids) == 1


def _names(engine: Engine) -> set[tuple[str, str | None]]:
    seen = inspect(engine)
    names: set[tuple[str, str | None]] = set()
    for table in metadata.tables:
        names |= {(table, index["name"]) for index in seen.get_indexes(table)}
        names |= {(table, unique["name"]) for unique in seen.get_unique_constraints(table)}
        names |= {(table, key["name"]) for key in seen.get_foreign_keys(table)}
        names |= {(table, check["name"]) for check in seen.get_check_constraints(table)}
        names.add((table, seen.get_pk_constraint(table)["name"]))
    return names
