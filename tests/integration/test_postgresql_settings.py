"""What a connection to PostgreSQL sets."""

from contextlib import closing

from sqlalchemy import text

from tagger.database.connection import Database, open_database

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
