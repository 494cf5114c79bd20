"""The integrity check of a database: the file, the values of every row, and what rows say about each other."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import Connection, Row, Table, select, text
from sqlalchemy.exc import SQLAlchemyError

from tagger.database.connection import Database
from tagger.database.stored_rows import stored_rows
from tagger.database.tables import metadata
from tagger.integrity.cross_checks import PROBLEMS_SHOWN, cross_problems
from tagger.integrity.rows import ROWS, describe_error, row_columns, row_validator


def check_database(database: Database) -> Iterator[str]:
    """Yield a line per problem: a damaged file, invalid values, missing rows, counts that do not match."""
    with database.read() as connection:
        yield from connection_problems(connection)


def connection_problems(connection: Connection) -> Iterator[str]:
    """The problems that the connection's transaction sees."""
    if connection.dialect.name == "sqlite":
        yield from _file_problems(connection)
    are_valid = True
    for table in metadata.sorted_tables:
        if table.name in ROWS:
            for problem in islice(_value_problems(connection, table), PROBLEMS_SHOWN):
                are_valid = False
                yield problem
    if are_valid:
        yield from cross_problems(connection)
    else:
        yield "because of these values, the counts of jobs, outcomes and labels were not checked"


def _file_problems(connection: Connection) -> Iterator[str]:
    for line in connection.scalars(text(f"PRAGMA integrity_check({PROBLEMS_SHOWN})")).all():
        if line != "ok":
            yield f"the file is damaged: {line}"
    # PostgreSQL always enforces foreign keys, SQLite only in programs that enable them.
    for row in connection.execute(text("PRAGMA foreign_key_check")).fetchmany(PROBLEMS_SHOWN):
        yield f"a row of {row[0]} refers to a missing row of {row[2]} (row {row[1]})"


def _value_problems(connection: Connection, table: Table) -> Iterator[str]:
    validator = row_validator(table)
    try:
        for row in stored_rows(connection, table, select(*row_columns(table))):
            yield from _row_problems(validator, table, row)
    except (SQLAlchemyError, ValueError, TypeError) as error:
        # SQLite stores any value in any column, and the driver fails to read a time or a document.
        yield f"{table.name}: a row cannot be read: {str(error).splitlines()[0]}"


def _row_problems(validator: TypeAdapter[BaseModel], table: Table, row: Row[Any]) -> Iterator[str]:
    try:
        validator.validate_python(row._asdict())
    except ValidationError as error:
        key = ", ".join(f"{column.name} {getattr(row, column.name)}" for column in table.primary_key.columns)
        yield f"{table.name}, {key}: {describe_error(error)}"
