"""The integrity check of a database: the file, the values of every row, and what rows say about each other."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import Connection, Row, Table, select, text
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError

from tagger.database.connection import Database
from tagger.database.stored_rows import stored_rows
from tagger.database.tables import metadata
from tagger.transfer.integrity.count_checks import count_problems
from tagger.transfer.integrity.cross_checks import PROBLEMS_SHOWN, cross_problems
from tagger.transfer.integrity.rows import ROWS, describe_error, row_columns, row_validator

NOT_CHECKED = "because of these problems, the counts of jobs and photos, outcomes and labels were not checked"


def check_database(database: Database) -> Iterator[str]:
    """Yield a line per problem: a damaged file, invalid values, missing rows, counts that do not match."""
    are_valid = True
    with database.read() as connection:
        for problem in connection_problems(connection):
            are_valid = are_valid and problem != NOT_CHECKED
            yield problem
    if are_valid:
        yield from count_problems(database)


def connection_problems(connection: Connection) -> Iterator[str]:
    """The problems that the connection's transaction sees."""
    are_valid = True
    if connection.dialect.name == "sqlite":
        for problem in _file_problems(connection):
            are_valid = False
            yield problem
        if are_valid:  # a damaged file cannot be searched for them
            yield from _missing_rows(connection)
    for table in metadata.sorted_tables:
        if table.name in ROWS:
            for problem in islice(_value_problems(connection, table), PROBLEMS_SHOWN):
                are_valid = False
                yield problem
    if are_valid:
        yield from cross_problems(connection)
    else:
        yield NOT_CHECKED


def _file_problems(connection: Connection) -> Iterator[str]:
    try:
        for line in connection.scalars(text(f"PRAGMA integrity_check({PROBLEMS_SHOWN})")):
            if line != "ok":
                yield f"the file is damaged: {line}"
    except OperationalError:  # it is locked, or cannot be read now
        raise
    except DatabaseError as error:  # SQLite could not go on after the lines before
        yield f"the file is damaged: {error.orig}"


def _missing_rows(connection: Connection) -> Iterator[str]:
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
