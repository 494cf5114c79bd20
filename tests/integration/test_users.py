"""People and their passwords: who may sign in, when sessions end, and how many may be wrong."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import argon2
import pytest
from sqlalchemy import func, select, update
from support.page_server import TOKEN, grant_of
from support.threads import in_threads

from tagger.database.actors import Actor
from tagger.database.audit_log import AuditFilter, list_entries
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.tables import page_sessions, sign_in_attempts, users
from tagger.errors import NameNotFound
from tagger.people import passwords
from tagger.people.passwords import (
    MAX_LENGTH,
    AttemptLimit,
    AttemptsUsedUp,
    PasswordRefused,
    generate_password,
    is_right,
)
from tagger.people.sessions import (
    Origin,
    proxied_grant,
    record_use,
    session_grant,
    sign_in_user,
    start_session,
)
from tagger.people.tokens import AccessEnded, Grant, NameExists, NameInvalid, add_token
from tagger.people.users import (
    User,
    add_user,
    has_users,
    list_users,
    remove_user,
    set_password,
    set_role,
)

PASSWORD = "correct horse battery"
pytestmark = pytest.mark.usefixtures("fast_hashes")
HOME, OFFICE = Origin("203.0.113.7", "203.0.113.7", "Firefox"), Origin("198.51.100.9", "198.51.100.9")


def signed_in(database: Database, name: str = "ada", origin: Origin = HOME) -> str:
    session = sign_in_user(database, name, PASSWORD, origin)
    assert session is not None
    return session


def count(database: Database, table: object) -> int:
    with database.read() as connection:
        return connection.scalar(select(func.count()).select_from(table)) or 0  # type: ignore[arg-type]


def actions(database: Database) -> list[tuple[str, str, str | None]]:
    entries = list_entries(database, AuditFilter(), 100)
    return [(entry.actor.split()[0], entry.action, entry.subject) for entry in reversed(entries)]


def test_a_person_signs_in_with_any_case_of_the_name(database: Database) -> None:
    assert not has_users(database)
    ada = add_user(database, "Ada", Role.EDITOR, PASSWORD)
    assert (ada.name, list_users(database)) == ("ada", [ada])
    grant = grant_of(database, signed_in(database, " ADA "))
    assert (grant.name, grant.role, grant.user_id, grant.token_id) == ("ada", Role.EDITOR, ada.id, None)
    assert sign_in_user(database, "ada", PASSWORD + "x", HOME) is None
    assert sign_in_user(database, "eve", PASSWORD, HOME) is None
    with database.read() as connection:
        stored = connection.execute(select(page_sessions.c.network, page_sessions.c.browser)).one()
        assert PASSWORD not in str(connection.execute(select(users)).all())
    assert tuple(stored) == ("203.0.113.7", "Firefox")
    assert actions(database)[-1] == ("web", "sign-in", "ada")


def test_composed_characters_are_the_same_password(database: Database) -> None:
    add_user(database, "zoe", Role.VIEWER, "caf\u00e9 au lait 12")
    assert sign_in_user(database, "zoe", "cafe\u0301 au lait 12", HOME) is not None


def test_names_that_could_be_mistaken_and_weak_passwords_are_refused(database: Database) -> None:
    for name in ("", " ", "a b", "-a", "a/b", "x" * 129, "a\nb", "é", "TAGGER_WEB_TOKEN", "web:a"):
        with pytest.raises(NameInvalid):
            add_user(database, name, Role.VIEWER, PASSWORD)
    for password in ("", "short", "aaaaaaaaaaaaa", "ada1234567", "x" * (MAX_LENGTH + 1)):
        with pytest.raises(PasswordRefused):
            add_user(database, "ada", Role.VIEWER, password)
    assert not has_users(database)


def test_names_are_unique_also_among_tokens(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    with pytest.raises(NameExists):
        add_user(database, "ADA", Role.ADMIN, PASSWORD)
    with pytest.raises(NameExists):
        add_token(database, "ada")
    add_token(database, "phone")
    with pytest.raises(NameExists):
        add_user(database, "phone", Role.VIEWER, PASSWORD)
    for change in (
        remove_user,
        lambda d, n: set_role(d, n, Role.ADMIN),
        lambda d, n: set_password(d, n, PASSWORD),
    ):
        with pytest.raises(NameNotFound, match="ada"):
            change(database, "eve")


@pytest.mark.postgresql
def test_who_is_no_admin_any_more_changes_nobody(database: Database) -> None:
    ada, bob = (add_user(database, name, Role.ADMIN, PASSWORD) for name in ("ada", "bob"))
    acting_ada, acting_bob = (
        database.acting_as(Actor(f"web {each.name}", is_person=True, access_id=each.id))
        for each in (ada, bob)
    )
    add_user(acting_ada, "eve", Role.VIEWER, PASSWORD)
    set_role(acting_bob, "ada", Role.EDITOR)
    for change in (
        lambda: add_user(acting_ada, "mallory", Role.ADMIN, PASSWORD),
        lambda: set_role(acting_ada, "eve", Role.ADMIN),
        lambda: set_password(acting_ada, "bob", PASSWORD + "x"),
        lambda: remove_user(acting_ada, "bob"),
        lambda: remove_user(acting_ada, "nobody"),
    ):
        with pytest.raises(AccessEnded):
            change()
    set_password(acting_ada, "ada", PASSWORD + "x")
    assert [(each.name, each.role) for each in list_users(database)] == [
        ("ada", Role.EDITOR),
        ("bob", Role.ADMIN),
        ("eve", Role.VIEWER),
    ]


@pytest.mark.postgresql
def test_of_two_admins_who_demote_each_other_one_stays(database: Database) -> None:
    for number in range(10):
        names = f"ada{number}", f"bob{number}"
        admins = [add_user(database, name, Role.ADMIN, None) for name in names]

        def demote(admin: User, other: str) -> None:
            acting = database.acting_as(Actor(f"web {admin.name}", is_person=True, access_id=admin.id))
            with suppress(AccessEnded):
                set_role(acting, other, Role.VIEWER)

        in_threads([partial(demote, admins[0], names[1]), partial(demote, admins[1], names[0])])
        roles = [each.role for each in list_users(database) if each.name in names]
        assert sorted(roles) == [Role.ADMIN, Role.VIEWER]


def test_changes_of_a_person_end_their_sessions_and_no_others(database: Database) -> None:
    for name in ("ada", "bob"):
        add_user(database, name, Role.VIEWER, PASSWORD)
    of_bob, of_settings = signed_in(database, "bob"), start_session(database, TOKEN, TOKEN)
    assert of_settings is not None
    sessions = [signed_in(database), signed_in(database)]
    assert set_role(database, "ada", Role.ADMIN).sessions == 2
    assert [session_grant(database, session, TOKEN) for session in sessions] == [None, None]
    session = signed_in(database)
    assert grant_of(database, session).role is Role.ADMIN
    kept = grant_of(database, signed_in(database)).session_id
    assert set_password(database, "ada", "another long password", kept_session=kept) == 1
    assert session_grant(database, session, TOKEN) is None
    assert sign_in_user(database, "ada", PASSWORD, HOME) is None
    assert remove_user(database, "Ada").sessions == 1
    assert sign_in_user(database, "ada", "another long password", HOME) is None
    assert grant_of(database, of_bob).name == "bob"
    assert grant_of(database, of_settings).role is Role.ADMIN
    assert [action for _, action, subject in actions(database) if subject == "ada"] == [
        "user-add", "sign-in", "sign-in", "user-role", "sign-in", "sign-in", "user-password", "user-remove",
    ]  # fmt: skip


def test_a_session_of_a_person_does_not_depend_on_the_token_of_the_settings(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    assert session_grant(database, signed_in(database), TOKEN + "x") is not None


def test_the_last_use_of_a_person_is_written(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    assert list_users(database)[0].last_used_at is None
    grant = grant_of(database, signed_in(database))
    assert list_users(database)[0].last_used_at is not None
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    with database.write() as connection:
        connection.execute(update(users).values(last_used_at=long_ago))
    record_use(database, grant)
    used_at = list_users(database)[0].last_used_at
    assert used_at is not None
    assert used_at > long_ago


def test_an_unknown_name_takes_the_work_of_a_known_one(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: the same function verifies a hash with the same parameters."""
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    add_user(database, "sso", Role.VIEWER, None)
    hasher = passwords._hasher()
    verified: list[argon2.Parameters] = []
    made: list[bytes] = []

    class Recorded:
        def hash(self, password: bytes) -> str:
            made.append(password)
            return hasher.hash(password)

        def verify(self, stored: str, password: bytes) -> bool:
            verified.append(argon2.extract_parameters(stored))
            return hasher.verify(stored, password)

    monkeypatch.setattr(passwords, "_hasher", Recorded)
    for name in ("ada", "nobody", "sso"):
        passwords._hash_of_nobody.cache_clear()  # as in a server that has just started
        assert sign_in_user(database, name, "a wrong password", HOME) is None
    assert len(verified) == len(made) == 3
    assert verified[0] == verified[1] == verified[2]


