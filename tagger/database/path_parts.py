"""The parts of a path in SQL: the folder and the name of a file."""

from typing import Any

from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import Text


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
