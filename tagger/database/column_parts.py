"""Parts of columns, as SQL of either database: the year, month and day of a time, and the folders and name of a path."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Boolean, Text


class year_of(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """The year of a time, as text."""

    inherit_cache = True
    type = Text()


@compiles(year_of)
def _compile_year(element: year_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **options)}, 'YYYY')"


@compiles(year_of, "sqlite")
def _compile_year_sqlite(element: year_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 4)"


class first_part(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """A relative path up to its first slash, without it; empty for a file that is in no folder."""

    inherit_cache = True
    type = Text()


@compiles(first_part)
def _compile_first(element: first_part, compiler: SQLCompiler, **options: Any) -> str:
    path = compiler.process(element.clauses, **options)
    return f"CASE WHEN strpos({path}, '/') > 0 THEN split_part({path}, '/', 1) ELSE '' END"


@compiles(first_part, "sqlite")
def _compile_first_sqlite(element: first_part, compiler: SQLCompiler, **options: Any) -> str:
    path = compiler.process(element.clauses, **options)
    return f"substr({path}, 1, max(instr({path}, '/') - 1, 0))"


class month_of(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """The month of a time, like `2024-06`."""

    inherit_cache = True
    type = Text()


@compiles(month_of)
def _compile_month(element: month_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"to_char({compiler.process(element.clauses, **options)}, 'YYYY-MM')"


@compiles(month_of, "sqlite")
def _compile_month_sqlite(element: month_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 7)"


class day_of(FunctionElement[Any]):  # noqa: N801 - reads as a SQL function where it is used
    """The day of a time, to group by: text in SQLite, which would take longer to parse it, and a time in PostgreSQL."""

    inherit_cache = True


@compiles(day_of)
def _compile_day(element: day_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"date_trunc('day', {compiler.process(element.clauses, **options)})"


@compiles(day_of, "sqlite")
def _compile_day_sqlite(element: day_of, compiler: SQLCompiler, **options: Any) -> str:
    return f"substr({compiler.process(element.clauses, **options)}, 1, 10)"


class is_midnight(FunctionElement[bool]):  # noqa: N801 - reads as a SQL function where it is used
    """Whether a time is midnight to the second."""

    inherit_cache = True
    type = Boolean()


@compiles(is_midnight)
def _compile_midnight(element: is_midnight, compiler: SQLCompiler, **options: Any) -> str:
    time = compiler.process(element.clauses, **options)
    return f"(date_trunc('second', {time}) = date_trunc('day', {time}))"


@compiles(is_midnight, "sqlite")
def _compile_midnight_sqlite(element: is_midnight, compiler: SQLCompiler, **options: Any) -> str:
    return f"(substr({compiler.process(element.clauses, **options)}, 12, 8) = '00:00:00')"


class folder_of(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """A path up to its last slash, with it; empty for a file that is in no folder."""

    type = Text()
    inherit_cache = True


class name_of(FunctionElement[str]):  # noqa: N801 - reads as a SQL function where it is used
    """The name of the file of a path, with ASCII letters in lower case. Photos have an index of it."""

    type = Text()
    inherit_cache = True


@compiles(folder_of)
def _compile_folder(element: folder_of, compiler: SQLCompiler, **options: Any) -> str:
    # Without its slashes, a path has all the characters of its last part: rtrim removes these, up to the last slash.
    path = compiler.process(element.clauses, **options)
    return f"rtrim({path}, replace({path}, '/', ''))"


@compiles(name_of)
def _compile_name(element: name_of, compiler: SQLCompiler, **options: Any) -> str:
    path = compiler.process(element.clauses, **options)
    return f"lower(substr({path}, length(rtrim({path}, replace({path}, '/', ''))) + 1))"