def test_nobody_signs_in_with_the_password_of_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "generate_password", lambda: PASSWORD)
    assert not is_right(PASSWORD, None)
    add_user(database, "sso", Role.ADMIN, None)
    for name in ("sso", "nobody"):
        assert sign_in_user(database, name, PASSWORD, HOME) is None


@pytest.mark.parametrize("change", [set_password, lambda database, name, _: remove_user(database, name)])
def test_a_password_that_is_replaced_during_the_sign_in_starts_no_session(
    database: Database, monkeypatch: pytest.MonkeyPatch, change: Callable[[Database, str, str], object]
) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)

    def is_right_and_changed(password: str, stored: str | None) -> bool:
        change(database, "ada", "another long password")
        return is_right(password, stored)

    monkeypatch.setattr("tagger.people.sessions.is_right", is_right_and_changed)
    assert sign_in_user(database, "ada", PASSWORD, HOME) is None
    assert count(database, page_sessions) == 0


def test_generated_passwords_are_accepted_and_differ() -> None:
    made = {generate_password() for _ in range(20)}
    assert len(made) == 20
    for password in made:
        passwords.check_password(password, "ada")


# --- limits


def guess(database: Database, name: str, origin: Origin, times: int) -> None:
    for number in range(times):
        assert sign_in_user(database, name, f"wrong password {number}", origin) is None


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_wrong_passwords_are_limited_by_account_and_address(database: Database, name: str) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    add_user(database, "bob", Role.VIEWER, PASSWORD)
    guess(database, name, HOME, passwords.OF_PAIR.most)
    with pytest.raises(AttemptsUsedUp) as refused:
        sign_in_user(database, name, PASSWORD, HOME)
    assert 0 < refused.value.retry_after_s <= passwords.OF_PAIR.window_s
    assert sign_in_user(database, "bob", PASSWORD, HOME) is not None
    assert sign_in_user(database, "ada", PASSWORD, OFFICE) is not None


