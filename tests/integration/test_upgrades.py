"""Upgrades of the schema, and copies of whole databases between SQLite and PostgreSQL."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import (
    Connection,
    Constraint,
    Engine,
    Index,
    Row,
    Table,
    delete,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import IntegrityError
from sqlalchemy.schema import SchemaItem
from support.artifacts import tiny_artifact
from support.colour_folders import EIFFEL, TaggedFolder
from support.databases import execute, read_scalars
from support.schemas import BEFORE, migrate, released_library
from support.teaching import draw_place, teachable_artifact

from tagger import transfer
from tagger.database import Runner, VerdictKind, schema
from tagger.database.connection import Database, open_database
from tagger.database.engine import create_database_engine
from tagger.database.schema import (
    SCHEMA_REVISION,
    bulk_load,
    migrations_folder,
    read_revision,
    schema_revision,
    upgrade,
    upgrade_schema,
)
from tagger.database.tables import (
    audit_log,
    cameras,
    changed_days,
    classifications,
    image_things,
    ledgers,
    metadata,
    metadata_writes,
    model_labels,
    positions,
    schedule_runs,
    schedules,
    thing_verdicts,
    track_parts,
    tracks,
    trip_edits,
    verdicts,
    views,
    workers,
)
from tagger.errors import Conflict, DatabaseUnavailable, SchemaOutdated, Unavailable
from tagger.landmarks.edits import NewLandmark, add_landmark
from tagger.metadata.formats.jpeg import Splice, inverse_of
from tagger.photos.paths import path_to_json
from tagger.registry import add_model
from tagger.tags.settlement import settle
from tagger.teaching.learning import update_taught
from tagger.transfer import TABLES, check_database, copy_database, upgrade_database
from tagger.verdicts import dismiss_photos, give_verdicts, star_photos

INDEX = "expression-based index '?ix_photos_(name|folder|part)"
# Neither SQLAlchemy nor Alembic reads such an index of SQLite.
pytestmark = [
    pytest.mark.filterwarnings(f"ignore:Skipped unsupported reflection of {INDEX}"),
    pytest.mark.filterwarnings(f"ignore:autogenerate skipping metadata-specified {INDEX}"),
]


class Library:
    """A library of 2.0, whose rows a test changes before it upgrades it."""

    def __init__(self, url: str, engine: Engine) -> None:
        self._url = url
        self._engine = engine

    def execute(self, statement: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement), values)

    def migrate(self, revision: str) -> None:
        migrate(self._engine, revision)

    def upgraded(self) -> Database:
        self._engine.dispose()
        upgrade_database(self._url)
        return open_database(self._url)

    @property
    def schema(self) -> object:
        return _schema(self._url)


@pytest.fixture(params=["sqlite", "postgresql"])
def library(request, tmp_path) -> Iterator[Library]:
    url, engine = released_library("2.0", request.param, tmp_path / "home", request)
    yield Library(url, engine)
    engine.dispose()


@pytest.mark.postgresql
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_a_library_of_a_release_gets_the_schema_of_a_new_one(version, kind, tmp_path, request):
    url, engine = released_library(version, kind, tmp_path / "home", request)
    engine.dispose()
    upgrade_database(url)
    is_sqlite = kind == "sqlite"
    new_url = f"sqlite:///{tmp_path}/new.sqlite" if is_sqlite else request.getfixturevalue("postgres_url")
    upgrade_database(new_url)
    assert _schema(url) == _schema(new_url)


@pytest.mark.postgresql
def test_people_tokens_and_links_go_and_the_upgrade_says_whose_access_ends(library, caplog):
    at, past, future = "2026-01-01 00:00:00", "2020-01-01 00:00:00", "2999-01-01 00:00:00"
    library.execute("INSERT INTO users (name, role, created_at) VALUES ('ann', 'editor', :at)", at=at)
    for name, expires_at in (("TAGGER_WEB_TOKEN", None), ("phone", future), ("old-phone", past)):
        library.execute(
            "INSERT INTO access_tokens (name, digest, read_only, created_at, expires_at)"
            " VALUES (:name, :name, false, :at, :expires_at)",
            name=name,
            at=at,
            expires_at=expires_at,
        )
    for digest, expires_at, revoked_at in (
        *(("a", None, None), ("b", future, None)),
        *(("ended", past, None), ("revoked", None, past)),
    ):
        library.execute(
            "INSERT INTO shares (digest, name, with_positions, created_at, expires_at, revoked_at)"
            " VALUES (:digest, 'Rome', true, :at, :expires_at, :revoked_at)",
            digest=digest,
            at=at,
            expires_at=expires_at,
            revoked_at=revoked_at,
        )
    library.execute(
        "INSERT INTO audit_log (at, actor, action, subject, details)"
        " VALUES (:at, 'cli ann', 'share-add', '1', '{}')",
        at=at,
    )
    with caplog.at_level("WARNING"):
        database = library.upgraded()
    said = [message for message in caplog.messages if message.startswith("removed")]
    assert [message.partition(". ")[0] for message in said] == [
        "removed: the access of ann, phone to the page",
        "removed: links for visitors (2)",
    ]
    actions = read_scalars(database, select(audit_log.c.action))
    assert "share-add" in actions
    database.close()


@pytest.mark.postgresql
def test_things_and_verdicts_on_them_stay_apart_from_what_removed_models_found(library):
    """A library of the schema 1015, in which a row was both."""
    library.migrate("1015")
    for slug in ("dog", "cat"):
        library.execute("INSERT INTO things (slug, name, names, aliases) VALUES (:s, :s, '{}', '[]')", s=slug)
    at = "2026-03-01 00:00:00"
    for row in (
        (1, "dog", 0.9, 1, None, None, None),
        (2, "dog", 0.8, 1, "rejected", "ann", at),
        (3, "cat", None, None, "confirmed", None, at),
        (4, "cat", 0.7, None, "confirmed", "ann", at),  # of a removed model
    ):
        values = dict(zip(("id", "thing", "score", "model", "verdict", "by", "at"), row, strict=True))
        library.execute(
            "INSERT INTO image_things (content_id, thing, score, model_id, verdict, given_by, given_at)"
            " VALUES (:id, :thing, :score, :model, :verdict, :by, :at)",
            **values,
        )
    database = library.upgraded()
    with database.read() as connection:
        found = connection.execute(
            select(image_things.c["content_id", "thing", "model_id", "score"]).order_by(
                image_things.c.content_id
            )
        ).all()
        decided = connection.execute(select(thing_verdicts).order_by(thing_verdicts.c.content_id)).all()
    given_at = datetime(2026, 3, 1, tzinfo=UTC)
    assert [tuple(row) for row in found] == [(1, "dog", 1, 0.9), (2, "dog", 1, 0.8)]
    assert [tuple(row) for row in decided] == [
        (2, "dog", "rejected", "ann", given_at),
        (3, "cat", "confirmed", None, given_at),
        (4, "cat", "confirmed", "ann", given_at),
    ]
    database.close()


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("ALTER TABLE contents DROP COLUMN damaged", "contents.damaged"),
        ("DROP TABLE favourites", "favourites"),
    ],
)
def test_a_library_that_no_release_has_made_is_refused_and_stays_as_it_is(library, change, missing):
    library.execute(change)
    before = library.schema
    with pytest.raises(DatabaseUnavailable, match=rf"would lack {missing}\. Nothing was changed"):
        library.upgraded()
    assert library.schema == before


_OLD_TRIGGERS = {
    "sqlite": [
        (
            "CREATE TRIGGER trips_insert_tags AFTER INSERT ON effective_tags WHEN NEW.accepted BEGIN"
            " INSERT INTO trip_changes (day) VALUES ('2020-01-01'); END"
        )
    ],
    "postgresql": [
        (
            "CREATE FUNCTION mark_trips_of_tags() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            " INSERT INTO trip_changes (day) VALUES ('2020-01-01'); RETURN NULL; END $$"
        ),
        (
            "CREATE TRIGGER trips_insert_tags AFTER INSERT ON effective_tags REFERENCING NEW TABLE AS changed"
            " EXECUTE FUNCTION mark_trips_of_tags()"
        ),
    ],
}

_ACCEPTED = """INSERT INTO effective_tags (content_id, landmark_id, state, score, source)
    SELECT 1, min(id), 'accepted', 0.9, 'model' FROM landmarks"""

_MARKED = {
    "visit_changes": ("camera_id, day", "1, '2019-05-03'"),
    "trip_changes": ("day", "'2019-05-04'"),
    "count_changes": ("part", "737180"),
}


@pytest.mark.postgresql
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_marked_as_changed_before_an_upgrade_of_2_1_still_is_after_it(kind, tmp_path, request):
    url, engine = released_library("2.0", kind, tmp_path / "home", request)
    migrate(engine, "1015")
    with engine.begin() as connection:
        for statement in _OLD_TRIGGERS[kind]:
            connection.exec_driver_sql(statement)
        for table, (names, values) in _MARKED.items():
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"))
    upgrade_schema(url)
    with engine.begin() as connection:
        marks = connection.execute(text("SELECT step, part FROM changed_days WHERE part IS NOT NULL")).all()
        days = {(step, date.fromordinal(part)) for step, part in marks if part > 0}
        assert days >= {("days", date(2019, 5, 3)), ("trips", date(2019, 5, 4))}
        photos_with_time = "SELECT DISTINCT date(taken_at) FROM photos WHERE taken_at IS NOT NULL"
        due_days = {str(day) for step, day in days if step == "days"}
        assert due_days >= set(map(str, connection.scalars(text(photos_with_time))))
        connection.execute(text("DELETE FROM effective_tags"))
        connection.execute(text("DELETE FROM changed_days"))
        connection.execute(text(_ACCEPTED))
        query = text("SELECT step, part, content_id FROM changed_days")
        assert connection.execute(query).all() == [("days", None, 1)]
    engine.dispose()


_TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "postgresql": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname",
}


def _schema(url: str) -> object:
    """Columns, keys and indexes of all tables, whatever their order, and triggers."""
    engine = create_database_engine(url)
    with engine.connect() as connection:
        definitions = connection.execute(text(_TRIGGERS[engine.dialect.name])).all()
    # A restored dump has more parentheses in the conditions of PostgreSQL.
    triggers = [(name, re.sub("[()]", "", definition)) for name, definition in definitions]
    found = inspect(engine)
    schema = {
        name: (
            sorted((each["name"], str(each["type"]), each["nullable"]) for each in found.get_columns(name)),
            found.get_pk_constraint(name),
            sorted(found.get_foreign_keys(name), key=str),
            sorted(found.get_unique_constraints(name), key=str),
            sorted((each["name"], each["column_names"], each["unique"]) for each in found.get_indexes(name)),
        )
        for name in found.get_table_names()
    }
    engine.dispose()
    return schema, triggers


@pytest.fixture
def engine(empty_database_url) -> Iterator[Engine]:
    engine = create_database_engine(empty_database_url)
    yield engine
    engine.dispose()


@pytest.mark.postgresql
def test_a_new_database_has_the_tables_views_and_their_columns(engine):
    upgrade(engine)
    assert schema_revision(engine) == SCHEMA_REVISION
    assert set(inspect(engine).get_table_names()) == {*metadata.tables, "alembic_version"}
    assert set(inspect(engine).get_view_names()) == {*views.tables}
    with engine.connect() as connection:
        options = {"compare_type": True, "include_object": partial(_is_of_dialect, connection)}
        differences = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    assert differences == []
    for view in views.tables.values():
        assert [column["name"] for column in inspect(engine).get_columns(view.name)] == view.columns.keys()


def _is_of_dialect(connection: Connection, each: SchemaItem, *_: object) -> bool:
    """Whether this database has the part of the schema; Alembic does not ask."""
    condition = each._ddl_if if isinstance(each, Constraint | Index) else None
    return condition is None or condition.dialect == connection.dialect.name


@pytest.mark.postgresql
def test_an_upgrade_that_waits_for_a_dump_gives_up_and_says_why(tmp_path, request, monkeypatch):
    monkeypatch.setattr(schema, "LOCK_S", 0.2)
    url, engine = released_library("2.0", "postgresql", tmp_path / "home", request)
    with engine.connect() as dump:
        dump.execute(text("LOCK TABLE photos IN ACCESS SHARE MODE"))
        with pytest.raises(Unavailable, match="another transaction uses its tables"):
            upgrade_schema(url)
    assert schema_revision(engine) == BEFORE
    assert upgrade_schema(url) == BEFORE
    engine.dispose()


@pytest.mark.postgresql
def test_the_schema_revision_is_the_newest_migration():
    assert ScriptDirectory(str(migrations_folder())).get_current_head() == SCHEMA_REVISION


@pytest.mark.postgresql
def test_invalid_values_and_foreign_keys_are_refused(database):
    verdict = {"content_id": 1, "landmark_id": 1, "given_at": datetime(2026, 1, 1, tzinfo=UTC)}
    for change, constraint in (
        (insert(ledgers).values(id=2, ledger_id="second", created_at=verdict["given_at"]), "check"),
        (insert(verdicts).values(**verdict, verdict="maybe"), "check"),
        (insert(model_labels).values(model_id=9, position=0, label="a", landmark_id=9), "foreign"),
    ):
        with pytest.raises(IntegrityError, match=f"(?i){constraint}"), database.write() as connection:
            connection.execute(change)


@pytest.mark.postgresql
def test_an_sqlite_file_is_created_when_it_is_opened_and_a_server_is_not(empty_database_url):
    assert read_revision(empty_database_url) == ""
    if empty_database_url.startswith("sqlite"):
        open_database(empty_database_url).close()
    else:
        with pytest.raises(SchemaOutdated, match="tagger db upgrade"):
            open_database(empty_database_url)
        assert upgrade_database(empty_database_url) == ""
        open_database(empty_database_url).close()
    assert read_revision(empty_database_url) == SCHEMA_REVISION
    assert upgrade_database(empty_database_url) == SCHEMA_REVISION


@pytest.mark.postgresql
def test_newer_databases_and_those_of_version_1_are_refused_with_the_way(database, database_url):
    execute(database, text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseUnavailable, match=r"a newer version.*9999"):
        open_database(database_url)
    with pytest.raises(DatabaseUnavailable, match=r"a newer version.*9999"):
        upgrade_database(database_url)
    for revision in ("0033", "1007"):
        execute(database, text("UPDATE alembic_version SET version_num = :old"), {"old": revision})
        for use in (open_database, upgrade_database):
            with pytest.raises(DatabaseUnavailable, match=rf"before 2\.0.*{revision}.*version 2\.1 first"):
                use(database_url)


@pytest.mark.postgresql
@pytest.mark.slow
def test_concurrent_processes_can_open_a_new_database(empty_database_url):
    program = (
        "import sys; from tagger.database.connection import open_database; "
        "from tagger.transfer import upgrade_database; "
        "upgrade_database(sys.argv[1]); print(open_database(sys.argv[1]).ledger_id)"
    )
    if empty_database_url.startswith("sqlite"):
        program = program.replace("upgrade_database(sys.argv[1]); ", "")
    command = [sys.executable, "-c", program, empty_database_url]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ledger_ids = {process.communicate(timeout=60)[0] for process in processes}
    assert {process.returncode for process in processes} == {0}
    assert len(ledger_ids) == 1


NOW = datetime(2026, 6, 1, 12, 0, 30, 123456, tzinfo=UTC)

A_DIGEST = "a1" * 32

ODD = os.fsdecode(b"caf\xe9 \n.jpg")


@pytest.fixture
def folder(tmp_path) -> Iterator[TaggedFolder]:
    with closing(open_database(f"sqlite:///{tmp_path}/library.sqlite")) as database:
        yield _filled(database, tmp_path)


def _filled(database: Database, tmp_path: Path) -> TaggedFolder:
    """Photos in every state, verdicts, a taught landmark, two jobs, a schedule."""
    folder = TaggedFolder(database, tmp_path, teachable_artifact)
    for number in range(3):
        folder.draw(f"{number}.jpg", number, shade=number)
    folder.draw("grey.jpg", None)
    folder.draw("naïve 写真.jpg", 1, shade=9)
    shutil.copy(folder.folder / "0.jpg", folder.folder / ODD)
    (folder.folder / "broken.jpg").write_bytes(b"not a picture")
    church = [draw_place(folder.folder / f"church-{seed}.jpg", 0, seed=seed) for seed in range(4)]
    folder.tag()
    _teach(folder, church[:3])
    give_verdicts(database, [folder.folder / "0.jpg"], EIFFEL, VerdictKind.REJECTED, "ada", {})
    give_verdicts(database, [folder.folder / "grey.jpg"], EIFFEL, VerdictKind.CONFIRMED, None, {})
    dismiss_photos(database, [folder.photo("2.jpg").id], "ada")
    star_photos(database, [folder.photo("2.jpg").id], "ada", starred=True)
    (folder.folder / "1.jpg").unlink()
    tiny_artifact(tmp_path / "other.pt", name="other")
    other = add_model(database, tmp_path / "other.pt")
    with database.write() as connection:
        of_image = {"content_id": 1, "model_id": other.id, "top_k": 5, "threshold": 0.5}
        connection.execute(insert(classifications).values(of_image))
        settle(connection, [1])
        noon = datetime(2024, 5, 1, 12)  # noqa: DTZ001 - local time
        renamed = {"kind": "rename", "camera_id": 1, "taken_at": noon, "name": "Easter"}
        connection.execute(insert(trip_edits).values(renamed))
    folder.record(reprocess=True, others=[other], runner=Runner.WORKERS)
    _insert_schedule(database)
    _insert_track(database)
    return folder


def _teach(folder: TaggedFolder, examples: list[Path]) -> None:
    church = add_landmark(folder.database, NewLandmark("Our church"))
    for example in examples:
        give_verdicts(folder.database, [example], church.slug, VerdictKind.CONFIRMED, "ada", {})
    update_taught(folder.database, folder.model)


def _insert_track(database: Database) -> None:
    """A track, a camera and its companion, two trips that were merged, and a photo's position."""
    points = np.array([[NOW.timestamp(), 48.0, 2.0]], "<f8").tobytes()
    place = {"latitude": 48.0, "longitude": 2.0, "country": "France", "region": None, "city": "Paris"}
    with database.write() as connection:
        camera = {"key": "Canon EOS 5D 1", "name": "Canon EOS 5D", "clock_offset_s": -3600}
        first = insert(cameras).values(**camera, clock_source="given").returning(cameras.c.id)
        group = connection.execute(first).scalar_one()
        connection.execute(insert(cameras).values(key="Pixel 3", name="Pixel 3", companions_id=group))
        connection.execute(update(cameras).where(cameras.c.id == group).values(companions_id=group))
        merge = {
            "kind": "merge",
            "taken_at": NOW.replace(tzinfo=None),
            "other_taken_at": NOW.replace(tzinfo=None),
        }
        connection.execute(insert(trip_edits).values(**merge, camera_id=group, other_camera_id=group))
        connection.execute(insert(tracks).values(digest=A_DIGEST, name="a.gpx", points=1, added_at=NOW))
        part = {"track_id": 1, "part": 0, "first_at": NOW, "last_at": NOW}
        connection.execute(insert(track_parts).values(**part, data=points))
        connection.execute(delete(positions))
        connection.execute(insert(changed_days).values(step="positions", content_id=1))
        evidence = {"track": 1}
        connection.execute(
            insert(positions).values(photo_id=1, **place, error_m=20.0, source="track", evidence=evidence)
        )


