"""What becomes of rows of features that went: the upgrade says what it removes, and everything else stays."""

import logging
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, select, text
from support.colour_folders import EIFFEL, GATE
from support.schemas import downgrade
from support.stored_photos import StoredPhotos

from tagger.database.audit_log import AuditAction, AuditFilter, list_entries, record_action
from tagger.database.connection import Database
from tagger.database.engine import create_database_engine
from tagger.database.enums import Role
from tagger.database.tables import classifiers, effective_tags, landmarks, models, page_sessions, verdicts
from tagger.people.users import add_user, list_users
from tagger.registry.registered_models import RegisteredModel
from tagger.transfer.upgrade import upgrade_database

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.filterwarnings(
        "ignore:Skipped unsupported reflection of expression-based index '?ix_photos_(name|folder)"
    ),
]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
BEFORE = "1007"
"""The schema of 1.1."""


@pytest.fixture
def stored(database: Database, tmp_path: Path) -> StoredPhotos:
    return StoredPhotos.with_tiny_model(database, tmp_path)


def _execute(engine: Engine, statement: str, **values: object) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), values)


def _stored(engine: Engine, time: datetime) -> object:
    return str(time.replace(tzinfo=None)) if engine.dialect.name == "sqlite" else time


def _add_pack(engine: Engine, model: RegisteredModel, landmark_id: int) -> None:
    """The rows of a pack that tags photo 1 and suggests what is confirmed for photo 2; beside it, the landmark was taught here."""
    _execute(
        engine,
        "INSERT INTO packs VALUES ('castles', 'd', :model, '{}', '[]', :at)",
        model=model.id,
        at=_stored(engine, NOW),
    )
    for pack in ("", "castles"):
        _execute(
            engine,
            "INSERT INTO classifiers (landmark_id, model_id, pack, version, examples, rejected, evidence, data, applied, learned_at)"
            " VALUES (:landmark, :model, :pack, 0, 1, 0, 'e', :data, true, :at)",
            landmark=landmark_id,
            model=model.id,
            pack=pack,
            data=b"\0" * 8,
            at=_stored(engine, NOW),
        )
    for photo, score in ((1, 0.95), (2, 0.3)):
        _execute(
            engine,
            "INSERT INTO taught_tags (content_id, landmark_id, score, accepted, model_id, pack)"
            " VALUES (:photo, :landmark, :score, :accepted, :model, 'castles')",
            photo=photo,
            landmark=landmark_id,
            score=score,
            accepted=score >= 0.9,
            model=model.id,
        )
    _execute(
        engine,
        "INSERT INTO effective_tags (content_id, landmark_id, state, score, source, model_id, pack)"
        " VALUES (1, :landmark, 'accepted', 0.95, 'taught', :model, 'castles')",
        landmark=landmark_id,
        model=model.id,
    )