def test_the_right_password_forgets_the_wrong_ones_of_that_address_alone(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    guess(database, "ada", HOME, passwords.OF_PAIR.most - 1)
    guess(database, "ada", OFFICE, passwords.OF_PAIR.most)
    signed_in(database)
    guess(database, "ada", HOME, passwords.OF_PAIR.most)
    with pytest.raises(AttemptsUsedUp):
        sign_in_user(database, "ada", PASSWORD, OFFICE)


def test_one_address_cannot_try_a_password_on_many_names(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    for number in range(passwords.OF_NETWORK.most):
        guess(database, f"name{number}", HOME, 1)
    with pytest.raises(AttemptsUsedUp):
        sign_in_user(database, "ada", PASSWORD, HOME)
    assert sign_in_user(database, "ada", PASSWORD, OFFICE) is not None


def test_many_addresses_slow_each_other_and_lock_nobody_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "OF_ACCOUNT", AttemptLimit(8, 3600))
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    session = signed_in(database, origin=HOME)
    for number in range(8):
        guess(database, "ada", Origin(network=f"192.0.2.{number}"), 1)
    with pytest.raises(AttemptsUsedUp):
        sign_in_user(database, "ada", PASSWORD, OFFICE)
    assert session_grant(database, session, TOKEN) is not None
    assert sign_in_user(database, "ada", PASSWORD, HOME) is not None
    long_ago = datetime.now(UTC) - timedelta(seconds=3601)
    with database.write() as connection:
        connection.execute(update(sign_in_attempts).values(at=long_ago))
    assert sign_in_user(database, "ada", PASSWORD, OFFICE) is not None
    assert count(database, sign_in_attempts) == 0


def test_a_new_password_ends_the_limits(database: Database) -> None:
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    guess(database, "ada", HOME, passwords.OF_PAIR.most)
    set_password(database, "ada", PASSWORD)
    signed_in(database)


@pytest.mark.postgresql
def test_attempts_at_once_do_not_exceed_the_limit(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted before the password is checked, in one transaction at a time."""
    add_user(database, "ada", Role.VIEWER, PASSWORD)
    checked: list[str] = []
    monkeypatch.setattr(
        "tagger.people.sessions.is_right", lambda password, _stored: bool(checked.append(password))
    )

    def try_some() -> None:
        for _ in range(3):
            try:
                sign_in_user(database, "ada", "a wrong password", HOME)
            except AttemptsUsedUp:
                return

    in_threads([try_some] * 4)
    assert len(checked) == passwords.OF_PAIR.most


@pytest.mark.postgresql
def test_first_requests_at_once_add_a_person_once(database: Database) -> None:
    grants: list[Grant | None] = []
    in_threads([lambda: grants.append(proxied_grant(database, "ada", Role.VIEWER))] * 4)
    assert {None if grant is None else grant.user_id for grant in grants} == {list_users(database)[0].id}
    assert [user.name for user in list_users(database)] == ["ada"]
    assert [action for _, action, _ in actions(database)] == ["user-add"]
