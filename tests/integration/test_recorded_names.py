"""A name that somebody had before, on both databases: the newcomer is recorded as somebody else, and gets nothing that was meant for the other."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert
from support.page_server import TOKEN

from tagger.database.audit_log import AuditAction, AuditEntry, AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.tables import access_tokens, users
from tagger.people import identities
from tagger.people.grants import Role
from tagger.people.identities import Identity, IdentityUnknown, sign_in_identity, withdraw_role
from tagger.people.names import parse_name
from tagger.people.sessions import (
    Origin,
    end_open_session,
    list_sessions,
    proxied_grant,
    session_grant,
    start_session,
    token_grant,
)
from tagger.people.tokens import add_token, list_tokens, revoke_token
from tagger.people.users import (
    User,
    UserNotFound,
    add_user,
    find_user_by_name,
    list_users,
    remove_user,
    set_password,
    set_role,
)

ISSUER = "https://sso.example"
ADA = Identity(ISSUER, "1", ("ada",))
EVE = Identity(ISSUER, "2", ("ada",))
HOME = Origin("203.0.113.7", "203.0.113.7", "Firefox")


def entries(database: Database, *actions: AuditAction) -> list[AuditEntry]:
    """Oldest first."""
    return list(reversed(list_entries(database, AuditFilter(actions), 100)))


def person(database: Database, name: str = "ada") -> User:
    user = find_user_by_name(database, name)
    assert user is not None
    return user


def test_each_person_and_token_of_a_name_is_recorded_as_another(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, None)
    remove_user(database, "ada")
    assert add_user(database, "Ada", Role.VIEWER, None).recorded_name == "ada#2"
    remove_user(database, "ada")
    token, secret = add_token(database, "ada")
    grant = token_grant(database, secret, TOKEN)
    assert grant is not None
    assert (token.name, grant.name) == ("ada", "ada#3")
    assert start_session(database, secret, TOKEN, HOME) is not None
    (session,) = list_sessions(database)
    end_open_session(database, session.id)
    revoke_token(database, "ada")
    add_user(database, "bob", Role.VIEWER, None)
    assert [(entry.action, entry.subject) for entry in entries(database)] == [
        ("user-add", "ada"),
        ("user-remove", "ada"),
        ("user-add", "ada#2"),
        ("user-remove", "ada#2"),
        ("token-add", "ada#3"),
        ("sign-in", "ada#3"),
        ("session-end", "ada#3"),
        ("token-revoke", "ada#3"),
        ("user-add", "bob"),
    ]
    (signed_in,) = entries(database, AuditAction.SIGN_IN)
    assert signed_in.actor == "web ada#3"


def test_somebody_new_at_the_provider_is_not_the_one_who_was_removed(database: Database) -> None:
    sign_in_identity(database, ADA, Role.VIEWER, HOME)
    remove_user(database, "ada")
    session = sign_in_identity(database, EVE, Role.VIEWER, HOME)
    grant = session_grant(database, session, TOKEN)
    assert grant is not None
    assert grant.name == "ada#2"
    first, second = entries(database, AuditAction.SIGN_IN)
    assert (first.actor, first.details["identity"]) == ("web ada", "1")
    assert (second.actor, second.subject, second.details["identity"]) == ("web ada#2", "ada#2", "2")
    assert [entry.actor for entry in entries(database, AuditAction.USER_ADD)] == ["web ada", "web ada#2"]


def test_somebody_new_at_the_proxy_is_not_the_one_who_was_removed(database: Database) -> None:
    first = proxied_grant(database, "ada", Role.VIEWER)
    remove_user(database, "ada")
    second = proxied_grant(database, "ada", Role.VIEWER)
    assert first is not None
    assert second is not None
    assert (first.name, second.name) == ("ada", "ada#2")
    assert entries(database, AuditAction.USER_ADD)[1].actor == "web ada#2"


def test_a_full_name_is_one_person_for_ever(database: Database) -> None:
    first = add_user(database, "ada", Role.VIEWER, None)
    assert first.full_name == "ada#1"
    remove_user(database, "ada")
    second = add_user(database, "ada", Role.VIEWER, None)
    for change in (
        lambda: set_role(database, first.full_name, Role.ADMIN),
        lambda: set_password(database, first.full_name, "correct horse battery"),
        lambda: remove_user(database, first.full_name),
    ):
        with pytest.raises(UserNotFound, match="ada#1"):
            change()
    assert list_users(database) == [second]
    set_role(database, "ADA#2", Role.EDITOR)
    assert person(database).role is Role.EDITOR


def test_names_with_numbers() -> None:
    assert (parse_name("ada"), parse_name("ada#2")) == (("ada", None), ("ada", 2))
    for name in ("ada#", "ada#x", "ada#-1", "ada#²", "ada#99999999999999999999"):
        assert parse_name(name) == ("ada", 0)


@pytest.fixture
def replaced_meanwhile(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ada was found, she is removed, and somebody else of this name is added."""
    found = identities._find

    def find_and_replace(of: Database, identity: Identity) -> User | None:
        user = found(of, identity)
        if user is not None and user.name_number == 1:
            remove_user(database, "ada")
            add_user(database, "ada", Role.EDITOR, "correct horse battery")
        return user

    monkeypatch.setattr(identities, "_find", find_and_replace)


def test_a_role_of_the_provider_is_not_for_a_newcomer_of_this_name(
    database: Database, request: pytest.FixtureRequest
) -> None:
    sign_in_identity(database, ADA, Role.VIEWER, HOME)
    request.getfixturevalue("replaced_meanwhile")
    with pytest.raises(IdentityUnknown):
        sign_in_identity(database, Identity(ISSUER, "1", ("ada",), Role.ADMIN), None, HOME)
    assert (person(database).recorded_name, person(database).role) == ("ada#2", Role.EDITOR)
    assert entries(database, AuditAction.USER_ROLE) == []


def test_a_role_that_the_provider_withdraws_is_not_that_of_a_newcomer_of_this_name(
    database: Database, request: pytest.FixtureRequest
) -> None:
    sign_in_identity(database, ADA, Role.ADMIN, HOME)
    request.getfixturevalue("replaced_meanwhile")
    withdraw_role(database, ADA, HOME)
    assert (person(database).recorded_name, person(database).role) == ("ada#2", Role.EDITOR)
    assert entries(database, AuditAction.USER_ROLE) == []


def test_who_was_added_by_a_server_of_the_version_before_is_counted_once_removed(database: Database) -> None:
    values: dict[str, object] = {"created_at": datetime(2026, 1, 1, tzinfo=UTC)}
    with database.write() as connection:  # as that server does, which knows neither numbers nor their table
        connection.execute(insert(users).values(name="ada", role=Role.VIEWER, **values))
        connection.execute(insert(access_tokens).values(name="phone", digest="d", read_only=True, **values))
    assert person(database).recorded_name == "ada"
    assert [token.recorded_name for token in list_tokens(database)] == ["phone"]
    remove_user(database, "ada")
    revoke_token(database, "phone")
    assert add_user(database, "ada", Role.VIEWER, None).recorded_name == "ada#2"
    assert add_token(database, "phone")[0].recorded_name == "phone#2"
