"""What a connection to PostgreSQL sets."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from rig.postgres_databases import autocommitted
from sqlalchemy import make_url, text

from tagger.cli.doctor.database import DatabaseChecks
from tagger.cli.doctor.findings import State
from tagger.database.connection import Database, open_database, upgrade_database
from tagger.errors import DatabaseNotUnicode

SHOW = text("SHOW random_page_cost")


def page_cost(database: Database) -> str:
    with database.write() as connection:
        connection.execute(text("SELECT 1"))
    with database.read() as connection:
        return str(connection.scalar(SHOW))


def test_looking_up_photos_is_planned_for_disks_without_heads(postgres_url: str) -> None:
    with closing(open_database(postgres_url)) as database:
        assert page_cost(database) == "1.1"


def test_an_operators_page_cost_counts(postgres_url: str) -> None:
    with closing(open_database(postgres_url)) as database, database.write() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET random_page_cost = 3'))
    with closing(open_database(postgres_url)) as database:
        assert page_cost(database) == "3"


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


def test_a_database_without_an_encoding_keeps_utf8(
    empty_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database_in("SQL_ASCII", empty_postgres_url) as url:
        monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
        upgrade_database(url)
        checks = DatabaseChecks(url)
        assert next(checks.check_connection()).state is State.OK
        assert checks.database is not None
        checks.database.close()
        with (
            closing(open_database(f"{url}&client_encoding=latin1")) as database,
            database.read() as connection,
        ):
            assert connection.scalar(text("SELECT :name"), {"name": "Zürich 日本"}) == "Zürich 日本"
            assert connection.scalar(text("SHOW client_encoding")) == "UTF8"


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_unicode_is_refused(empty_postgres_url: str, encoding: str) -> None:
    with database_in(encoding, empty_postgres_url) as url:
        with pytest.raises(DatabaseNotUnicode, match=f"the encoding {encoding}.*createdb --encoding=UTF8"):
            upgrade_database(url)
        finding = next(DatabaseChecks(url).check_connection())
        assert (finding.state, finding.remedy) == (
            State.WRONG,
            "createdb --encoding=UTF8 --template=template0 NAME",
        )


def test_every_form_of_an_address_leads_to_the_database(postgres_url: str) -> None:
    url = make_url(postgres_url)
    folder, name, user = url.query["host"], url.database, url.username
    for address in (
        f"postgresql+psycopg2://{user}@/{name}?host={folder}",
        f"POSTGRES+asyncpg://{user}@/{name}?host={folder}",
        f"postgresql://{user}@{str(folder).replace('/', '%2F')}/{name}",
        f"host={folder} dbname={name} user={user}",
        f"host = '{folder}' dbname='{name}' user={user} application_name='a b'",
        f"postgresql://{user}@/{name}?host=/nowhere,{folder}",
        f"postgresql://{user}@127.0.0.1:1,{str(folder).replace('/', '%2F')}:5432/{name}",
    ):
        with closing(open_database(address)) as database, database.read() as connection:
            assert connection.scalar(text("SELECT current_database()")) == name, address
