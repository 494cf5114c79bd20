"""SQL that SQLAlchemy compiled for one database, used for all others of the same kind in this process.

An engine compiles each statement once. The product opens one database in a process; tests open one each, and compiling would take
a fifth of their processor time.
"""

from typing import Any

from sqlalchemy import Connection, Engine, event
from sqlalchemy.util import LRUCache

MOST_STATEMENTS = 4000


class CompiledStatements(LRUCache[Any, Any]):
    """Finds a statement whatever engine's dialect compiled it: it knows dialects by kind and by the server's version."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(_without_engine(key), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        super().__setitem__(_without_engine(key), compiled)


def share_compiled_statements() -> None:
    """Let all engines of this process share what they compile, from now on."""
    statements = CompiledStatements(MOST_STATEMENTS)

    @event.listens_for(Engine, "engine_connect")
    def _share(connection: Connection) -> None:
        connection.execution_options(compiled_cache=statements)


def _without_engine(key: Any) -> Any:
    dialect, *rest = key
    return (type(dialect), dialect.server_version_info, *rest)
