"""Databases of people: read-only, damaged or in use; several writers; rows; views for their SQL; settings of PostgreSQL."""

import codecs
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from rig.postgres_databases import autocommitted
from sqlalchemy import func, insert, make_url, select, text, update
from sqlalchemy.exc import DataError, IntegrityError, OperationalError, SQLAlchemyError
from support.artifacts import tiny_artifact
from support.colour_folders import TaggedFolder
from support.databases import create_sqlite_database, execute, read_rows, read_scalar, read_scalars
from support.disks import NOBODY, without_root_privileges
from support.ledgers import LedgerBuilder
from support.stored_photos import StoredPhotos

from tagger.cli.commands.doctor import DatabaseChecks, State, check_database_file
from tagger.database import VerdictKind, engine as engine_module
from tagger.database.connection import Database, open_database
from tagger.database.diagnostics import database_stats
from tagger.database.engine import DatabaseError, is_transient, outage_text, stated_error
from tagger.database.statements import among, insert_page
from tagger.database.tables import contents, ledgers, photo_tags, photos, photos_view, workers
from tagger.errors import DatabasePermissionMissing, DatabaseReadOnly, DatabaseUnavailable
from tagger.query.details import photo_details
from tagger.query.find import find_tagged
from tagger.query.options import PhotoQuery
from tagger.registry import add_model
from tagger.transfer import NOT_CHECKED, check_database, connection_problems, upgrade_database
from tagger.verdicts import give_verdicts


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


def test_a_database_in_a_folder_of_another_user_is_read_and_not_changed(file):
    before = file.read_bytes()
    with without_root_privileges():
        database = open_database(f"sqlite:///{file}")
        assert read_scalar(database, text("SELECT count(*) FROM photos")) == 0
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
def test_a_read_only_file_is_read_and_named_as_read_only(file, change, folder_mode):
    prepare(file, change, folder_mode)
    codecs.lookup("unicode_escape")  # its module may be where only root can read
    with without_root_privileges():
        with closing(open_database(f"sqlite:///{file}")) as database:
            assert read_scalar(database, text("SELECT count(*) FROM photos")) == 0
            with pytest.raises(OperationalError) as refused, database.write() as connection:
                connection.execute(text("DELETE FROM photos"))
        (finding,) = check_database_file(file)
    assert isinstance(stated_error(refused.value, "why"), DatabaseReadOnly)
    assert outage_text(refused.value).startswith("the database is read-only")
    assert finding.state == "ok"


def test_a_read_only_file_that_needs_an_upgrade_is_named_as_read_only(file):
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


def test_a_read_only_server_is_read_and_named_as_read_only(postgres_url):
    with closing(open_database(postgres_url)) as database, database.write() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on'))
    with closing(open_database(postgres_url)) as database:
        assert read_scalar(database, text("SELECT count(*) FROM photos")) == 0
        with pytest.raises(DatabaseError) as refused, database.write() as connection:
            connection.execute(text("DELETE FROM photos"))
    assert isinstance(stated_error(refused.value, "why"), DatabaseReadOnly)


@pytest.mark.parametrize("table", ["photos", "tags", "contents"])
def test_a_damaged_page_is_named(tmp_path, table):
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
def test_what_cannot_be_used_is_named(tmp_path, change, problem):
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
def test_a_database_in_use_is_checked_in_one_state(folder):
    folder.draw("a.jpg")
    folder.tag()
    with folder.database.write() as connection:
        connection.execute(text("UPDATE jobs SET total = 2"))
        connection.execute(text("UPDATE contents SET outcome = 'unknown'"))
    problems = check_database(folder.database)
    assert next(problems).startswith("job 1:")
    execute(folder.database, text("UPDATE contents SET outcome = 'tagged'"))
    assert [line.partition(" ")[0] for line in problems] == ["image", "job"]
    assert [line.partition(" ")[0] for line in check_database(folder.database)] == ["job"]


def test_a_check_takes_outcomes_of_photos_again_that_are_not_those_of_their_images(folder):
    folder.draw("a.jpg")
    job = folder.record()
    folder.run(job)
    with folder.database.write() as connection:
        connection.execute(text("UPDATE contents SET outcome = 'unknown'"))
    behind = "job 1, item 0: its outcome is tagged, and that of its image unknown"
    assert behind in list(check_database(folder.database))
    assert folder.outcomes(job) == {"a.jpg": "unknown"}
    assert folder.progress(job).unknown == 1


