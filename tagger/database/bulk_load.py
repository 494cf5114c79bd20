"""Loading many rows into empty tables: their indexes and keys follow the rows, and triggers do not run.

Building an index from all rows takes a fraction of the time of keeping it up to date with each.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, text

from tagger.database.tables import metadata

_SQLITE = text(
    """SELECT 'DROP ' || type || ' ' || name AS removal, sql AS creation FROM sqlite_schema
    WHERE type IN ('index', 'trigger') AND sql IS NOT NULL"""
)
_POSTGRESQL = (
    # Foreign keys come first: they need the indexes of what they refer to.
    """SELECT format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname) AS removal,
        format('ALTER TABLE %s ADD CONSTRAINT %I %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
            AS creation
    FROM pg_constraint WHERE contype = 'f' AND conrelid = ANY (CAST(:tables AS regclass[]))""",
    """SELECT format('DROP INDEX %s', indexrelid::regclass) AS removal,
        pg_get_indexdef(indexrelid) AS creation
    FROM pg_index WHERE indrelid = ANY (CAST(:tables AS regclass[]))
        AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)""",
    """SELECT DISTINCT format('ALTER TABLE %s DISABLE TRIGGER USER', tgrelid::regclass) AS removal,
        format('ALTER TABLE %s ENABLE TRIGGER USER', tgrelid::regclass) AS creation
    FROM pg_trigger WHERE NOT tgisinternal AND tgrelid = ANY (CAST(:tables AS regclass[]))""",
)


@contextmanager
def bulk_load(connection: Connection) -> Iterator[None]:
    """Remove indexes, triggers and foreign keys, but no primary keys; and create them again at the end.

    All of it is one transaction. Foreign keys of SQLite stay: they are checked for each row.
    """
    if connection.dialect.name == "sqlite":
        parts = connection.execute(_SQLITE).all()
    else:
        tables = {"tables": list(metadata.tables)}
        parts = [part for query in _POSTGRESQL for part in connection.execute(text(query), tables)]
    for part in parts:
        connection.exec_driver_sql(part.removal)
    yield
    for part in reversed(parts):
        connection.exec_driver_sql(part.creation)
