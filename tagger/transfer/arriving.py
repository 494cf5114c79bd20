"""A database taken in again: checked line by line, into an empty one, in one transaction that is kept only if all is there."""

import hashlib
import json
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any

from sqlalchemy import JSON, Connection, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, StatementError

from tagger.database import SCHEMA_REVISION, Database
from tagger.errors import DatabaseNotEmpty, ImportRefused
from tagger.tables import landmarks, ledgers, model_labels, models
from tagger.transfer.leaving import Progress
from tagger.transfer.lines import FORMAT, TITLE, Value, carried_columns, carried_tables, from_json

PAGE = 1000
LONGEST_LINE = 1 << 26
_SHIPPED = (model_labels, models, landmarks)
"""What a command may have put into an otherwise empty database: the model that ships."""

_AGAIN = "export the database again, and let it end"
_BROKEN = (ValueError, TypeError, KeyError, AttributeError, RecursionError)


@dataclass
class Arrived:
    """What was taken in: rows by table, and the ledger that the database is now."""

    ledger: str
    rows: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(self.rows.values())


def import_database(
    database: Database,
    source: IO[bytes],
    name: str,
    *,
    new_ledger: bool = False,
    dry_run: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> Arrived:
    """Fill the empty `database` with what was exported to `source`, a file that people know as `name`.

    `new_ledger` makes it a ledger of its own, for where the old one goes on being used. With `dry_run` the file is read
    to its end, and nothing written.

    Raises:
        DatabaseNotEmpty: there is something in it.
        ImportRefused: the file is not whole, not of this version, or not one of ours. Nothing was changed.
    """
    reader = _Reader(source, name, progress)
    if dry_run:
        with database.read() as connection:
            _refuse_what_is_there(database, connection)
        for _ in reader.pages():
            pass
        return reader.arrived
    with database.write() as connection:
        _refuse_what_is_there(database, connection)
        for table in (*_SHIPPED, ledgers):
            connection.execute(delete(table))
        for table, rows in reader.pages():
            with reader.sound():
                _fill(connection, table, rows)
        if new_ledger:
            reader.arrived.ledger = str(uuid.uuid4())
            connection.execute(update(ledgers).values(ledger_id=reader.arrived.ledger))
        _go_on_numbering(connection)
    return reader.arrived


def _refuse_what_is_there(database: Database, connection: Connection) -> None:
    counts = {
        table.name: count
        for table in carried_tables()
        if table is not ledgers
        and (count := connection.scalar(select(func.count()).select_from(table)))
        and not (table in _SHIPPED and _only_ships(connection))
    }
    if counts:
        found = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        raise DatabaseNotEmpty(url=database.shown_url, found=found)


def _only_ships(connection: Connection) -> bool:
    return not connection.scalar(select(func.count()).select_from(models).where(models.c.file.is_not(None)))


def _fill(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if connection.dialect.name == "sqlite":
        connection.execute(insert(table), rows)
    else:
        _copy(connection, table, rows)


def _copy(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """What PostgreSQL takes in several times as fast as inserts."""
    driver: Any = connection.dialect.dbapi
    cursor: Any = connection.connection.cursor()
    write = connection.dialect.identifier_preparer
    columns = [(name, isinstance(table.columns[name].type, JSON)) for name in rows[0]]
    names = ", ".join(write.quote(name) for name, _ in columns)
    statement = f"COPY {write.format_table(table)} ({names}) FROM STDIN"
    try:
        with cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row([json.dumps(row[name]) if is_json else row[name] for name, is_json in columns])
    except driver.IntegrityError as error:
        raise IntegrityError(statement, None, error) from error
    except driver.DataError as error:
        raise DataError(statement, None, error) from error


def _go_on_numbering(connection: Connection) -> None:
    """PostgreSQL's sequences know nothing of ids that were given; SQLite counts on from the largest by itself."""
    if connection.dialect.name == "sqlite":
        return
    for table in carried_tables():
        column = table.autoincrement_column
        if column is not None:
            named = {"table": table.name, "column": column.name}
            sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:table, :column)"), named)
            largest = connection.scalar(select(func.max(column)))
            if sequence and largest:
                connection.execute(
                    text("SELECT setval(:sequence, :largest)"), {"sequence": sequence, "largest": largest}
                )
    connection.execute(
        text("ANALYZE")
    )  # the server would gather statistics only later, and plan badly until then


class _Reader:
    """Reads the file line by line and refuses it where it is not what it should be."""

    def __init__(self, source: IO[bytes], name: str, progress: Progress) -> None:
        self._source, self._name, self._progress = source, name, progress
        self._hasher, self._last = hashlib.sha256(), b""
        self._line = 0
        self._tables = {table.name: _Rows(table) for table in carried_tables()}
        self._header = self._read_header()
        self.arrived = Arrived(str(self._header["ledger"]), dict.fromkeys(self._tables, 0))

    def pages(self) -> Iterator[tuple[Table, list[dict[str, Any]]]]:
        """Rows as they can be inserted, some at a time; the last comes only after the end was found to be right."""
        page: list[dict[str, Any]] = []
        rows: _Rows | None = None
        total = sum(self._header["counts"].values())
        while True:
            document = self._document()
            if "end" in document:
                self._check_end(document["end"])
                break
            with self.sound():
                named = self._tables[document["table"]]
                values = named.values(document["row"])
            if rows is not None and (named is not rows or len(page) == PAGE):
                yield rows.table, page
                page = []
                self._progress(self.arrived.total, total)
            rows = named
            page.append(values)
            self.arrived.rows[rows.table.name] += 1
        if rows is not None:
            yield rows.table, page

    @contextmanager
    def sound(self) -> Iterator[None]:
        """What fails here fails because a line is not sound."""
        try:
            yield
        except IntegrityError as error:
            raise self._refused(
                f"near line {self._line} a row is there twice, or points to one that is not"
            ) from error
        except (DataError, StatementError) as error:
            if isinstance(error, OperationalError):
                raise
            raise self._refused(f"near line {self._line} a value cannot be stored") from error
        except _BROKEN as error:
            raise self._refused(f"line {self._line} is no row of a database") from error

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError, zlib.error) as error:  # a compressed file that ends early, or is damaged
            raise self._refused(f"it cannot be read on after line {self._line}: {error}") from error

    def _read_header(self) -> Mapping[str, Any]:
        header = self._document()
        if header.get("file") != TITLE or not isinstance(header.get("counts"), dict):
            raise self._refused("it is no exported database", "name a file that `tagger export` wrote")
        if (header.get("format"), header.get("schema")) != (FORMAT, SCHEMA_REVISION):
            raise self._refused(
                f"it has format {header.get('format')} and schema {header.get('schema')}, written by tagger "
                f"{header.get('program')}; this version reads format {FORMAT} and schema {SCHEMA_REVISION}",
                "install the same version on both sides (then `tagger db upgrade`), and export again",
            )
        return header

    def _document(self) -> Mapping[str, Any]:
        with self._reading():
            line = self._source.readline(LONGEST_LINE)
        if not line.endswith(b"\n"):
            raise self._refused(f"it ends early, after {self._line} lines")
        self._hasher.update(self._last)  # the end holds the checksum of what is ahead of it
        self._line, self._last = self._line + 1, line
        with self.sound():
            document = json.loads(line)
        if not isinstance(document, dict):
            raise self._refused(f"line {self._line} is no row of a database")
        return document

    def _check_end(self, end: object) -> None:
        with self._reading():
            more = self._source.read(1)  # and whatever a compressed file has to say at its end
        if not isinstance(end, dict) or end.get("sha256") != self._hasher.hexdigest():
            raise self._refused("its checksum is wrong: it was changed or damaged")
        if more:
            raise self._refused("something follows its end")
        if end.get("counts") != self.arrived.rows or self._header["counts"] != self.arrived.rows:
            raise self._refused("rows are missing, or there are too many")

    def _refused(self, reason: str, remedy: str = _AGAIN) -> ImportRefused:
        return ImportRefused(file=self._name, reason=reason, remedy=remedy)


class _Rows:
    """Makes rows of one table out of JSON."""

    def __init__(self, table: Table) -> None:
        self.table = table
        columns = carried_columns(table)
        self._names = frozenset(column.name for column in columns)
        self._changes: Sequence[tuple[str, Value]] = [
            (column.name, change) for column in columns if (change := from_json(column)) is not None
        ]

    def values(self, row: dict[str, Any]) -> dict[str, Any]:
        """The values of a row.

        Raises:
            ValueError, TypeError: they are not those of a row of this table.
        """
        if row.keys() != self._names:
            raise ValueError("not the columns of the table")
        for name, change in self._changes:
            row[name] = change(row[name])
        return row
