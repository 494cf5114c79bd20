"""SQL that each database needs in a form of its own, and inserts of many rows.

PostgreSQL waits for locks for ever, so statements here can have a limit; SQLite has BUSY_TIMEOUT_S.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import IntEnum, unique
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    Connection,
    Dialect,
    Exists,
    Row,
    Select,
    Table,
    TypeDecorator,
    bindparam,
    exists,
    func,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType
from sqlalchemy.sql.visitors import ExternallyTraversible, replacement_traverse
from sqlalchemy.types import BigInteger, Boolean, Float, Integer, Text, TypeEngine

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql, sqlite

_Value = TypeVar("_Value")
PAGE = 500


class _Expression(FunctionElement[_Value]):
    # An expression with SQL of its own for each database, in which `{0}` are its arguments.
    sqlite: ClassVar[str]
    postgresql: ClassVar[str]

    def __init_subclass__(
        cls, *, sqlite: str, postgresql: str, type_: TypeEngine[_Value] | None = None
    ) -> None:
        cls.inherit_cache = True  # SQLAlchemy asks each class itself
        cls.sqlite, cls.postgresql = sqlite, postgresql
        if type_ is not None:
            cls.type = type_
        super().__init_subclass__()

    @classmethod
    def sql(cls, *arguments: str, is_sqlite: bool) -> str:
        return (cls.sqlite if is_sqlite else cls.postgresql).format(*arguments)


@compiles(_Expression)
def _compile_expression(element: Any, compiler: SQLCompiler, **options: Any) -> str:
    arguments = (compiler.process(clause, **options) for clause in element.clauses)
    text: str = element.sql(*arguments, is_sqlite=compiler.dialect.name == "sqlite")
    return text


# The names of these read as SQL functions where they are used.
class db_now(  # noqa: N801
    _Expression[float],
    type_=Float(),
    sqlite="((julianday('now') - 2440587.5) * 86400.0)",
    postgresql="extract(epoch FROM clock_timestamp())::float8",
):
    """Seconds since 1970 by the database's clock. Leases are compared by this clock only."""


class rounded_down(  # noqa: N801
    _Expression[int],
    type_=Integer(),
    sqlite="CAST({0} AS INTEGER)",
    postgresql="floor({0})::integer",
):
    """A number without its fraction, which is not negative."""


class year_of(  # noqa: N801
    _Expression[str],
    type_=Text(),
    sqlite="substr({0}, 1, 4)",
    postgresql="to_char({0}, 'YYYY')",
):
    """Like `2024`."""


class month_of(  # noqa: N801
    _Expression[str],
    type_=Text(),
    sqlite="substr({0}, 1, 7)",
    postgresql="to_char({0}, 'YYYY-MM')",
):
    """Like `2024-06`."""


class calendar_day_of(  # noqa: N801
    _Expression[str],
    type_=Text(),
    sqlite="substr({0}, 6, 5)",
    postgresql="to_char({0}, 'MM-DD')",
):
    """Like `06-30`."""


class day_of(  # noqa: N801
    _Expression[Any],
    sqlite="substr({0}, 1, 10)",
    postgresql="date_trunc('day', {0})",
):
    """The day of a time, to group by: text in SQLite, where that is faster, a time in PostgreSQL."""


class part_of(  # noqa: N801
    _Expression[int],
    type_=Integer(),
    sqlite="CAST(coalesce(julianday(substr({0}, 1, 10)) - 1721424.5, -1 - {1} / 10000) AS INTEGER)",
    # As PostgreSQL writes it, so that Alembic finds the index equal.
    postgresql="coalesce({0}::date - '0001-01-01'::date + 1, ('-1'::integer - {1} / 10000)::integer)",
):
    """The part of a photo by its time and its id, which numbers of photos are kept of."""


class is_midnight(  # noqa: N801
    _Expression[bool],
    type_=Boolean(),
    sqlite="(substr({0}, 12, 8) = '00:00:00')",
    postgresql="(date_trunc('second', {0}) = date_trunc('day', {0}))",
):
    """Whether a time is that of no clock, as of a day alone."""


class folder_of(  # noqa: N801
    _Expression[str],
    type_=Text(),
    # Without its slashes, a path has all the characters of its last part: rtrim removes these.
    sqlite="rtrim({0}, replace({0}, '/', ''))",
    postgresql="left({0}, -strpos(reverse({0}), '/'))",
):
    """The folder of a path, on SQLite with a slash at its end; empty for a file that is in no folder."""


_NAME_OF = "lower(substr({0}, length(rtrim({0}, replace({0}, '/', ''))) + 1))"


class name_of(  # noqa: N801
    _Expression[str], type_=Text(), sqlite=_NAME_OF, postgresql=_NAME_OF
):
    """The name of the file of a path, with ASCII letters in lower case. Photos have an index of it."""