def _insert_schedule(database: Database) -> None:
    row = {
        "name": "nightly",
        "cron": "0 3 * * *",
        "time_zone": "UTC",
        "selection": "untagged",
        "options": {"under": [path_to_json(ODD)]},
    }
    with database.write() as connection:
        schedule = connection.execute(
            insert(schedules)
            .values(**row, priority="bulk", paused=False, created_at=NOW, next_due=NOW)
            .returning(schedules.c.id)
        ).scalar_one()
        connection.execute(
            insert(schedule_runs).values(schedule_id=schedule, due_at=NOW, started_at=NOW, job_id=1)
        )
        write = {
            "photo_id": 1,
            "job_id": 1,
            "image_digest": f"1-{A_DIGEST}",
            "target": "embed",
            "file": "a.jpg",
        }
        inverse = inverse_of(b"original", [Splice(3, 5, b"new")])
        digests = {"written_digest": A_DIGEST, "base_digest": A_DIGEST, "undo": inverse, "landmarks": ["a"]}
        connection.execute(insert(metadata_writes).values(**write, **digests, written_at=NOW, complete=True))
        connection.execute(insert(workers).values(name="w", device="cpu", started_at=NOW, heartbeat_at=1.0))


def rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    """All rows that are copied, by primary key. Each database has a ledger id of its own."""
    with database.read() as connection:
        return {
            table.name: [
                tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key.columns))
            ]
            for table in TABLES
            if table is not ledgers
        }