BUSY = """
import sys, time
from itertools import count
from tagger.database.connection import open_database
database = open_database(sys.argv[1])
for number in count(1):
    with database.write() as connection:
        connection.exec_driver_sql(f"PRAGMA user_version = {number}")
        time.sleep(0.05)
    print(number, flush=True)
"""


def pages_written(database: Database) -> int:
    with database.read() as connection:
        return int(connection.exec_driver_sql("PRAGMA user_version").scalar_one())


def test_a_writer_waits_for_a_page_of_another_process_and_not_for_all(tmp_path):
    url = f"sqlite:///{tmp_path}/library.sqlite"
    with (
        closing(open_database(url)) as database,
        subprocess.Popen([sys.executable, "-c", BUSY, url], stdout=subprocess.PIPE, text=True) as busy,
    ):
        busy.stdout.readline()
        before = pages_written(database)
        for _ in range(10):
            with database.write():
                pass
        waited_for = pages_written(database) - before
        busy.kill()
    assert waited_for <= 25


NAMES = ("root_id", "path", "path_bytes", "size_bytes", "mtime_ns")
PATHS = [
    "a.jpg", "with % and %s.jpg", 'quote\'s "name".jpg', "back\\slash {1,2}.jpg", "NULL",
    "ümläut/日本.jpg", "",
]  # fmt: skip


@pytest.mark.postgresql
def test_values_are_stored_as_they_are(database):
    root = LedgerBuilder(database).root_id
    rows = [
        (root, path, bytes([number, 0, 255]), 2**40 + number, -(2**62)) for number, path in enumerate(PATHS)
    ]
    with database.write() as connection:
        insert_page(connection, photos, NAMES, rows)
    with database.read() as connection:
        columns = [photos.c[name] for name in NAMES]
        stored = connection.execute(select(*columns).order_by(photos.c.id)).all()
    assert [tuple(row) for row in stored] == rows


@pytest.mark.postgresql
def test_a_text_is_among_others_as_it_is(database):
    root = LedgerBuilder(database).root_id
    with database.write() as connection:
        insert_page(connection, photos, NAMES, [(root, path, b"", 1, 1) for path in PATHS])
    with database.read() as connection:
        for path in PATHS:
            chosen = among(photos.c.path, [path, "not stored"])
            assert connection.scalars(select(photos.c.path).where(chosen)).all() == [path]
        assert connection.scalars(select(photos.c.id).where(among(photos.c.path, []))).all() == []


@pytest.mark.postgresql
def test_a_null_character_is_refused_by_postgresql_and_does_not_divide_a_text(database):
    with (
        pytest.raises(DataError) if not database.is_sqlite else nullcontext(),
        database.write() as connection,
    ):
        insert_page(connection, contents, ("digest",), [("1-a\0b",), ("1-c",)])
    stored = read_scalars(database, select(contents.c.digest).order_by(contents.c.id))
    assert stored == (["1-a\0b", "1-c"] if database.is_sqlite else [])


@pytest.mark.postgresql
def test_rows_that_exist_are_left_out_on_request_and_postgresql_returns_the_others(database):
    with database.write() as connection:
        connection.execute(insert(contents).values(digest="1-b"))
        rows = [("1-a",), ("1-b",)]
        returned = insert_page(
            connection, contents, ("digest",), rows, skip_existing=True, returning="digest"
        )
        insert_page(connection, contents, ("digest",), [], skip_existing=True)
    assert [row.digest for row in returned] == ([] if database.is_sqlite else ["1-a"])
    assert sorted(read_scalars(database, select(contents.c.digest))) == ["1-a", "1-b"]


@pytest.mark.postgresql
def test_a_row_that_exists_is_an_integrity_error(database):
    execute(database, insert(contents).values(digest="1-b"))
    with pytest.raises(IntegrityError), database.write() as connection:
        insert_page(connection, contents, ("digest",), [("1-a",), ("1-b",)])
    assert read_scalars(database, select(contents.c.digest)) == ["1-b"]