class unindexed(FunctionElement[Any]):  # noqa: N801
    """The same column, hidden from SQLite's planner, which must use the index of an order."""

    inherit_cache = True

    def __init__(self, column: ColumnElement[Any]) -> None:
        super().__init__(column)
        self.type = column.type


@compiles(unindexed)
def _compile_unindexed(
    element: unindexed, compiler: SQLCompiler, **options: Any
) -> str:
    sign = "+" if compiler.dialect.name == "sqlite" else ""
    return sign + compiler.process(next(iter(element.clauses)), **options)


def looked_up(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    """The condition with each EXISTS looked up for each photo: PostgreSQL would read all tags for some."""

    def with_offset(element: ExternallyTraversible, **_: Any) -> Any:
        if isinstance(element, Exists) and isinstance(
            select_ := element.element.element, Select
        ):
            return exists(select_.offset(0))
        return None

    found: ColumnElement[bool] = replacement_traverse(condition, {}, with_offset)
    return found


def current_time(connection: Connection) -> datetime:
    """In UTC, by the database's clock, by which a fleet decides what is due."""
    return datetime.fromtimestamp(
        connection.execute(select(db_now())).scalar_one(), UTC
    )


def upsert(
    connection: Connection, target: Table
) -> "sqlite.Insert | postgresql.Insert":
    """An INSERT that can have ON CONFLICT. Importing PostgreSQL's dialect takes long."""
    if connection.dialect.name == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(target)
    from sqlalchemy.dialects import postgresql

    return postgresql.insert(target)


def insert_missing(
    connection: Connection, target: Table, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert the rows whose natural key does not exist. Concurrent inserts of the same key all succeed."""
    if rows:
        connection.execute(upsert(connection, target).on_conflict_do_nothing(), rows)


def distinct_values(
    column: ColumnElement[_Value], *conditions: ColumnElement[bool]
) -> Select[tuple[_Value]]:
    """The values of a column that begins an index with these conditions: a look at the index for each."""
    first = (
        select(func.min(column).label("value")).where(*conditions).cte(recursive=True)
    )
    after = select(func.min(column)).where(column > first.c.value, *conditions)
    values = first.union_all(
        select(after.scalar_subquery()).where(first.c.value.is_not(None))
    )
    return select(values.c.value).where(values.c.value.is_not(None))


def pages(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """The values in parts, for the parameters of one statement and for brief transactions."""
    rest = iter(values)
    return iter(lambda: list(islice(rest, PAGE)), [])


def row_pages(
    read: Callable[[Select[Any]], Sequence[Row[Any]]],
    query: Select[Any],
    keys: Sequence[ColumnElement[Any]],
    size: int,
) -> Iterator[Sequence[Row[Any]]]:
    """The rows of a query along these keys, which it selects, in pages. `read` executes that of a page."""
    page = ordered = query.order_by(*keys).limit(size)
    while rows := read(page):
        yield rows
        if len(rows) < size:
            return
        last = (literal(getattr(rows[-1], str(key.key)), key.type) for key in keys)
        page = ordered.where(tuple_(*keys) > tuple_(*last))


class among(FunctionElement[bool]):  # noqa: N801 - reads as a SQL function where it is used
    """The condition that a column has one of many ids or texts, which are one parameter.

    On SQLite, views with UNION need `in_` and `pages`: other conditions are not passed on to their parts.
    """

    type = Boolean()
    inherit_cache = True

    def __init__(
        self,
        column: ColumnElement[_Value],
        values: "Iterable[_Value] | BindParameter[Sequence[_Value]]",
    ) -> None:
        item = Text() if isinstance(column.type, Text) else BigInteger()
        super().__init__(
            column, values if isinstance(values, BindParameter) else array(values, item)
        )

    def self_group(self, against: OperatorType | None = None) -> "among":
        """Stay as it is in AND and OR: compared with 1, it would use no index of SQLite."""
        del against
        return self


@compiles(among)
def _compile_among(element: among, compiler: SQLCompiler, **options: Any) -> str:
    column, values = (compiler.process(clause, **options) for clause in element.clauses)
    if compiler.dialect.name == "sqlite":
        return f"({column} IN (SELECT value FROM json_each({values})))"  # noqa: S608 - a parameter
    return f"({column} = ANY ({values}))"


def array(
    values: Iterable[_Value], item: TypeEngine[_Value]
) -> ColumnElement[Sequence[_Value]]:
    return literal(list(values), _Array(item))


class _Array(TypeDecorator[list[Any]]):
    impl = ARRAY
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return (
            Text() if dialect.name == "sqlite" else super().load_dialect_impl(dialect)
        )

    def bind_processor(self, dialect: Dialect) -> Callable[[list[Any] | None], object]:
        if dialect.name == "sqlite":
            return json.dumps
        return lambda values: _array_text(values or [])


# The parameter `ids` of statements that are built once.
IDS: BindParameter[Sequence[int]] = bindparam("ids", type_=_Array(BigInteger()))


def _array_text(values: list[Any]) -> object:
    # Ids or texts as the text of a PostgreSQL array, faster than the driver; other values unchanged.
    kinds = set(map(type, values))
    if kinds == {int}:
        return "{" + ",".join(map(str, values)) + "}"
    if kinds == {type(None)}:
        return "{" + ",".join(["NULL"] * len(values)) + "}"
    if kinds == {bytes} and not any(values):
        return "{" + ",".join(['""'] * len(values)) + "}"
    # PostgreSQL stores no null character, so the driver may refuse it.
    if kinds == {str} and (joined := "\0".join(values)).count("\0") == len(values) - 1:
        escaped = joined.replace("\\", r"\\").replace('"', r"\"").replace("\0", '","')
        return '{"' + escaped + '"}'
    return values


class PreparedQuery:
    """A query whose SQL is composed once, for what runs for each photo: SQLAlchemy takes ten times its time.

    Its errors are those of the driver, and its connection is not for use after them.
    """

    def __init__(self, connection: Connection, query: Select[Any]) -> None:
        compiled = query.compile(dialect=connection.dialect)
        self._text, self._names = str(compiled), compiled.positiontup
        self._driver = connection.connection

    def rows(self, parameters: Mapping[str, Any]) -> Sequence[Any]:
        names = self._names
        values = parameters if names is None else [parameters[name] for name in names]
        cursor = self._driver.cursor()
        try:
            cursor.execute(self._text, values)
            return cursor.fetchall()
        finally:
            cursor.close()


def lock_tables(
    connection: Connection, *tables: Table, mode: str = "SHARE ROW EXCLUSIVE"
) -> None:
    """Make other writers of these tables wait until the transaction ends. SQLite has one writer anyway."""
    if connection.dialect.name == "postgresql":
        names = ", ".join(table.name for table in tables)
        connection.execute(text(f"LOCK TABLE {names} IN {mode} MODE"))


# The SQLSTATE of PostgreSQL's lock_timeout.
_LOCK_NOT_AVAILABLE = "55P03"


class LockTimedOut(Exception):
    """Another transaction held a lock for too long. The waiting one has to be rolled back."""


@unique
class AdvisoryLock(IntEnum):
    """What one transaction at a time may do, by its key in PostgreSQL. SQLite has one writer anyway."""

    UPDATE_KEPT = 7_309_453
    ADD_ITEMS = 7_309_456
    UPDATE_LOOKS = 7_309_457


def take_lock(connection: Connection, lock: AdvisoryLock) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(
            text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock.value}
        )


def try_lock(connection: Connection, lock: AdvisoryLock) -> None:
    """Take the lock until the transaction ends, if it is free.

    Raises:
        LockTimedOut: another transaction holds it.
    """
    if connection.dialect.name == "postgresql":
        is_taken = connection.scalar(
            text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": lock.value}
        )
        if not is_taken:
            raise LockTimedOut


@contextmanager
def lock_timeout(connection: Connection, limit_s: float) -> Iterator[None]:
    """Limit the wait for each lock in this transaction. The time of a statement has no limit.

    Raises:
        LockTimedOut: another transaction held a lock for longer.
    """
    if connection.dialect.name == "postgresql":
        limit = text("SELECT set_config('lock_timeout', :milliseconds, true)")
        connection.execute(limit, {"milliseconds": f"{limit_s * 1000:.0f}"})
    try:
        yield
    except OperationalError as error:
        if getattr(error.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
            raise LockTimedOut from error
        raise


def insert_page(
    connection: Connection,
    table: Table,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    skip_existing: bool = False,
    returning: str = "",
) -> Sequence[Row[Any]]:
    """Insert a page of rows with values for these columns in one statement; on PostgreSQL by arrays.

    `skip_existing` leaves out rows whose natural key exists. Returns the inserted rows with these columns, on
    PostgreSQL only.
    """
    values = list(rows)
    if not values:
        return []
    preparer = connection.dialect.identifier_preparer
    target = f"{preparer.format_table(table)} ({', '.join(map(preparer.quote, names))})"
    conflict = " ON CONFLICT DO NOTHING" if skip_existing else ""
    if connection.dialect.name == "postgresql":
        # The type of an array has no collation; the column it is inserted into has.
        types = [
            table.c[name].type.compile(connection.dialect).partition(" COLLATE ")[0]
            for name in names
        ]
        arrays = ", ".join(f"%s::{kind}[]" for kind in types)
        statement = f"INSERT INTO {target} SELECT * FROM unnest({arrays}){conflict}"  # noqa: S608 - names of columns
        parameters = tuple(
            _array_text(list(column)) for column in zip(*values, strict=True)
        )
        if returning:
            return connection.exec_driver_sql(
                f"{statement} RETURNING {returning}", parameters
            ).all()
        connection.exec_driver_sql(statement, parameters)
    else:
        marks = ", ".join("?" * len(names))
        connection.exec_driver_sql(
            f"INSERT INTO {target} VALUES ({marks}){conflict}",  # noqa: S608
            values,
        )
    return []