def test_tags_of_packs_go_and_those_that_people_confirmed_or_models_gave_stay(
    stored: StoredPhotos, database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored.photo("a.jpg", (EIFFEL, 0.9, True))
    stored.photo("b.jpg", (EIFFEL, 0.9, True), digest="b")
    stored.verdict("b", GATE, "confirmed")
    engine = downgrade(database_url, BEFORE)
    _add_pack(engine, stored.model, stored.landmark_ids[GATE])
    engine.dispose()
    with caplog.at_level(logging.WARNING):
        upgrade_database(database_url)
    assert "removed: the packs castles, and the tags that images had from them alone (1)" in caplog.text
    gate, eiffel = stored.landmark_ids[GATE], stored.landmark_ids[EIFFEL]
    with database.read() as connection:
        rows = connection.execute(
            select(effective_tags.c.content_id, effective_tags.c.landmark_id, effective_tags.c.state)
        ).all()
        expected = {(1, eiffel, "accepted"), (2, eiffel, "doubtful"), (2, gate, "confirmed")}
        assert set(map(tuple, rows)) == expected
        assert connection.scalar(select(verdicts.c.verdict)) == "confirmed"
        assert connection.scalar(select(landmarks.c.slug).where(landmarks.c.id == gate)) == GATE
        learned = connection.execute(select(classifiers.c.landmark_id, classifiers.c.applied)).all()
        assert [tuple(row) for row in learned] == [(gate, False)]  # it is compared again
        assert connection.scalar(select(models.c.taught_version)) == 1


def test_a_library_without_packs_is_upgraded_without_a_word(
    stored: StoredPhotos, database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    stored.photo("a.jpg", (EIFFEL, 0.9, True))
    downgrade(database_url, BEFORE).dispose()
    with caplog.at_level(logging.WARNING):
        upgrade_database(database_url)
    assert "removed" not in caplog.text


def test_people_who_signed_in_at_a_provider_stay_without_their_sessions(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("ada", "bob"):
        add_user(database, name, Role.EDITOR, None)
    engine = downgrade(database_url, BEFORE)
    _execute(engine, "UPDATE users SET issuer = 'https://sso.example', subject = '7' WHERE name = 'ada'")
    for user_id, digest in ((1, "a"), (2, "b")):
        _execute(
            engine,
            "INSERT INTO page_sessions (digest, user_id, created_at, last_used_at, expires_at, id_token)"
            " VALUES (:digest, :user, :at, :at, :at, '')",
            digest=digest,
            user=user_id,
            at=_stored(engine, NOW),
        )
    engine.dispose()
    with caplog.at_level(logging.WARNING):
        upgrade_database(database_url)
    assert "removed: the sign-in of ada with OpenID Connect. They keep their names" in caplog.text
    assert [(user.name, user.role) for user in list_users(database)] == [
        ("ada", Role.EDITOR),
        ("bob", Role.EDITOR),
    ]
    with database.read() as connection:
        assert connection.scalars(select(page_sessions.c.digest)).all() == ["b"]


def test_events_of_webhooks_are_counted_when_they_go(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    engine = downgrade(database_url, BEFORE)
    for number, delivered in ((1, NOW), (2, None)):
        _execute(
            engine,
            "INSERT INTO webhook_messages (message_id, subject, event, data, created_at, delivered_at)"
            " VALUES (:id, :id, 'job.finished', '{}', :at, :delivered)",
            id=f"msg_{number}",
            at=_stored(engine, NOW),
            delivered=delivered and _stored(engine, delivered),
        )
    engine.dispose()
    with caplog.at_level(logging.WARNING):
        upgrade_database(database_url)
    assert "removed: the events of webhooks (2, not delivered: 1)" in caplog.text


def test_what_undid_merges_goes_and_the_entries_of_the_audit_log_stay(
    database: Database, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept = {"into": "eiffel-tower", "verdicts": 2, "replaced": [{"digest": "d"}]}
    with database.write() as connection:
        for details in ({"undo": {"landmark": {}}, "verdicts_before": []}, {"continues": 1}):
            record_action(connection, AuditAction.LANDMARK_MERGE, "old-tower", **kept, **details)
    downgrade(database_url, BEFORE).dispose()
    with caplog.at_level(logging.WARNING):
        upgrade_database(database_url)
    assert "removed: what undoes the merges of old-tower." in caplog.text
    assert [entry.details for entry in list_entries(database, AuditFilter(), 9)] == [kept, kept]


def test_a_library_of_1_1_gets_the_schema_of_a_new_one(
    database: Database, database_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    new_url = f"sqlite:///{tmp_path}/new.sqlite"
    if not database.is_sqlite:
        new_url = request.getfixturevalue("empty_postgres_url")
    upgrade_database(new_url)
    for _ in range(2):  # up, down and up again
        downgrade(database_url, BEFORE).dispose()
        upgrade_database(database_url)
    assert _schema(database_url) == _schema(new_url)


def _schema(url: str) -> object:
    """Columns, keys and indexes of all tables, whatever their order."""
    engine = create_database_engine(url)
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
    return schema
