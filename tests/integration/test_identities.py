"""People whom a provider has signed in, on both databases: whom an identity belongs to, and who cannot take it over."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from support.page_server import TOKEN
from support.threads import in_threads

from tagger.database.audit_log import AuditAction, AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.tables import users
from tagger.errors import NameNotFound
from tagger.people.identities import (
    Identity,
    IdentityNameTaken,
    IdentityUnknown,
    link_user,
    sign_in_identity,
    unlink_user,
)
from tagger.people.sessions import Origin, session_grant
from tagger.people.users import (
    SubjectInvalid,
    SubjectTaken,
    add_user,
    list_users,
    remove_user,
)

pytestmark = pytest.mark.postgresql

ISSUER, OTHER_ISSUER = "https://sso.example", "https://sso.example/"
ADA = Identity(ISSUER, "1", ("Ada", "1"))
HOME = Origin("203.0.113.7", "203.0.113.7", "Firefox")


def sign_in(database: Database, identity: Identity = ADA, new_role: Role | None = Role.VIEWER) -> str:
    return sign_in_identity(database, identity, new_role, HOME)


def test_an_identity_is_the_same_person_for_ever(database: Database) -> None:
    first = sign_in(database)
    second = sign_in(database, Identity(ISSUER, "1", ("another name",)), None)
    names = {session_grant(database, session, TOKEN).name for session in (first, second)}  # type: ignore[union-attr]
    assert names == {"ada"}
    (user,) = list_users(database)
    assert (user.issuer, user.subject, user.role) == (ISSUER, "1", Role.VIEWER)


def test_the_same_subject_of_another_provider_is_somebody_else(database: Database) -> None:
    sign_in(database)
    with pytest.raises(IdentityNameTaken):
        sign_in(database, Identity(OTHER_ISSUER, "1", ("ada",)))
    sign_in(database, Identity(OTHER_ISSUER, "1", ("eve",)))
    assert [user.name for user in list_users(database)] == ["ada", "eve"]


def test_a_person_who_was_removed_has_no_access_again(database: Database) -> None:
    session = sign_in(database)
    assert remove_user(database, "ada").sessions == 1
    assert session_grant(database, session, TOKEN) is None
    with pytest.raises(IdentityUnknown, match=r"subject: 1$"):
        sign_in(database, ADA, None)


def test_linking_gives_the_account_to_one_subject(database: Database) -> None:
    add_user(database, "bob", Role.ADMIN, None)
    assert link_user(database, "Bob", ISSUER, "1") == 0
    session = sign_in(database)
    assert link_user(database, "bob", ISSUER, "2") == 1
    assert session_grant(database, session, TOKEN) is None
    with pytest.raises(IdentityUnknown):
        sign_in(database, ADA, None)
    session = sign_in(database, Identity(ISSUER, "2"), None)
    assert unlink_user(database, "bob") == 1
    with pytest.raises(IdentityUnknown):
        sign_in(database, Identity(ISSUER, "2"), None)
    details = [
        entry.details
        for entry in list_entries(database, AuditFilter((AuditAction.USER_LINK, AuditAction.USER_UNLINK)), 9)
    ]
    assert [(each["identity"], each["sessions"]) for each in details] == [("2", 1), ("2", 1), ("1", 0)]
    assert all(each["issuer"] == ISSUER for each in details)


def test_a_subject_has_one_person(database: Database) -> None:
    for name in ("ada", "bob"):
        add_user(database, name, Role.VIEWER, None)
    link_user(database, "ada", ISSUER, "1")
    link_user(database, "ada", ISSUER, "1")
    with pytest.raises(SubjectTaken, match="linked to ada"):
        link_user(database, "bob", ISSUER, "1")
    with pytest.raises(SubjectTaken, match="linked to ada"):
        add_user(database, "eve", Role.VIEWER, None, issuer=ISSUER, subject="1")
    link_user(database, "bob", OTHER_ISSUER, "1")
    for subject in ("", "x" * 256, "a\nb", "é"):
        with pytest.raises(SubjectInvalid):
            link_user(database, "bob", ISSUER, subject)
    for change in (lambda: link_user(database, "eve", ISSUER, "3"), lambda: unlink_user(database, "eve")):
        with pytest.raises(NameNotFound):
            change()
    row = {"name": "eve", "role": "admin", "issuer": ISSUER, "subject": "1"}
    with pytest.raises(IntegrityError), database.write() as connection:
        connection.execute(insert(users).values(created_at=datetime.now(UTC), **row))


def test_a_first_sign_in_in_several_browsers_at_once_adds_one_person(database: Database) -> None:
    sessions: list[str] = []
    in_threads([lambda: sessions.append(sign_in(database))] * 6)
    assert len(sessions) == 6
    assert len({session_grant(database, session, TOKEN).user_id for session in sessions}) == 1  # type: ignore[union-attr]
    assert len(list_users(database)) == 1


def test_the_role_of_the_provider_replaces_the_stored_one(database: Database) -> None:
    session = sign_in(database, Identity(ISSUER, "1", ("ada",), Role.EDITOR), None)
    same = sign_in(database, Identity(ISSUER, "1", ("ada",), Role.EDITOR), None)
    assert session_grant(database, session, TOKEN) is not None
    lower = sign_in(database, Identity(ISSUER, "1", ("ada",), Role.VIEWER), None)
    assert [session_grant(database, each, TOKEN) for each in (session, same)] == [None, None]
    grant = session_grant(database, lower, TOKEN)
    assert grant is not None
    assert grant.role is Role.VIEWER