EIFFEL, GATE, VERSAILLES = "eiffel-tower", "brandenburg-gate", "chateau-de-versailles"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "sql.md"
STATEMENTS = re.findall(r"^```sql\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def library(database, tmp_path) -> StoredPhotos:
    library = StoredPhotos.with_tiny_model(database, tmp_path)
    library.photo("both.jpg", (EIFFEL, 0.9, True), (GATE, 0.8, True), taken_at=datetime(2024, 6, 1, 12, 0))  # noqa: DTZ001
    library.photo("weak.jpg", (EIFFEL, 0.2, False))
    library.photo("rejected.jpg", (EIFFEL, 0.9, True))
    library.photo("confirmed.jpg", (EIFFEL, 0.1, False))
    library.photo("new.jpg", classified=False)
    library.photo("broken.jpg", classified=False, failure_kind="corrupt", failure_text="It is damaged.")
    library.position("both.jpg", 48.86, 2.29, source="landmark")
    for name, landmark, kind in (
        ("rejected.jpg", EIFFEL, VerdictKind.REJECTED),
        ("confirmed.jpg", VERSAILLES, VerdictKind.CONFIRMED),
    ):
        give_verdicts(database, [library.root / name], landmark, kind, "ada", {})
    return library


@pytest.mark.postgresql
def test_photo_tags_are_the_accepted_tags_of_queries(library):
    rows = read_rows(library.database, select(photo_tags))
    queried = {
        (photo.path, tag.landmark, tag.score, tag.source, tag.verdict, tag.model)
        for photo in find_tagged(library.database, PhotoQuery())
        for tag in photo.tags
    }
    assert {
        (row.path, row.landmark, row.score, row.source, row.verdict, row.model) for row in rows
    } == queried
    assert len(rows) == len(queried) == 3
    assert all(row.accepted for row in rows)
    located = next(row for row in rows if row.landmark == GATE)
    assert (located.latitude, located.position_source, located.taken_at.year) == (48.86, "landmark", 2024)


def test_a_confirmed_prediction_and_a_taught_tag_keep_score_and_model(library):
    library.taught(2, GATE, 0.95)
    give_verdicts(library.database, [library.root / "weak.jpg"], EIFFEL, VerdictKind.CONFIRMED, "ada", {})
    with library.database.read() as connection:
        query = select(photo_tags).where(photo_tags.c.path.like("%weak.jpg"))
        rows = {row.landmark: (row.score, row.source, row.verdict) for row in connection.execute(query)}
    assert rows == {EIFFEL: (0.2, "model", "confirmed")}


@pytest.mark.postgresql
def test_photos_view_has_each_photo_once_with_its_outcome(library):
    rows = {row.path: row for row in read_rows(library.database, select(photos_view))}
    assert {Path(path).name: row.outcome for path, row in rows.items()} == {
        "both.jpg": "tagged",
        "weak.jpg": "unknown",
        "rejected.jpg": "unknown",
        "confirmed.jpg": "tagged",
        "new.jpg": "untagged",
        "broken.jpg": "failed",
    }
    assert {row.camera for row in rows.values()} == {None}  # a folder is no camera
    stats = database_stats(library.database)
    assert (stats["tagged"], stats["unknown"]) == (2, 2)
    for path, row in rows.items():
        if row.outcome in {"tagged", "unknown"}:
            assert photo_details(library.database, Path(path)).photo.outcome == row.outcome


@pytest.mark.postgresql
@pytest.mark.parametrize("statement", STATEMENTS, ids=range(1, len(STATEMENTS) + 1))
def test_statements_of_the_documentation_run(library, statement):
    assert len(STATEMENTS) == 6
    statement = statement.replace("alai-minar", EIFFEL).replace("India", "France")
    assert read_rows(library.database, text(statement))


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("question", "search"),
    [
        ("photo_tags WHERE landmark = 'eiffel-tower'", "(slug=?)"),
        ("photo_tags WHERE country = 'France'", "(country=?)"),
        (
            "photo_tags WHERE taken_at >= '2024-01-01' AND taken_at < '2025-01-01'",
            "(taken_at>? AND taken_at<?)",
        ),
        (
            "photo_tags WHERE latitude BETWEEN 48 AND 49 AND longitude BETWEEN 2 AND 3",
            "(latitude>? AND latitude<?)",
        ),
        ("photos_view WHERE country = 'France'", "(country=?)"),
        ("photos_view WHERE failure_kind IS NOT NULL", "ix_photos_failing"),
    ],
)
def test_frequent_questions_use_indexes(tmp_path, question, search):
    database = open_database(f"sqlite:///{tmp_path / 'library.sqlite'}")
    with database.read() as connection:
        plan = connection.execute(text(f"EXPLAIN QUERY PLAN SELECT path FROM {question}"))
        steps = [row[3] for row in plan]
    database.close()
    assert [step for step in steps if "USING" in step and search in step]
    scans = {step for step in steps if step.startswith("SCAN") and search not in step}
    assert scans <= {"SCAN photo_tags"}  # its result


