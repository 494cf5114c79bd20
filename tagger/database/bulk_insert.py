"""Inserts many rows with little work for each: by COPY or arrays on PostgreSQL, by the driver's prepared statement on SQLite."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table
from sqlalchemy.exc import DataError, IntegrityError

from tagger.database.statements import array_text


def insert_in_bulk(
    connection: Connection, table: Table, names: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Insert rows with values for these columns, as the driver takes them: JSON is text.

    Raises:
        DataError, IntegrityError: the database refuses a value.
    """
    preparer = connection.dialect.identifier_preparer
    target = f"{preparer.format_table(table)} ({', '.join(map(preparer.quote, names))})"
    if connection.dialect.name == "postgresql":
        _copy(connection, f"COPY {target} FROM STDIN", rows)
    elif values := [tuple(row) for row in rows]:
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {target} VALUES ({marks})", values)  # noqa: S608 - names of tables


def insert_page(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    skip_existing: bool = False,
    returning: str = "",
) -> Sequence[Row[Any]]:
    """Insert a page of rows with values for these columns, as the driver takes them, in one statement.

    `skip_existing` leaves out rows whose natural key exists. Returns the inserted rows with these columns, on PostgreSQL only. On PostgreSQL, the columns are sent as arrays: unlike COPY, that
    skips rows, is watched for silent connections, and raises SQLAlchemy's exceptions. A statement for each row costs the server
    several times as much.
    """
    values = list(rows)
    if not values:
        return []
    preparer = connection.dialect.identifier_preparer
    target = f"{preparer.format_table(table)} ({', '.join(map(preparer.quote, names))})"
    conflict = " ON CONFLICT DO NOTHING" if skip_existing else ""
    if connection.dialect.name == "postgresql":
        # The type of an array has no collation; the column it is inserted into has.
        types = [table.c[name].type.compile(connection.dialect).partition(" COLLATE ")[0] for name in names]
        arrays = ", ".join(f"%s::{kind}[]" for kind in types)
        statement = f"INSERT INTO {target} SELECT * FROM unnest({arrays}){conflict}"  # noqa: S608 - names of columns
        parameters = tuple(array_text(list(column)) for column in zip(*values, strict=True))
        if returning:
            return connection.exec_driver_sql(f"{statement} RETURNING {returning}", parameters).all()
        connection.exec_driver_sql(statement, parameters)
    else:
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(f"INSERT INTO {target} VALUES ({marks}){conflict}", values)  # noqa: S608
    return []


def _copy(connection: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """COPY is several times as fast as INSERT."""
    driver: Any = connection.dialect.dbapi
    cursor: Any = connection.connection.cursor()
    try:
        with cursor, cursor.copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except driver.IntegrityError as error:
        raise IntegrityError(statement, None, error) from error
    except driver.DataError as error:
        raise DataError(statement, None, error) from error
