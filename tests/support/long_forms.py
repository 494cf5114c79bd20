"""Which tests run on PostgreSQL in the long form alone (`make test-slow`), by a rule instead of marks at each of them.

A test with the fixture `database` runs on SQLite and on PostgreSQL. A module that is about files, pages, servers or rules more than
about SQL says `pytestmark = pytest.mark.long_on_postgresql()`. Its tests of locks, of concurrency, of what a crash or a lost lease
leaves behind, and of SQL that differs on PostgreSQL are named and run in `make test` too:
`pytest.mark.long_on_postgresql(but=["test_processes_start_at_once"])`.
"""

from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

import pytest

MARKER = "long_on_postgresql"
DATABASES = ("database_url", "empty_database_url")
"""The fixtures with a value for each kind of database."""


def mark_long_forms(items: Iterable[pytest.Item]) -> None:
    """Mark tests on PostgreSQL as slow where their module says so."""
    for item in items:
        marker = item.get_closest_marker(MARKER)
        if marker is None or not isinstance(item, pytest.Function):
            continue
        if _is_on_postgresql(item) and item.originalname not in _names(item.module, **marker.kwargs):
            item.add_marker(pytest.mark.slow)


def _is_on_postgresql(item: pytest.Function) -> bool:
    values: Mapping[str, Any] = item.callspec.params if hasattr(item, "callspec") else {}
    return any(values.get(name) == "postgresql" for name in DATABASES)


def _names(module: ModuleType, *, but: Iterable[str] = ()) -> frozenset[str]:
    names = frozenset(but)
    if unknown := sorted(name for name in names if not hasattr(module, name)):
        message = f"{MARKER} of {module.__name__} names tests that do not exist: {', '.join(unknown)}"
        raise pytest.UsageError(message)
    return names
