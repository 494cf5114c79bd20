"""What the tables of PostgreSQL occupy, and what vacuuming them takes."""

import time
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import text

from tagger.database.connection import Database
from tests.rig.postgres_databases import autocommitted

_SIZES = text("""
    SELECT relname, pg_table_size(oid) AS rows, pg_indexes_size(oid) AS indexes FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace""")
_DEAD = text("SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables")


@dataclass(frozen=True)
class TableSize:
    """In bytes, large values included."""

    rows: int
    indexes: int


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
