"""Indexes of large tables: PostgreSQL creates them while workers write."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op


def create_index_concurrently(
    name: str,
    table: str,
    columns: Sequence[str | sa.TextClause],
    where: str | None = None,
    *,
    unique: bool = False,
) -> None:
    """Create an index; a plain `CREATE INDEX` would keep writers of a large table waiting for minutes.

    Call it first in a migration, for columns that an earlier one has added: what precedes it is committed. If it is interrupted,
    the next upgrade drops what it has left, and begins again. On SQLite, which has one writer, it is a part of the transaction.
    """
    condition = None if where is None else sa.text(where)
    if op.get_bind().dialect.name == "sqlite":
        op.create_index(name, table, list(columns), unique=unique, sqlite_where=condition)
        return
    with op.get_context().autocommit_block():
        op.drop_index(name, table, if_exists=True, postgresql_concurrently=True)
        op.create_index(
            name,
            table,
            list(columns),
            unique=unique,
            postgresql_where=condition,
            postgresql_concurrently=True,
        )
