"""Disks that are full, in this process: at chosen writes of SQLite, and for files above a size."""

import resource
import sqlite3
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_WRITES = ("INSERT", "UPDATE", "DELETE")


class FullDisk:
    """Counts the writes of all SQLite connections opened from now on: changing statements, and commits.

    A write whose number is in `refused` fails, as it does when the disk is full.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.refused: Container[int] = ()
        self._writes = 0
        self._lock = threading.Lock()
        disk = self

        class Cursor(sqlite3.Cursor):
            def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
                if statement.lstrip().startswith(_WRITES):
                    disk._write()
                return super().execute(statement, *values)

            def executemany(self, statement: str, *values: Any) -> sqlite3.Cursor:
                disk._write()
                return super().executemany(statement, *values)

        class Connection(sqlite3.Connection):
            def cursor(self, *_: Any) -> sqlite3.Cursor:  # type: ignore[override]
                return super().cursor(Cursor)

            def commit(self) -> None:
                if self.in_transaction:
                    disk._write()
                super().commit()

        original = sqlite3.dbapi2.connect
        monkeypatch.setattr(
            sqlite3.dbapi2,
            "connect",
            lambda *args, **options: original(*args, **options | {"factory": Connection}),
        )

    def start_count(self, refused: Container[int] = ()) -> None:
        with self._lock:
            self._writes, self.refused = 0, refused

    @property
    def writes(self) -> int:
        return self._writes

    def _write(self) -> None:
        with self._lock:
            self._writes += 1
            if self._writes in self.refused:
                raise sqlite3.OperationalError("database or disk is full")


@contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Let writes beyond this size of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
