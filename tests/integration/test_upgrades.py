"""A library of 1.0 that 1.1 upgraded: 2.0 says what it removes, and everything else stays."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select, text
from support.schemas import library_of_1_1, migrate

from tagger.database.connection import Database, open_database
from tagger.database.engine import create_database_engine
from tagger.database.enums import JobState
from tagger.database.notes import NoteCode
from tagger.database.schema import upgrade_schema
from tagger.database.tables import thing_verdicts
from tagger.errors import DatabaseUnavailable
from tagger.ledger.job_control import resume
from tagger.ledger.progress import find_job
from tagger.transfer.upgrade import upgrade_database

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.filterwarnings(
        "ignore:Skipped unsupported reflection of expression-based index '?ix_photos_(name|folder|part)"
    ),
]
CHURCH = "(SELECT id FROM landmarks WHERE slug = 'our-church')"
"""It was taught. Besides, the gate is confirmed on image 6."""


class Library:
    """A library of 1.1, whose rows a test changes before it upgrades it."""

    def __init__(self, url: str, engine: Engine, caplog: pytest.LogCaptureFixture) -> None:
        self._url = url
        self._engine = engine
        self._caplog = caplog
        self.is_sqlite = engine.dialect.name == "sqlite"

    def execute(self, statement: str, **values: object) -> None:
        with self._engine.begin() as connection:
            connection.execute(text(statement), values)

    def migrate(self, revision: str) -> None:
        with self._engine.begin() as connection:
            migrate(connection, revision)

    def upgraded(self) -> Database:
        self._engine.dispose()
        with self._caplog.at_level(logging.WARNING):
            upgrade_database(self._url)
        return open_database(self._url)

    @property
    def removed(self) -> list[str]:
        """What the upgrade said."""
        return [text for text in self._caplog.messages if text.startswith("removed")]

    @property
    def schema(self) -> object:
        return _schema(self._url)


@pytest.fixture(params=["sqlite", "postgresql"])
def library(
    request: pytest.FixtureRequest, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> Iterator[Library]:
    url, engine = library_of_1_1(request.param, tmp_path / "home", request)
    yield Library(url, engine, caplog)
    engine.dispose()


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


def test_tags_of_packs_go_and_those_that_people_confirmed_or_models_gave_stay(library: Library) -> None:
    library.execute("INSERT INTO packs VALUES ('castles', 'd', 1, '{}', '[]', '2026-03-01 00:00:00')")
    library.execute(
        "INSERT INTO classifiers (landmark_id, model_id, pack, version, examples, rejected, evidence, data,"
        " applied, learned_at) SELECT landmark_id, model_id, 'castles', 0, 1, 0, 'e', data, true, learned_at"
        " FROM classifiers"
    )
    library.execute(
        "INSERT INTO taught_tags (content_id, landmark_id, score, accepted, model_id, pack)"
        f" VALUES (2, {CHURCH}, 0.95, true, 1, 'castles')"
    )
    library.execute(
        "INSERT INTO effective_tags (content_id, landmark_id, state, score, source, model_id, pack)"
        f" VALUES (2, {CHURCH}, 'accepted', 0.95, 'taught', 1, 'castles')"
    )
    database = library.upgraded()
    (removed,) = library.removed
    assert "the packs castles, and the tags that images had from them alone (1)" in removed
    tags = rows(
        database,
        "SELECT e.content_id, l.slug FROM effective_tags AS e JOIN landmarks AS l ON l.id = e.landmark_id"
        " WHERE e.accepted",
    )
    assert (2, "our-church") not in tags
    assert {(6, "brandenburg-gate"), (4, "our-church"), (3, "our-church")} <= {*tags}
    assert rows(database, "SELECT count(*) FROM verdicts") == [(5,)]
    # What was taught here is compared again.
    assert [bool(*row) for row in rows(database, "SELECT applied FROM classifiers")] == [False]
    assert rows(database, "SELECT taught_version FROM models") == [(2,)]
    database.close()


def test_people_who_signed_in_at_a_provider_stay_without_their_sessions(library: Library) -> None:
    for name, issuer in (("ada", "https://sso.example"), ("bob", None)):
        library.execute(
            "INSERT INTO users (name, role, issuer, subject, created_at)"
            " VALUES (:name, 'editor', :issuer, :name, '2026-03-01 00:00:00')",
            name=name,
            issuer=issuer,
        )
        library.execute(
            "INSERT INTO page_sessions (digest, user_id, created_at, last_used_at, expires_at, id_token)"
            " SELECT name, id, created_at, created_at, created_at, '' FROM users WHERE name = :name",
            name=name,
        )
    database = library.upgraded()
    (removed,) = library.removed
    assert "the sign-in of ada with OpenID Connect. They keep their names" in removed
    assert rows(database, "SELECT name, role FROM users ORDER BY id") == [
        ("ada", "editor"),
        ("bob", "editor"),
    ]
    assert rows(database, "SELECT digest FROM page_sessions") == [("bob",)]
    database.close()


def test_events_of_webhooks_and_what_undoes_merges_go_and_the_audit_log_stays(library: Library) -> None:
    library.execute("DELETE FROM audit_log")
    library.execute("DELETE FROM webhook_messages")
    for number, delivered in ((1, "2026-03-01 00:00:00"), (2, None)):
        library.execute(
            "INSERT INTO webhook_messages (message_id, subject, event, data, created_at, delivered_at)"
            " VALUES (:id, :id, 'job.finished', '{}', '2026-03-01 00:00:00', :delivered)",
            id=f"msg_{number}",
            delivered=delivered,
        )
    for details in ('{"into": "a", "undo": {}, "verdicts_before": []}', '{"into": "a", "continues": 1}'):
        library.execute(
            "INSERT INTO audit_log (at, actor, action, subject, details)"
            " VALUES ('2026-03-01 00:00:00', 'cli', 'landmark-merge', 'old-tower', :details)",
            details=details,
        )
    database = library.upgraded()
    webhooks, merges = library.removed
    assert "the events of webhooks (2, not delivered: 1)" in webhooks
    assert "what undoes the merges of old-tower." in merges
    assert [str(row[0]) for row in rows(database, "SELECT details FROM audit_log")] in (
        ['{"into": "a"}'] * 2,
        [str({"into": "a"})] * 2,
    )
    database.close()


def test_tags_become_what_was_found_and_what_counts_stays(library: Library) -> None:
    """Of the images 1, 2 and 6, a position, the speed and damage reversed what the score said."""
    odds = (
        "UPDATE tags SET accepted = false, doubtful = :reason, position_odds = :odds WHERE content_id = :id"
    )
    for id_, reason, factor in ((1, "position", 0.01), (2, "speed", 0.02), (6, "damaged", None)):
        library.execute(odds + " AND rank = 1", id=id_, reason=reason, odds=factor)
    library.execute("UPDATE tags SET accepted = true, position_odds = 9.0 WHERE content_id = 3 AND rank = 1")
    database = library.upgraded()
    assert library.removed == []
    found = rows(
        database,
        "SELECT content_id, enough, odds_reason FROM tags"
        " WHERE rank = 1 AND content_id IN (1, 2, 3, 6) ORDER BY content_id",
    )
    assert [(id_, bool(enough), reason) for id_, enough, reason in found] == [
        (1, True, "position"),
        (2, True, "speed"),
        (3, False, "position"),
        (6, True, None),
    ]
    database.close()


def test_a_job_that_was_paused_is_resumed_without_the_note_of_its_pause(library: Library) -> None:
    note = "paused at 06:00 (Europe/Paris); the next run of the schedule nightly continues it"
    values = {"end": "06:00", "zone": "Europe/Paris", "name": "nightly"}
    message = json.dumps({"code": NoteCode.PAUSED_UNTIL_NEXT_RUN, "values": values})
    paused = "UPDATE jobs SET state = 'paused', note = :note, note_message = :message"
    library.execute(paused, note=note, message=message)
    database = library.upgraded()
    (job,) = (row[0] for row in rows(database, "SELECT max(id) FROM jobs"))
    assert resume(database, job)
    progress = find_job(database, job)
    assert (progress.note, progress.state) == (None, JobState.RUNNING)
    database.close()


def test_a_library_of_1_1_gets_the_schema_of_a_new_one(
    library: Library, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    library.upgraded().close()
    new_url = f"sqlite:///{tmp_path}/new.sqlite"
    if not library.is_sqlite:
        new_url = request.getfixturevalue("postgres_url")
    upgrade_database(new_url)
    assert library.schema == _schema(new_url)


def test_things_and_verdicts_on_them_stay_apart_from_what_removed_models_found(library: Library) -> None:
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
    found = rows(database, "SELECT content_id, thing, model_id, score FROM image_things ORDER BY content_id")
    assert found == [(1, "dog", 1, 0.9), (2, "dog", 1, 0.8)]
    with database.read() as connection:
        decided = connection.execute(select(thing_verdicts).order_by(thing_verdicts.c.content_id)).all()
    given_at = datetime(2026, 3, 1, tzinfo=UTC)
    assert [tuple(row) for row in decided] == [
        (2, "dog", "rejected", "ann", given_at),
        (3, "cat", "confirmed", None, given_at),
        (4, "cat", "confirmed", "ann", given_at),
    ]
    database.close()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("ALTER TABLE contents DROP COLUMN damaged", "contents.damaged"),
        ("DROP TABLE favourites", "favourites"),
    ],
)
def test_a_library_that_no_release_has_made_is_refused_and_stays_as_it_is(
    library: Library, change: str, missing: str
) -> None:
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


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_was_marked_as_changed_before_an_upgrade_of_2_1_still_is_after_it(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url, engine = library_of_1_1(kind, tmp_path / "home", request, revision="1015")
    with engine.begin() as connection:
        for statement in _OLD_TRIGGERS[kind]:
            connection.exec_driver_sql(statement)
        marked = {}
        for table, (names, values) in _MARKED.items():
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})"))
            marked[table] = connection.execute(text(f"SELECT {names} FROM {table} ORDER BY {names}")).all()
    upgrade_schema(url)
    with engine.begin() as connection:
        for table, (names, _) in _MARKED.items():
            query = text(f"SELECT {names} FROM {table} ORDER BY {names}")
            assert connection.execute(query).all() == marked[table] != []
        connection.execute(text("DELETE FROM trip_changes"))
        connection.execute(text("DELETE FROM effective_tags"))
        connection.execute(text(_ACCEPTED))
        marks = connection.execute(text("SELECT day, content_id FROM trip_changes")).all()
        assert marks == [(None, 1)]
    engine.dispose()


_TRIGGERS = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'trigger' ORDER BY name",
    "postgresql": "SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal ORDER BY tgname",
}


def _schema(url: str) -> object:
    """Columns, keys and indexes of all tables, whatever their order, and triggers."""
    engine = create_database_engine(url)
    with engine.connect() as connection:
        triggers = connection.execute(text(_TRIGGERS[engine.dialect.name])).all()
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
