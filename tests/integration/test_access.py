"""Tokens and sessions of the page: what is valid, for how long, and what the database has of it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select, update
from support.page_server import TOKEN, grant_of
from support.threads import in_threads

from tagger.database.connection import Database, open_database
from tagger.database.enums import Role
from tagger.database.tables import access_tokens, page_sessions
from tagger.errors import NameNotFound
from tagger.people import sessions
from tagger.people.sessions import (
    SESSION_S,
    end_session,
    record_use,
    session_grant,
    start_session,
    token_grant,
)
from tagger.people.tokens import (
    SETTINGS_TOKEN,
    USE_RECORDED_S,
    Grant,
    NameExists,
    NameInvalid,
    add_token,
    list_tokens,
    revoke_token,
)


def signed_in(database: Database, secret: str = TOKEN) -> str:
    session = start_session(database, secret, TOKEN)
    assert session is not None
    return session


def count_sessions(database: Database) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(page_sessions)) or 0


def test_a_token_is_shown_once_and_stored_as_a_hash(database: Database) -> None:
    token, secret = add_token(database, "phone", read_only=True)
    assert len(secret) > 40
    assert token_grant(database, secret, TOKEN) == Grant("phone", Role.VIEWER, token.id)
    with database.read() as connection:
        stored = [str(value) for row in connection.execute(select(access_tokens)) for value in row]
    assert not any(secret in value or secret.removeprefix("tagger_") in value for value in stored)
    assert list_tokens(database) == [token]


def test_other_tokens_are_not_valid(database: Database) -> None:
    _, secret = add_token(database, "phone")
    for wrong in ("", secret[:-1], secret + "x", secret.upper(), "é", "\ud800", "phone"):
        assert token_grant(database, wrong, TOKEN) is None
    assert token_grant(database, TOKEN, TOKEN) == Grant(SETTINGS_TOKEN, Role.ADMIN)


def test_names_that_could_be_mistaken_are_refused(database: Database) -> None:
    for name in ("", "a b", "-a", "a/b", "x" * 65, "a\n", "é", SETTINGS_TOKEN):
        with pytest.raises(NameInvalid):
            add_token(database, name)


@pytest.mark.postgresql
def test_names_are_unique_and_unknown_ones_are_errors(database: Database) -> None:
    add_token(database, "phone")
    with pytest.raises(NameExists, match="phone"):
        add_token(database, "phone")
    with pytest.raises(NameNotFound, match="phone"):
        revoke_token(database, "tablet")


@pytest.mark.postgresql
def test_an_expired_token_ends_its_sessions_too(database: Database) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    token, secret = add_token(database, "guest", expires_at=soon)
    session = signed_in(database, secret)
    assert session_grant(database, session, TOKEN) is not None
    past = datetime.now(UTC) - timedelta(seconds=1)
    with database.write() as connection:
        stored = connection.scalar(select(page_sessions.c.expires_at))
        connection.execute(update(access_tokens).values(expires_at=past))
        connection.execute(update(page_sessions).values(expires_at=past))
    assert stored == soon
    assert token_grant(database, secret, TOKEN) is None
    assert start_session(database, secret, TOKEN) is None
    assert session_grant(database, session, TOKEN) is None
    assert list_tokens(database)[0].is_expired(datetime.now(UTC))
    assert token.expires_at == soon


def test_revoking_a_token_ends_its_sessions_and_no_others(database: Database) -> None:
    _, secret = add_token(database, "phone")
    of_token, of_settings = signed_in(database, secret), signed_in(database)
    assert revoke_token(database, "phone").sessions == 1
    assert session_grant(database, of_token, TOKEN) is None
    assert token_grant(database, secret, TOKEN) is None
    assert session_grant(database, of_settings, TOKEN) is not None


def test_a_session_outlives_a_restart_and_a_signed_out_one_does_not(
    database: Database, database_url: str
) -> None:
    kept, ended = signed_in(database), signed_in(database)
    end_session(database, grant_of(database, ended))
    restarted = open_database(database_url)
    assert session_grant(restarted, kept, TOKEN) is not None
    assert session_grant(restarted, ended, TOKEN) is None
    restarted.close()


def test_sessions_of_the_settings_token_end_when_it_changes(database: Database) -> None:
    _, secret = add_token(database, "phone")
    of_settings, of_token = signed_in(database), signed_in(database, secret)
    assert session_grant(database, of_settings, TOKEN + "x") is None
    assert session_grant(database, of_token, TOKEN + "x") is not None


@pytest.mark.postgresql
def test_sessions_expire(database: Database) -> None:
    session = signed_in(database)
    almost = datetime.now(UTC) - timedelta(seconds=SESSION_S)
    with database.write() as connection:
        expires = connection.scalar(select(page_sessions.c.expires_at))
        connection.execute(update(page_sessions).values(expires_at=datetime.now(UTC)))
    assert expires is not None
    assert timedelta() < expires - almost - timedelta(seconds=SESSION_S) <= timedelta(seconds=SESSION_S)
    assert session_grant(database, session, TOKEN) is None
    signed_in(database)
    assert count_sessions(database) == 1


@pytest.mark.postgresql
def test_the_last_use_is_written_at_most_once_a_minute(database: Database) -> None:
    _, secret = add_token(database, "phone")
    grant = token_grant(database, secret, TOKEN)
    assert grant is not None
    assert grant.needs_record
    record_use(database, grant)
    first = list_tokens(database)[0].last_used_at
    assert first is not None
    session = grant_of(database, signed_in(database, secret))
    assert not session.needs_record
    record_use(database, session)
    assert list_tokens(database)[0].last_used_at == first
    long_ago = datetime.now(UTC) - timedelta(seconds=USE_RECORDED_S + 1)
    with database.write() as connection:
        connection.execute(update(access_tokens).values(last_used_at=long_ago))
        connection.execute(update(page_sessions).values(last_used_at=long_ago))
    session = session_grant(database, signed_in(database, secret), TOKEN) or session
    record_use(database, session)
    used_at = list_tokens(database)[0].last_used_at
    assert used_at is not None
    assert used_at > first
    assert not Grant(SETTINGS_TOKEN, Role.ADMIN).needs_record


@pytest.mark.postgresql
def test_processes_can_sign_in_use_and_revoke_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "USE_RECORDED_S", -1)
    _, secret = add_token(database, "phone")

    def use() -> None:
        for _ in range(8):
            session = start_session(database, secret, TOKEN)
            grant = None if session is None else session_grant(database, session, TOKEN)
            if grant is not None:
                record_use(database, grant)

    def revoke() -> None:
        revoke_token(database, "phone")

    in_threads([use, use, use, revoke])
    assert token_grant(database, secret, TOKEN) is None
    assert count_sessions(database) == 0
