"""What a connection to PostgreSQL sets."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import pytest
from rig.postgres_databases import autocommitted
from sqlalchemy import func, insert, make_url, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from support.colour_folders import TaggedFolder
from support.databases import execute, read_scalar

from tagger.cli.commands.doctor import DatabaseChecks, State
from tagger.database import engine as engine_module
from tagger.database.connection import Database, open_database
from tagger.database.engine import is_transient
from tagger.database.tables import ledgers, photos, workers
from tagger.errors import DatabasePermissionMissing, DatabaseUnavailable
from tagger.transfer import upgrade_database

SHOW = text("SHOW random_page_cost")


def page_cost(database: Database) -> str:
    execute(database, text("SELECT 1"))
    return str(read_scalar(database, SHOW))


def test_photos_are_looked_up_for_disks_without_heads_unless_an_operator_says_otherwise(postgres_url):
    with closing(open_database(postgres_url)) as database, database.read() as connection:
        assert connection.scalar(SHOW) == "1.1"
        assert connection.scalar(text("SHOW jit")) == "off"
    with closing(open_database(postgres_url)) as database, database.read() as connection:
        for _ in range(20):
            connection.execute(text("SELECT 1"))
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
    with closing(open_database(postgres_url)) as database, database.write() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET random_page_cost = 3'))
    with closing(open_database(postgres_url)) as database:
        assert page_cost(database) == "3"


# Settings on which no result may depend.
OTHERWISE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "<+03>-3",
    "extra_float_digits": "-10",
    "bytea_output": "escape",
    "array_nulls": "off",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "5s",
    "lock_timeout": "4s",
}
PINNED = ("ISO, DMY", "postgres", "UTC", "1", "hex", "on", "read committed", "0", "0")


def set_for_database(url: str, settings: dict[str, str]) -> None:
    with autocommitted(url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        for parameter, value in settings.items():
            connection.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET {parameter} = '{value}'")


def set_for_role(url: str, settings: dict[str, str]) -> None:
    with autocommitted(url) as connection:
        name = make_url(url).database
        for parameter, value in settings.items():
            connection.exec_driver_sql(
                f"ALTER ROLE CURRENT_USER IN DATABASE \"{name}\" SET {parameter} = '{value}'"
            )


def set_in_environment(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGTZ", "CST6CDT")
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    monkeypatch.setenv("PGOPTIONS", " ".join(f"-c {name}={value}" for name, value in escaped.items()))


def shown(database: Database, *parameters: str) -> tuple[str, ...]:
    with database.read() as connection:
        return tuple(str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in parameters)


@pytest.mark.parametrize("place", ["database", "role", "environment"])
def test_no_result_depends_on_settings_of_the_session(postgres_url, place, tmp_path, monkeypatch):
    if place == "environment":
        set_in_environment(monkeypatch, OTHERWISE)
    else:
        (set_for_database if place == "database" else set_for_role)(postgres_url, OTHERWISE)
    with closing(open_database(postgres_url)) as database:
        assert shown(database, *OTHERWISE) == PINNED
        folder = TaggedFolder(database, tmp_path)
        folder.draw("a.jpg", shade=1)
        (folder.folder / "b.jpg").write_bytes(b"no picture")
        job = folder.record()
        folder.run(job)
        assert (folder.progress(job).tagged, folder.progress(job).failed) == (1, 1)
        at = datetime(2024, 6, 1, 23, 30, tzinfo=UTC)
        with database.write() as connection:
            connection.execute(
                insert(workers).values(name="w", device="cpu", started_at=at, heartbeat_at=1 / 3)
            )
        with database.read() as connection:
            assert connection.execute(select(workers.c.started_at, workers.c.heartbeat_at)).one() == (
                at,
                1 / 3,
            )
            named_null = select(func.count()).select_from(photos).where(photos.c.failure_text == "NULL")
            assert connection.scalar(named_null) == 0


@pytest.mark.parametrize("path", ["", "pg_catalog", "pg_catalog, pg_temp", "nowhere"])
def test_a_search_path_without_a_schema_leads_to_public(empty_postgres_url, path):
    with autocommitted(empty_postgres_url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        names = ", ".join(f"'{each}'" for each in path.split(", "))
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET search_path = {names}')
    upgrade_database(empty_postgres_url)
    with closing(open_database(empty_postgres_url)) as database:
        assert shown(database, "search_path") == ("public",)


def test_a_schema_of_its_own_is_kept(empty_postgres_url):
    with autocommitted(empty_postgres_url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.exec_driver_sql('CREATE SCHEMA "My Photos"')
        connection.exec_driver_sql(
            f'ALTER DATABASE "{name}" SET search_path = "$user", pg_catalog, "My Photos", public'
        )
    upgrade_database(empty_postgres_url)
    with closing(open_database(empty_postgres_url)) as database, database.read() as connection:
        assert connection.scalar(text("SELECT to_regclass('\"My Photos\".photos') IS NOT NULL"))
        assert shown(database, "search_path") == ('"My Photos", public',)


def test_without_any_schema_the_missing_right_is_named(empty_postgres_url):
    with autocommitted(empty_postgres_url) as connection:
        connection.exec_driver_sql("DROP SCHEMA public")
    with pytest.raises(DatabasePermissionMissing, match="no schema has been selected"):
        upgrade_database(empty_postgres_url)


@contextmanager
def database_in(encoding: str, url: str) -> Iterator[str]:
    """The URL of an empty database in another encoding, on the server of `url`."""
    name = f"in_{encoding.lower()}"
    with autocommitted(url) as server:
        options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        server.execute(text(f"CREATE DATABASE {name} {options}"))
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            server.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_database_without_an_encoding_keeps_utf8(empty_postgres_url, monkeypatch):
    with database_in("SQL_ASCII", empty_postgres_url) as url:
        monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
        upgrade_database(url)
        checks = DatabaseChecks(url)
        assert next(checks.check_connection()).state is State.OK
        checks.database.close()
        with (
            closing(open_database(f"{url}&client_encoding=latin1")) as database,
            database.read() as connection,
        ):
            assert connection.scalar(text("SELECT :name"), {"name": "Zürich 日本"}) == "Zürich 日本"
            assert connection.scalar(text("SHOW client_encoding")) == "UTF8"


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_unicode_is_refused(empty_postgres_url, encoding):
    with database_in(encoding, empty_postgres_url) as url:
        with pytest.raises(DatabaseUnavailable, match=f"the encoding {encoding}.*createdb --encoding=UTF8"):
            upgrade_database(url)
        with pytest.raises(DatabaseUnavailable, match="createdb --encoding=UTF8"):
            next(DatabaseChecks(url).check_connection())


def test_every_form_of_an_address_leads_to_the_database(postgres_url):
    url = make_url(postgres_url)
    folder, name, user = url.query["host"], url.database, url.username
    for address in (
        f"postgresql+psycopg2://{user}@/{name}?host={folder}",
        f"POSTGRES+asyncpg://{user}@/{name}?host={folder}",
        f"postgresql://{user}@{str(folder).replace('/', '%2F')}/{name}",
        f"postgresql://{user}@/{name}?host=/nowhere,{folder}",
        f"postgresql://{user}@127.0.0.1:1,{str(folder).replace('/', '%2F')}:5432/{name}",
    ):
        with closing(open_database(address)) as database, database.read() as connection:
            assert connection.scalar(text("SELECT current_database()")) == name, address


def test_locks_of_a_writer_that_vanished_are_released(postgres_url, monkeypatch):
    monkeypatch.setattr(engine_module, "IDLE_WRITER_S", 1)
    vanished, other = open_database(postgres_url), open_database(postgres_url)
    change = update(ledgers).values(ledger_id="new")

    def write_and_stay_silent() -> None:
        with vanished.write() as writer:
            writer.execute(change)
            execute(other, change)  # waits for the lock of the row
            writer.execute(change)

    with pytest.raises(SQLAlchemyError) as failure:
        write_and_stay_silent()
    assert is_transient(failure.value)
    vanished.close()
    other.close()