@pytest.mark.postgresql
def test_every_row_is_the_same_after_the_way_to_postgresql_and_back(
    folder, empty_postgres_url, tmp_path, monkeypatch
):
    monkeypatch.setattr("tagger.database.diagnostics.PAGE", 2)
    before = rows(folder.database)
    filled = [name for name, stored in before.items() if stored]
    assert len(filled) > 30, sorted(before.keys() - set(filled))
    counts = copy_database(folder.database, empty_postgres_url)
    assert counts == {name: len(stored) for name, stored in before.items()} | {"ledgers": 1}
    back_url = f"sqlite:///{tmp_path}/back.sqlite"
    with closing(open_database(empty_postgres_url)) as copy:
        assert rows(copy) == before
        assert list(check_database(copy)) == []
        assert copy.ledger_id != folder.database.ledger_id
        copy_database(copy, back_url)
        add_landmark(copy, NewLandmark("New place"))  # sequences continue
    with closing(open_database(back_url)) as back:
        assert rows(back) == before
        assert list(check_database(back)) == []


def test_a_database_with_rows_is_refused(folder, tmp_path):
    url = f"sqlite:///{tmp_path}/other.sqlite"
    with closing(open_database(url)) as other:
        add_landmark(other, NewLandmark("Our church"))
        before = rows(other)
        with pytest.raises(Conflict, match="contains 1 audit log, 1 landmark"):
            copy_database(folder.database, url)
        assert rows(other) == before


