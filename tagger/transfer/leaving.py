"""The whole database written as lines, page by page, as it was at one moment; whoever works on goes on."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Any

from sqlalchemy import Connection, Row, Select, Table, case, func, literal, select, tuple_

from tagger.database import SCHEMA_REVISION, Database
from tagger.tables import chunks
from tagger.transfer.lines import FORMAT, TITLE, carried_columns, carried_tables, line_of, to_json

PAGE = 2000

Progress = Callable[[int, int], None]
"""Told how many rows are done, of how many."""


@dataclass
class Left:
    """What was written: rows by table."""

    rows: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def export_database(
    database: Database, out: IO[bytes], program: str, progress: Progress = lambda _done, _total: None
) -> Left:
    """Write every row to `out`; `program` is the version that does. Memory does not grow with the database."""
    left, hasher = Left(), hashlib.sha256()

    def write(line: bytes) -> None:
        hasher.update(line)
        out.write(line)

    with _one_moment(database) as connection:
        counts = {table.name: _count(connection, table) for table in carried_tables()}
        write(line_of(_header(database, program, counts)))
        for table in carried_tables():
            done = left.total
            for number, line in enumerate(_lines(connection, table), start=1):
                write(line)
                left.rows[table.name] = number
                if not number % PAGE:
                    progress(done + number, sum(counts.values()))
            left.rows.setdefault(table.name, 0)
    out.write(line_of({"end": {"counts": left.rows, "sha256": hasher.hexdigest()}}))
    return left


@contextmanager
def _one_moment(database: Database) -> Iterator[Connection]:
    """A connection that sees the database as it is now, however long it reads and whoever writes."""
    with database.read() as connection:
        if not database.is_sqlite:  # where a transaction that only reads sees one moment anyway
            connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        with connection.begin():
            yield connection


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _header(database: Database, program: str, counts: dict[str, int]) -> dict[str, Any]:
    return {
        "file": TITLE,
        "format": FORMAT,
        "schema": SCHEMA_REVISION,
        "program": program,
        "ledger": database.ledger_id,
        "written_at": datetime.now(UTC).isoformat(),
        "counts": counts,
    }


def _lines(connection: Connection, table: Table) -> Iterator[bytes]:
    columns = carried_columns(table)
    changes = [(column.name, change) for column in columns if (change := to_json(column)) is not None]
    for row in _rows(connection, table):
        values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
        for name, change in changes:
            values[name] = change(values[name])
        yield line_of({"table": table.name, "row": values})


def _rows(connection: Connection, table: Table) -> Iterator[Row[Any]]:
    """Every row in the order of the primary key."""
    keys = list(table.primary_key.columns)
    page = _selected(table).order_by(*keys).limit(PAGE)
    rows = connection.execute(page).all()
    while rows:
        yield from rows
        if len(rows) < PAGE:
            return
        last = [literal(getattr(rows[-1], key.name), key.type) for key in keys]
        rows = connection.execute(page.where(tuple_(*keys) > tuple_(*last))).all()


def _selected(table: Table) -> Select[Any]:
    columns = carried_columns(table)
    if table is not chunks:
        return select(*columns)
    # A claim that goes on is none elsewhere, and did not end badly: the same as a chunk that was given back.
    held = chunks.c.done.is_(False) & chunks.c.lease_until.is_not(None)
    attempts = case((held, chunks.c.attempts - 1), else_=chunks.c.attempts).label("attempts")
    return select(*(attempts if column.name == "attempts" else column for column in columns))