# ----- what a connection to PostgreSQL sets -----

SHOW = text("SHOW random_page_cost")


def page_cost(database: Database) -> str:
    execute(database, text("SELECT 1"))
    return str(read_scalar(database, SHOW))


def test_photos_are_looked_up_for_disks_without_heads_unless_an_operator_says_otherwise(postgres_url):
    with closing(open_database(postgres_url)) as database, database.read() as connection:
        assert connection.scalar(SHOW) == "1.1"
        assert connection.scalar(text("SHOW jit")) == "off"
    with closing(open_database(postgres_url)) as database, database.read() as connection:
        for _ in range(20):
            connection.execute(text("SELECT 1"))
        assert connection.scalar(text("SELECT count(*) FROM pg_prepared_statements")) == 0
    with closing(open_database(postgres_url)) as database, database.write() as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.execute(text(f'ALTER DATABASE "{name}" SET random_page_cost = 3'))
    with closing(open_database(postgres_url)) as database:
        assert page_cost(database) == "3"


# Settings on which no result may depend.
OTHERWISE = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "<+03>-3",
    "extra_float_digits": "-10",
    "bytea_output": "escape",
    "array_nulls": "off",
    "default_transaction_isolation": "serializable",
    "statement_timeout": "5s",
    "lock_timeout": "4s",
}
PINNED = ("ISO, DMY", "postgres", "UTC", "1", "hex", "on", "read committed", "0", "0")


def set_for_database(url: str, settings: dict[str, str]) -> None:
    with autocommitted(url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        for parameter, value in settings.items():
            connection.exec_driver_sql(f"ALTER DATABASE \"{name}\" SET {parameter} = '{value}'")


def set_for_role(url: str, settings: dict[str, str]) -> None:
    with autocommitted(url) as connection:
        name = make_url(url).database
        for parameter, value in settings.items():
            connection.exec_driver_sql(
                f"ALTER ROLE CURRENT_USER IN DATABASE \"{name}\" SET {parameter} = '{value}'"
            )


def set_in_environment(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str]) -> None:
    monkeypatch.setenv("PGDATESTYLE", "SQL, DMY")
    monkeypatch.setenv("PGTZ", "CST6CDT")
    escaped = {name: value.replace(" ", "\\ ") for name, value in settings.items()}
    monkeypatch.setenv("PGOPTIONS", " ".join(f"-c {name}={value}" for name, value in escaped.items()))


def shown(database: Database, *parameters: str) -> tuple[str, ...]:
    with database.read() as connection:
        return tuple(str(connection.exec_driver_sql(f"SHOW {name}").scalar()) for name in parameters)


@pytest.mark.parametrize("place", ["database", "role", "environment"])
def test_no_result_depends_on_settings_of_the_session(postgres_url, place, tmp_path, monkeypatch):
    if place == "environment":
        set_in_environment(monkeypatch, OTHERWISE)
    else:
        (set_for_database if place == "database" else set_for_role)(postgres_url, OTHERWISE)
    with closing(open_database(postgres_url)) as database:
        assert shown(database, *OTHERWISE) == PINNED
        folder = TaggedFolder(database, tmp_path)
        folder.draw("a.jpg", shade=1)
        (folder.folder / "b.jpg").write_bytes(b"no picture")
        job = folder.record()
        folder.run(job)
        assert (folder.progress(job).tagged, folder.progress(job).failed) == (1, 1)
        at = datetime(2024, 6, 1, 23, 30, tzinfo=UTC)
        with database.write() as connection:
            connection.execute(
                insert(workers).values(name="w", device="cpu", started_at=at, heartbeat_at=1 / 3)
            )
        with database.read() as connection:
            assert connection.execute(select(workers.c.started_at, workers.c.heartbeat_at)).one() == (
                at,
                1 / 3,
            )
            named_null = select(func.count()).select_from(photos).where(photos.c.failure_text == "NULL")
            assert connection.scalar(named_null) == 0