def test_a_copy_that_misses_rows_stores_nothing(folder, tmp_path, monkeypatch):
    url = f"sqlite:///{tmp_path}/copy.sqlite"
    insert_all = transfer._insert

    def lose(connection: Connection, table: Table, page: Sequence[Row[Any]]) -> None:
        insert_all(connection, table, page[1:] if table is verdicts else page)

    monkeypatch.setattr(transfer, "_insert", lose)
    with pytest.raises(Conflict, match="rows of verdicts"):
        copy_database(folder.database, url)
    with closing(open_database(url)) as copy:
        assert not any(rows(copy).values())


@pytest.mark.postgresql
def test_rows_are_loaded_before_indexes_and_keys_are_created(database):
    with database.write() as connection:
        schema = _parts(connection)
        with bulk_load(connection):
            assert not _parts(connection)
        assert _parts(connection) == schema
        assert len(schema) > 40


def _parts(connection: Connection) -> set[str]:
    """The statements that create the indexes, foreign keys and triggers, except what a key implies."""
    if connection.dialect.name == "sqlite":
        every = "SELECT sql FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql > ''"
        return set(connection.scalars(text(every)))
    queries = (
        "SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'ix%'",
        "SELECT pg_get_constraintdef(oid) || conrelid FROM pg_constraint WHERE contype = 'f'",
        "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D'",
    )
    return {part for query in queries for part in connection.scalars(text(query))}
