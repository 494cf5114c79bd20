"""Inserts many rows with little work for each: by COPY on PostgreSQL, by the driver's prepared statement on SQLite."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DataError, IntegrityError


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
