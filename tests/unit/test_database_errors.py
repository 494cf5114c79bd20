"""What is said of a database whose disk is full, or that refuses a statement."""

import resource
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError
from support.databases import create_sqlite_database

from tagger.database.connection import open_database
from tagger.database.diagnostics import _connected
from tagger.database.engine import is_transient, outage_text, reason_of, stated_error
from tagger.errors import DiskFull, StatementRefused

FREE_SPACE = "Free space on its disk"


def limit_pages(connection: sqlite3.Connection, _record: Any) -> None:
    connection.execute("PRAGMA max_page_count = 20").close()


def test_a_new_database_on_a_full_disk_says_to_free_space(tmp_path: Path) -> None:
    event.listen(Engine, "connect", limit_pages)
    try:
        with pytest.raises(DiskFull, match=rf"tagger\.sqlite \(.*full\)\. {FREE_SPACE}"):
            open_database(f"sqlite:///{tmp_path}/tagger.sqlite")
    finally:
        event.remove(Engine, "connect", limit_pages)


@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        ("status", 0, "tagger.sqlite is full: free some space"),
        ("query", 0, "no photo matches"),
        pytest.param("doctor", 1, FREE_SPACE, marks=pytest.mark.slow),
    ],
)
def test_commands_that_read_work_on_a_full_disk(tmp_path: Path, command: str, code: int, said: str) -> None:
    create_sqlite_database(tmp_path / "tagger.sqlite")
    assert not (tmp_path / "tagger.sqlite-shm").exists()  # which SQLite creates to read
    done = run_without_space(tmp_path, command)
    assert done.returncode == code
    assert said in done.stdout + done.stderr
    assert "damaged" not in done.stdout + done.stderr


def test_a_check_of_the_file_on_a_full_disk_says_to_free_space(tmp_path: Path) -> None:
    def grow() -> None:
        with _connected(tmp_path / "tagger.sqlite", "rwc") as connection:
            limit_pages(connection, None)
            connection.execute("CREATE TABLE a AS SELECT zeroblob(1000000)")

    with pytest.raises(DiskFull, match=FREE_SPACE):
        grow()


def run_without_space(data: Path, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command whose files cannot grow to a page of SQLite."""
    environment = {
        "TAGGER_DATA_FOLDER": str(data),
        "HOME": str(data),
        "PYTHONPATH": ":".join(sys.path),
        "PYTHONDONTWRITEBYTECODE": "1",  # the files would be truncated
    }
    return subprocess.run(
        [sys.executable, "-m", "tagger", command],
        env=environment,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        capture_output=True,
        text=True,
        check=False,
    )


def full_sqlite() -> Exception:
    with closing(sqlite3.connect(":memory:")) as connection:
        limit_pages(connection, None)
        with pytest.raises(sqlite3.OperationalError) as full:
            connection.execute("CREATE TABLE a AS SELECT zeroblob(1000000)")
    return full.value


@pytest.mark.parametrize("make_error", [full_sqlite, psycopg.errors.DiskFull])
def test_who_waits_for_a_full_disk_is_told_to_free_space(make_error: Callable[[], Exception]) -> None:
    full = OperationalError("INSERT", None, make_error())
    assert outage_text(full) == "the disk of the database is full: free some space"
    away = OperationalError("INSERT", None, sqlite3.OperationalError("locked\nby another"))
    assert outage_text(away) == "the database does not answer (locked)"


def test_a_full_disk_is_not_called_a_disk_error() -> None:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR_SHMSIZE
    assert reason_of(error) == "database or disk is full"


def test_a_connection_that_is_refused_for_lack_of_space_says_to_free_some() -> None:
    refused = psycopg.OperationalError("FATAL:  could not write init file: No space left on device")
    assert outage_text(OperationalError("connect", {}, refused)).endswith("free some space")


@pytest.mark.parametrize(
    "refused",
    [
        IntegrityError("INSERT", None, psycopg.errors.UniqueViolation("duplicate key")),
        IntegrityError("INSERT", None, sqlite3.IntegrityError("UNIQUE constraint failed")),
        ProgrammingError("SELECT", None, psycopg.errors.UndefinedTable("no such relation")),
    ],
)
def test_a_refused_statement_is_a_defect_and_no_outage(refused: IntegrityError | ProgrammingError) -> None:
    assert not is_transient(refused)
    assert "is a defect of this program" in outage_text(refused)
    assert isinstance(stated_error(refused, "reason"), StatementRefused)