@pytest.mark.parametrize("path", ["", "pg_catalog", "pg_catalog, pg_temp", "nowhere"])
def test_a_search_path_without_a_schema_leads_to_public(empty_postgres_url, path):
    with autocommitted(empty_postgres_url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        names = ", ".join(f"'{each}'" for each in path.split(", "))
        connection.exec_driver_sql(f'ALTER DATABASE "{name}" SET search_path = {names}')
    upgrade_database(empty_postgres_url)
    with closing(open_database(empty_postgres_url)) as database:
        assert shown(database, "search_path") == ("public",)


def test_a_schema_of_its_own_is_kept(empty_postgres_url):
    with autocommitted(empty_postgres_url) as connection:
        name = connection.scalar(text("SELECT current_database()"))
        connection.exec_driver_sql('CREATE SCHEMA "My Photos"')
        connection.exec_driver_sql(
            f'ALTER DATABASE "{name}" SET search_path = "$user", pg_catalog, "My Photos", public'
        )
    upgrade_database(empty_postgres_url)
    with closing(open_database(empty_postgres_url)) as database, database.read() as connection:
        assert connection.scalar(text("SELECT to_regclass('\"My Photos\".photos') IS NOT NULL"))
        assert shown(database, "search_path") == ('"My Photos", public',)


def test_without_any_schema_the_missing_right_is_named(empty_postgres_url):
    with autocommitted(empty_postgres_url) as connection:
        connection.exec_driver_sql("DROP SCHEMA public")
    with pytest.raises(DatabasePermissionMissing, match="no schema has been selected"):
        upgrade_database(empty_postgres_url)


@contextmanager
def database_in(encoding: str, url: str) -> Iterator[str]:
    """The URL of an empty database in another encoding, on the server of `url`."""
    name = f"in_{encoding.lower()}"
    with autocommitted(url) as server:
        options = f"ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
        server.execute(text(f"CREATE DATABASE {name} {options}"))
        try:
            yield make_url(url).set(database=name).render_as_string(hide_password=False)
        finally:
            server.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_database_without_an_encoding_keeps_utf8(empty_postgres_url, monkeypatch):
    with database_in("SQL_ASCII", empty_postgres_url) as url:
        monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
        upgrade_database(url)
        checks = DatabaseChecks(url)
        assert next(checks.check_connection()).state is State.OK
        checks.database.close()
        with (
            closing(open_database(f"{url}&client_encoding=latin1")) as database,
            database.read() as connection,
        ):
            assert connection.scalar(text("SELECT :name"), {"name": "Zürich 日本"}) == "Zürich 日本"
            assert connection.scalar(text("SHOW client_encoding")) == "UTF8"


@pytest.mark.parametrize("encoding", ["LATIN1", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_unicode_is_refused(empty_postgres_url, encoding):
    with database_in(encoding, empty_postgres_url) as url:
        with pytest.raises(DatabaseUnavailable, match=f"the encoding {encoding}.*createdb --encoding=UTF8"):
            upgrade_database(url)
        with pytest.raises(DatabaseUnavailable, match="createdb --encoding=UTF8"):
            next(DatabaseChecks(url).check_connection())


def test_every_form_of_an_address_leads_to_the_database(postgres_url):
    url = make_url(postgres_url)
    folder, name, user = url.query["host"], url.database, url.username
    for address in (
        f"postgresql+psycopg2://{user}@/{name}?host={folder}",
        f"POSTGRES+asyncpg://{user}@/{name}?host={folder}",
        f"postgresql://{user}@{str(folder).replace('/', '%2F')}/{name}",
        f"postgresql://{user}@/{name}?host=/nowhere,{folder}",
        f"postgresql://{user}@127.0.0.1:1,{str(folder).replace('/', '%2F')}:5432/{name}",
    ):
        with closing(open_database(address)) as database, database.read() as connection:
            assert connection.scalar(text("SELECT current_database()")) == name, address


def test_locks_of_a_writer_that_vanished_are_released(postgres_url, monkeypatch):
    monkeypatch.setattr(engine_module, "IDLE_WRITER_S", 1)
    vanished, other = open_database(postgres_url), open_database(postgres_url)
    change = update(ledgers).values(ledger_id="new")

    def write_and_stay_silent() -> None:
        with vanished.write() as writer:
            writer.execute(change)
            execute(other, change)  # waits for the lock of the row
            writer.execute(change)

    with pytest.raises(SQLAlchemyError) as failure:
        write_and_stay_silent()
    assert is_transient(failure.value)
    vanished.close()
    other.close()
