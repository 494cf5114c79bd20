"""People whom an OpenID Connect provider has signed in. The provider and the subject there identify a person.

Names and mail addresses do not: at many providers, people choose them, and could choose those of another person.
"""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Row, select, update
from sqlalchemy.exc import IntegrityError

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Actor, Database
from tagger.database.enums import Role
from tagger.database.tables import users
from tagger.errors import TaggerError
from tagger.people.sessions import Origin, start_identity_session
from tagger.people.tokens import NameTaken
from tagger.people.users import (
    User,
    change_role,
    check_subject,
    end_sessions,
    insert_user,
    is_valid_name,
    lock_user,
    normalize_name,
    user_of,
)

MAX_ID_TOKEN = 4096
"""The longest ID token that is kept, in characters. It is sent in an address to sign the person out."""


class SignInFailed(TaggerError):
    """Signing in failed. Sign in again."""


class IdentityUnknown(SignInFailed):
    """{issuer} has signed you in, but you have no access to this page. Ask an admin of this page to add you. They need your subject: {subject}"""


class IdentityNameTaken(SignInFailed):
    """{issuer} has signed you in as {name}, but {name} is somebody else here, or yourself with a password. Ask an admin of this page to link you. They need your subject: {subject}"""


@dataclass(frozen=True)
class Identity:
    """A person whom the provider has signed in. `names`: what the provider calls them, best first. `role`: None if the provider gives
    none. `id_token`: the token that says so; None if signing out does not need it.
    """

    issuer: str
    subject: str
    names: tuple[str, ...] = ()
    role: Role | None = None
    id_token: str | None = field(default=None, repr=False, compare=False)


def sign_in_identity(database: Database, identity: Identity, new_role: Role | None, origin: Origin) -> str:
    """Start a session for the person and return the value of the cookie. `new_role`: the role of people who are not known yet; None: they
    have no access.

    Raises:
        IdentityUnknown, IdentityNameTaken: the person has no access.
    """
    user = _find(database, identity) or _add(database, identity, identity.role or new_role, origin)
    if identity.role not in {None, user.role}:
        with database.acting_as(_actor(user.name, origin)).write() as connection:
            row = _lock(connection, user)
            if row is None:
                raise IdentityUnknown(issuer=identity.issuer, subject=identity.subject)
            change_role(connection, row, identity.role or user.role)  # ends the sessions with the former role
    id_token = identity.id_token
    if id_token is not None and len(id_token) > MAX_ID_TOKEN:
        id_token = ""
    session = start_identity_session(database, user, identity.issuer, identity.subject, origin, id_token)
    if session is None:  # removed or linked to another subject in the meantime
        raise IdentityUnknown(issuer=identity.issuer, subject=identity.subject)
    return session


def withdraw_role(database: Database, identity: Identity, origin: Origin) -> None:
    """End the sessions of a person whom the provider no longer gives a role, and make them a viewer. Unknown identities are ignored."""
    user = _find(database, identity)
    if user is None:
        return
    with database.acting_as(_actor(user.name, origin)).write() as connection:
        row = _lock(connection, user)
        if row is None:  # removed or linked to another subject in the meantime
            return
        if row.role != Role.VIEWER:
            change_role(connection, row, Role.VIEWER)
        end_sessions(connection, row.id)


def link_user(database: Database, name: str, issuer: str, subject: str) -> int:
    """Let a person sign in at the provider as this subject only. Ends their sessions and returns their number.

    Raises:
        NameNotFound: there is no such person.
        SubjectInvalid, SubjectTaken: the subject cannot be linked.
    """
    with database.write() as connection:
        row = lock_user(connection, name)
        check_subject(connection, issuer, subject, row.id)
        return _set_identity(connection, AuditAction.USER_LINK, row, issuer, subject)


def unlink_user(database: Database, name: str) -> int:
    """Remove a person's link to a provider. Ends their sessions and returns their number.

    Raises:
        NameNotFound: there is no such person.
    """
    with database.write() as connection:
        return _set_identity(connection, AuditAction.USER_UNLINK, lock_user(connection, name), None, None)


def _set_identity(
    connection: Connection, action: AuditAction, row: Row[Any], issuer: str | None, subject: str | None
) -> int:
    values = {"issuer": issuer, "subject": subject}
    connection.execute(update(users).where(users.c.id == row.id).values(values))
    count = end_sessions(connection, row.id)
    record_action(
        connection,
        action,
        row.name,
        issuer=issuer or row.issuer,
        identity=subject or row.subject,
        sessions=count,
    )
    return count


def _lock(connection: Connection, user: User) -> Row[Any] | None:
    """Lock the row of this person; None if the person is gone or has another identity now."""
    is_same = (
        users.c.id == user.id,
        users.c.name == user.name,
        users.c.issuer == user.issuer,
        users.c.subject == user.subject,
    )
    return connection.execute(select(users).where(*is_same).with_for_update()).one_or_none()


def _find(database: Database, identity: Identity) -> User | None:
    query = select(users).where(users.c.issuer == identity.issuer, users.c.subject == identity.subject)
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    return None if row is None else user_of(row)


def _add(database: Database, identity: Identity, role: Role | None, origin: Origin) -> User:
    """Add the person under the first valid name. If another person or token has that name, the sign-in is refused."""
    valid = (name for name in map(normalize_name, identity.names) if is_valid_name(name))
    name = next(valid, None)
    if role is None or name is None:
        raise IdentityUnknown(issuer=identity.issuer, subject=identity.subject)
    try:
        with database.acting_as(_actor(name, origin)).write() as connection:
            issuer, subject = identity.issuer, identity.subject
            return insert_user(
                connection, name, role, None, issuer=issuer, subject=subject, by_themselves=True
            )
    except (IntegrityError, NameTaken):
        user = _find(database, identity)  # another request may have just added them
        if user is None:
            raise IdentityNameTaken(issuer=identity.issuer, subject=identity.subject, name=name) from None
        return user


def _actor(name: str, origin: Origin) -> Actor:
    return Actor(f"web {name}", origin.address, is_person=True)
