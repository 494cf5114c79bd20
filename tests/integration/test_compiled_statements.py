"""The databases that tests open share the statements that SQLAlchemy compiles."""

from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, select
from sqlalchemy.engine.interfaces import CacheStats
from support.empty_databases import create_sqlite_database

from tagger.database.connection import Database, open_database
from tagger.database.tables import landmarks

STATEMENT = (
    select(landmarks.c.slug).where(landmarks.c.name == "of this test alone").order_by(landmarks.c.city)
)


def test_a_statement_is_compiled_once_for_all_databases(tmp_path: Path) -> None:
    files = (tmp_path / "first" / "tagger.sqlite", tmp_path / "second" / "tagger.sqlite")
    databases = [open_database(create_sqlite_database(file)) for file in files]
    assert [_compiling(database) for database in databases] == [CacheStats.CACHE_MISS, CacheStats.CACHE_HIT]
    for database in databases:
        database.close()


def test_sqlite_and_postgresql_do_not_share_statements(tmp_path: Path, postgres_url: str) -> None:
    statement = STATEMENT.limit(1)
    urls = (create_sqlite_database(tmp_path / "tagger.sqlite"), postgres_url)
    databases = [open_database(url) for url in urls]
    assert [_compiling(database, statement) for database in databases] == [CacheStats.CACHE_MISS] * 2
    for database in databases:
        database.close()


def _compiling(database: Database, statement: Any = STATEMENT) -> CacheStats:
    """Whether the statement was compiled when it ran on this database."""
    found: list[CacheStats] = []

    def note(*arguments: Any) -> None:
        found.append(arguments[4].cache_hit)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        with database.read() as connection:
            connection.execute(statement).all()
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    return found[-1]
