"""Databases that cannot be written, or hold what cannot be used, are named."""

import codecs
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError
from support.artifacts import tiny_artifact
from support.colour_folders import TaggedFolder
from support.databases import create_sqlite_database
from support.disks import NOBODY, without_root_privileges
from support.stored_photos import StoredPhotos

from tagger.cli.commands.doctor import check_database_file
from tagger.database.connection import open_database
from tagger.database.engine import DatabaseError, outage_text, stated_error
from tagger.errors import DatabaseReadOnly
from tagger.registry.registered_models import add_model
from tagger.transfer import NOT_CHECKED, check_database, connection_problems, upgrade_database


@pytest.fixture
def file() -> Iterator[Path]:
    with TemporaryDirectory() as name:  # not in tmp_path, which only its user may enter
        folder = Path(name)
        file = folder / "tagger.sqlite"
        upgrade_database(f"sqlite:///{file}")
        file.chmod(0o444)
        folder.chmod(0o555)
        yield file
        folder.chmod(0o755)


def test_a_database_in_a_folder_of_another_user_is_read_and_not_changed(file: Path) -> None:
    before = file.read_bytes()
    with without_root_privileges():
        database = open_database(f"sqlite:///{file}")
        with database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM photos")) == 0
        with pytest.raises(OperationalError, match="readonly"), database.write() as connection:
            connection.execute(text("DELETE FROM photos"))
        database.close()
    assert [each.name for each in file.parent.iterdir()] == [file.name]
    assert file.read_bytes() == before


def journal_of_rollbacks(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")


def files_of_an_open_database(file: Path) -> None:
    """Give the folder to this user, but not what SQLite keeps there while the owner has the file open."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE another (id)")
        for end in ("-wal", "-shm"):
            (file.parent / f"copy{end}").write_bytes(file.with_name(f"{file.name}{end}").read_bytes())
    for end in ("-wal", "-shm"):
        (file.parent / f"copy{end}").rename(file.with_name(f"{file.name}{end}"))


def no_schema(file: Path) -> None:
    file.write_bytes(b"")


@pytest.mark.parametrize("folder_mode", [0o555, 0o777])
@pytest.mark.parametrize("change", [None, journal_of_rollbacks, files_of_an_open_database])
def test_a_read_only_file_is_read_and_named_as_read_only(
    file: Path, change: Callable[[Path], None] | None, folder_mode: int
) -> None:
    prepare(file, change, folder_mode)
    codecs.lookup("unicode_escape")  # its module may be where only root can read
    with without_root_privileges():
        with closing(open_database(f"sqlite:///{file}")) as database:
            with database.read() as connection:
                assert connection.scalar(text("SELECT count(*) FROM photos")) == 0
            with pytest.raises(OperationalError) as refused, database.write() as connection:
                connection.execute(text("DELETE FROM photos"))
        (finding,) = check_database_file(file)
    assert isinstance(stated_error(refused.value, "why"), DatabaseReadOnly)
    assert outage_text(refused.value).startswith("the database is read-only")
    assert finding.state == "ok"


def test_a_read_only_file_that_needs_an_upgrade_is_named_as_read_only(file: Path) -> None:
    prepare(file, no_schema, 0o555)
    with (
        without_root_privileges(),
        pytest.raises(DatabaseReadOnly, match="as the user to whom the file belongs"),
    ):
        open_database(f"sqlite:///{file}")


def prepare(file: Path, change: Callable[[Path], None] | None, folder_mode: int) -> None:
    file.parent.chmod(0o755)
    file.chmod(0o644)
    if change is not None:
        change(file)
    file.chmod(0o444)
    if folder_mode == 0o777 and not os.geteuid():
        os.chown(file.parent, NOBODY, NOBODY)
    file.parent.chmod(folder_mode & 0o755)


def test_a_read_only_server_is_read_and_named_as_read_only(postgres_url: str) -> None:
    with closing(open_database(postgres_url)) as database, database.write() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    with closing(open_database(postgres_url)) as database:
        with database.read() as connection:
            assert connection.scalar(text("SELECT count(*) FROM photos")) == 0
        with pytest.raises(DatabaseError) as refused, database.write() as connection:
            connection.execute(text("DELETE FROM photos"))
    assert isinstance(stated_error(refused.value, "why"), DatabaseReadOnly)


@pytest.mark.parametrize("table", ["photos", "tags", "contents"])
def test_a_damaged_page_is_named(tmp_path: Path, table: str) -> None:
    file = tmp_path / "tagger.sqlite"
    url = create_sqlite_database(file)
    with closing(open_database(url)) as database:
        StoredPhotos.with_tiny_model(database, tmp_path).photo("a.jpg", ("eiffel-tower", 0.9, True))
    _damage(file, table)
    with closing(open_database(url)) as database:
        problems = list(check_database(database))
    assert problems[0].startswith("the file is damaged: ")
    assert problems[-1] == NOT_CHECKED


def _damage(file: Path, table: str) -> None:
    """Overwrite the first page of a table."""
    with closing(sqlite3.connect(file)) as connection:  # what is still in its log would hide the damage
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (size,) = connection.execute("PRAGMA page_size").fetchone()
        root = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = ?"
        (page,) = connection.execute(root, (table,)).fetchone()
    with file.open("r+b") as damaged:
        damaged.seek((page - 1) * size)
        damaged.write(b"\xff" * size)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ("UPDATE photos SET gone_since = 'soon'", "photos: a row cannot be read"),
        ("UPDATE landmarks SET aliases = 'no list'", "landmarks: a row cannot be read"),
        ("UPDATE models SET manifest = '{}'", "model tiny: its manifest cannot be used"),
        (
            "DELETE FROM model_labels WHERE position = 1",
            "model tiny: its labels are not those of its manifest",
        ),
        (
            "UPDATE contents SET outcome = 'unknown'",
            f"image 1-{'b2' * 32}: its effective tags or its outcome",
        ),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, change: str, problem: str) -> None:
    tiny_artifact(tmp_path / "tiny.pt")
    with closing(open_database(f"sqlite:///{tmp_path}/library.sqlite")) as database:
        library = StoredPhotos(database, tmp_path / "photos", add_model(database, tmp_path / "tiny.pt"))
        library.photo("a.jpg", ("eiffel-tower", 0.9, True), digest=f"1-{'b2' * 32}")
        with database.read() as connection, connection.begin() as transaction:
            assert list(connection_problems(connection)) == []
            connection.execute(text(change))
            found = list(connection_problems(connection))
            transaction.rollback()
    assert any(line.startswith(problem) for line in found), found


@pytest.mark.postgresql
def test_a_database_in_use_is_checked_in_one_state(folder: TaggedFolder) -> None:
    folder.draw("a.jpg")
    folder.tag()
    with folder.database.write() as connection:
        connection.execute(text("UPDATE jobs SET total = 2"))
        connection.execute(text("UPDATE contents SET outcome = 'unknown'"))
    problems = check_database(folder.database)
    assert next(problems).startswith("job 1:")
    with folder.database.write() as connection:
        connection.execute(text("UPDATE contents SET outcome = 'tagged'"))
    assert [line.partition(" ")[0] for line in problems] == ["image"]
    assert [line.partition(" ")[0] for line in check_database(folder.database)] == ["job"]
