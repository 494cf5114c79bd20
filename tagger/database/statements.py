"""SQL that both databases need in their own form: the current time, rounding, insert-or-ignore, and prepared queries; and many ids."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Engine,
    Select,
    Table,
    any_,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Float, Integer

_Value = TypeVar("_Value")
PAGE = 500


class db_now(FunctionElement[float]):  # noqa: N801 - reads as a SQL function where it is used
    """Seconds since 1970 by the database's clock. Leases are compared by this clock only."""

    type = Float()
    inherit_cache = True


@compiles(db_now, "sqlite")
def _sqlite_now(_element: Any, _compiler: SQLCompiler, **_options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(db_now, "postgresql")
def _postgresql_now(_element: Any, _compiler: SQLCompiler, **_options: Any) -> str:
    return "extract(epoch FROM clock_timestamp())::float8"


class rounded_down(FunctionElement[int]):  # noqa: N801 - reads as a SQL function where it is used
    """A number that is not negative without its fraction."""

    type = Integer()
    inherit_cache = True


@compiles(rounded_down, "sqlite")
def _sqlite_rounded_down(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return f"CAST({compiler.process(element.clauses, **options)} AS INTEGER)"


@compiles(rounded_down, "postgresql")
def _postgresql_rounded_down(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    return f"floor({compiler.process(element.clauses, **options)})::integer"


def current_time(connection: Connection) -> datetime:
    """The time by the database's clock, in UTC. The clocks of a fleet differ; what is due is compared by this one."""
    return datetime.fromtimestamp(connection.execute(select(db_now())).scalar_one(), UTC)


def insert_missing(connection: Connection, target: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert the rows whose natural key does not exist. Concurrent inserts of the same key all succeed."""
    if rows:
        dialect = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
        connection.execute(dialect(target).on_conflict_do_nothing(), rows)


def pages(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """The values in parts that are small enough to be the parameters of one statement, as in `id IN (…)`, and for transactions
    that hold the lock of writers only briefly.
    """
    rest = iter(values)
    return iter(lambda: list(islice(rest, PAGE)), [])


def among(connection: Connection, column: ColumnElement[int], ids: Iterable[int]) -> ColumnElement[bool]:
    """The condition that a column is one of any number of ids: one parameter, where `in_` has one for each id.

    On SQLite, views with UNION need `in_` and `pages`: other conditions are not passed on to their parts.
    """
    if connection.dialect.name == "sqlite":
        values = func.json_each(json.dumps(list(ids))).table_valued("value")
        return column.in_(select(values.c.value))
    return column == any_(literal(list(ids), ARRAY(BigInteger)))


class PreparedQuery:
    """A small query that runs once per photo, compiled once.

    On SQLite, `Database.fetch_first` hands its text to the driver directly: SQLAlchemy's own execution costs ten times
    the query. Parameters are named, and parameters and result are types of the driver (numbers, text).
    """

    def __init__(self, query: Select[tuple[Any]]) -> None:
        self.query = query
        self._compiled: tuple[str, Sequence[str]] | None = None

    def compiled(self, engine: Engine) -> tuple[str, Sequence[str]]:
        """The text for SQLite's driver, and the names of its parameters in order."""
        if self._compiled is None:
            compiled = self.query.compile(engine)
            self._compiled = str(compiled), compiled.positiontup or ()
        return self._compiled
