"""Copies a database into an empty one, between SQLite and PostgreSQL, in one transaction; upgrades one.

An upgrade changes the schema, then what this version derives from the rows of an earlier one.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

from sqlalchemy import (
    JSON,
    Connection,
    Row,
    Select,
    Table,
    and_,
    delete,
    func,
    or_,
    select,
    text,
    update,
)

from tagger.database.connection import Database, open_database
from tagger.database.diagnostics import stored_rows
from tagger.database.schema import SCHEMA_REVISION, bulk_load, read_revision, upgrade_schema
from tagger.database.statements import insert_page, pages
from tagger.database.tables import ledgers, metadata, sketches, workers
from tagger.errors import Conflict, SchemaOutdated
from tagger.kept.update import update_kept
from tagger.positions.update import name_sights
from tagger.tags.settlement import settle_after_upgrade

# Workers belong to their database; sketches are computed.
_NOT_COPIED = {workers, sketches}
# Each after those that its foreign keys refer to.
TABLES = [table for table in metadata.sorted_tables if table not in _NOT_COPIED]
# Called with the number of rows done, and of all rows.
Progress = Callable[[int, int], None]


def copy_database(
    source: Database, url: str, progress: Progress = lambda _done, _total: None
) -> dict[str, int]:
    """Copy every row into the empty database at `url`, with a ledger id of its own; returns the numbers.

    Raises:
        Conflict: there are rows at `url`, or not all rows arrived. Nothing is stored.
    """
    upgrade_schema(url)
    with closing(open_database(url)) as target, source.snapshot() as old, target.write() as new:
        _require_empty(target, new)
        new.execute(delete(ledgers))
        counts = _counts(old)
        done = 0
        with bulk_load(new):
            for table in TABLES:
                for rows in _pages(old, table):
                    _insert(new, table, rows)
                    done += len(rows)
                    progress(done, sum(counts.values()))
        new.execute(update(ledgers).values(ledger_id=target.ledger_id))
        for name, found in _counts(new).items():
            if found != counts[name]:
                text = f"Of {counts[name]} rows of {name}, {found} arrived, so nothing was stored."
                raise Conflict(reason=f"{text} Run `tagger db check`, and copy again.")
        if not target.is_sqlite:
            _continue_sequences(new)
    return counts


def row_counts_text(counts: Mapping[str, int]) -> str:
    """The tables that have rows, in words: `1 root, 2 job items`."""
    nouns = (
        (count, name.replace("_", " ").removesuffix("s")) for name, count in counts.items() if count
    )
    return ", ".join(f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in nouns)


def _counts(connection: Connection) -> dict[str, int]:
    return {
        table.name: connection.scalar(select(func.count()).select_from(table)) or 0
        for table in TABLES
    }


def _require_empty(target: Database, connection: Connection) -> None:
    counts = _counts(connection) | {ledgers.name: 0}
    if any(counts.values()):
        text = f"The database {target.redacted_url} is not empty: it contains {row_counts_text(counts)}."
        raise Conflict(reason=f"{text} Name a new database.")


def _pages(connection: Connection, table: Table) -> Iterator[Sequence[Row[Any]]]:
    """The rows of a table in pages, so that each follows those that it refers to."""
    for query in _selects(table):
        yield from pages(stored_rows(connection, table, query))


def _selects(table: Table) -> Iterator[Select[Any]]:
    """The queries that read the table: rows that refer to others of the same table come after these."""
    query = select(*(column for column in table.columns if column.computed is None))
    own = [key for key in table.foreign_keys if key.column.table is table]
    if not own:
        yield query
        return
    refers_to_none = and_(*(or_(key.parent.is_(None), key.parent == key.column) for key in own))
    yield query.where(refers_to_none)
    yield query.where(~refers_to_none)


def _insert(connection: Connection, table: Table, rows: Sequence[Row[Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(table.insert(), [row._asdict() for row in rows])
        return
    names = list(rows[0]._fields)
    documents = {at for at, name in enumerate(names) if isinstance(table.c[name].type, JSON)}
    values = (
        [
            json.dumps(value) if at in documents and value is not None else value
            for at, value in enumerate(row)
        ]
        for row in rows
    )
    insert_page(connection, table, names, values)


def _continue_sequences(connection: Connection) -> None:
    """Let PostgreSQL's sequences continue after the copied ids, as SQLite does by itself."""
    for table in TABLES:
        column = table.autoincrement_column
        if column is not None and (largest := connection.scalar(select(func.max(column)))):
            names = {"table": table.name, "column": column.name}
            sequence = connection.scalar(
                text("SELECT pg_get_serial_sequence(:table, :column)"), names
            )
            if sequence:
                connection.execute(
                    text("SELECT setval(:name, :last)"), {"name": sequence, "last": largest}
                )
    # Without statistics, the server would plan badly until it gathers them itself.
    connection.execute(text("ANALYZE"))


def upgrade_database(
    url: str, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> str:
    """Upgrade the database at `url`. Returns the previous revision of its schema ("" for an empty database).

    If it is interrupted, the next one continues. `on_progress` gets the number of images done, and of all.

    Raises:
        DatabaseUnavailable: the database does not answer or cannot be opened.
        Unavailable: another transaction does not end.
    """
    before = upgrade_schema(url)
    with closing(open_database(url, is_upgrade=True)) as database:
        name_sights(database)
        settle_after_upgrade(database, on_progress)
        update_kept(database, only_days=True)
    return before


def is_upgraded(url: str) -> bool:
    """Whether the database at `url` has this version's schema, and no upgrade was interrupted after that."""
    if read_revision(url) != SCHEMA_REVISION:
        return False
    try:
        open_database(url).close()
    except SchemaOutdated:
        return False
    return True
