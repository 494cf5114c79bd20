"""People who sign in to the page by name. Changes of password or role, and removal, end their sessions."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from sqlalchemy import Connection, Row, delete, exists, insert, or_, select, update

from tagger.database.actors import act_as, actor_of
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.tables import access_tokens, page_sessions, users
from tagger.errors import NameNotFound
from tagger.people.passwords import check_password, forget_attempts, hash_password
from tagger.people.tokens import (
    SETTINGS_TOKEN,
    EndedAccess,
    NameExists,
    NameInvalid,
    require_access,
    revoke_shares_of,
)
from tagger.texts.documents import document_of

_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


@dataclass(frozen=True)
class User:
    """A person, without the hash of the password. `last_used_at` None: they never used the page."""

    id: int
    name: str
    role: Role
    has_password: bool
    created_at: datetime
    last_used_at: datetime | None


def add_user(database: Database, name: str, role: Role, password: str | None) -> User:
    """Add a person. Without a password, they sign in at a reverse proxy only.

    Raises:
        NameInvalid, NameExists: the name cannot be used.
        PasswordRefused: the password is too weak.
        AccessEnded: who adds the person is no admin any more.
    """
    if not is_valid_name(normalize_name(name)):
        allowed = "128 letters, digits, dots, hyphens, underscores, + and @"
        raise NameInvalid(name=repr(name), kind="user", allowed=allowed)
    name = normalize_name(name)
    password_hash = None if password is None else _checked_hash(password, name)
    with database.write() as connection:
        require_access(connection, Role.ADMIN)
        if connection.scalar(select(users.c.id).where(users.c.name == name)) is not None:
            raise NameExists(kind="user", name=name)
        return insert_user(connection, name, role, password_hash)


def insert_user(
    connection: Connection,
    name: str,
    role: Role,
    password_hash: str | None,
    *,
    by_themselves: bool = False,
) -> User:
    """Insert a person whose name is valid and free. `by_themselves`: at their first sign-in.

    Raises:
        NameExists: there is a token of this name.
    """
    if connection.scalar(select(access_tokens.c.id).where(access_tokens.c.name == name)) is not None:
        raise NameExists(kind="token", name=name)
    values = {
        "name": name,
        "role": role,
        "password_hash": password_hash,
        "created_at": datetime.now(UTC),
    }
    row = connection.execute(insert(users).values(values).returning(users)).one()
    user = user_of(row)
    if by_themselves:
        act_as(connection, replace(actor_of(connection), name=f"web {name}", is_person=True))
    record_action(connection, AuditAction.USER_ADD, name, role=role)
    return user


def has_users(database: Database) -> bool:
    with database.read() as connection:
        return bool(connection.scalar(select(exists().select_from(users))))


def has_passwords(database: Database) -> bool:
    """Whether any person signs in with a name and a password."""
    with database.read() as connection:
        query = exists().where(users.c.password_hash.is_not(None))
        return bool(connection.scalar(select(query)))


def find_user(database: Database, user_id: int) -> User | None:
    with database.read() as connection:
        row = connection.execute(select(users).where(users.c.id == user_id)).one_or_none()
    return None if row is None else user_of(row)


def find_user_by_name(database: Database, name: str) -> User | None:
    with database.read() as connection:
        row = connection.execute(select(users).where(users.c.name == normalize_name(name))).one_or_none()
    return None if row is None else user_of(row)


def list_users(database: Database) -> Sequence[User]:
    """All people by name."""
    with database.read() as connection:
        return [user_of(row) for row in connection.execute(select(users).order_by(users.c.name))]


def remove_user(database: Database, name: str, *, keep_shares: bool = False) -> EndedAccess:
    """Remove a person, which ends their sessions and shares. Records of what they did keep their name.

    Raises:
        NameNotFound: there is no such person.
    """
    with database.write() as connection:
        row = lock_user(connection, name)
        ended = EndedAccess(
            end_sessions(connection, row.id), [] if keep_shares else revoke_shares_of(connection, row.name)
        )
        connection.execute(delete(users).where(users.c.id == row.id))
        forget_attempts(connection, row.name)
        record_action(
            connection,
            AuditAction.USER_REMOVE,
            row.name,
            sessions=ended.sessions,
            shares=list(ended.shares),
        )
    return ended


def set_password(database: Database, name: str, password: str, *, kept_session: int | None = None) -> int:
    """Give a person a new password. This ends their sessions except `kept_session`; returns how many.

    Raises:
        NameNotFound: there is no such person.
        PasswordRefused: the password is too weak.
    """
    password_hash = _checked_hash(password, normalize_name(name))
    with database.write() as connection:
        row = lock_user(connection, name)
        connection.execute(update(users).where(users.c.id == row.id).values(password_hash=password_hash))
        count = end_sessions(connection, row.id, kept_session)
        forget_attempts(connection, row.name)
        record_action(connection, AuditAction.USER_PASSWORD, row.name, sessions=count)
    return count


def set_role(database: Database, name: str, role: Role, *, keep_shares: bool = False) -> EndedAccess:
    """Give a person another role, which ends their sessions, and the shares of a new viewer.

    Raises:
        NameNotFound: there is no such person.
    """
    with database.write() as connection:
        return change_role(connection, lock_user(connection, name), role, keep_shares=keep_shares)


def change_role(
    connection: Connection, row: Row[tuple[object, ...]], role: Role, *, keep_shares: bool = False
) -> EndedAccess:
    """As `set_role`, for a person whose row is locked."""
    connection.execute(update(users).where(users.c.id == row.id).values(role=role))
    may_share = keep_shares or role is not Role.VIEWER
    ended = EndedAccess(
        end_sessions(connection, row.id), [] if may_share else revoke_shares_of(connection, row.name)
    )
    record_action(
        connection,
        AuditAction.USER_ROLE,
        row.name,
        role=role,
        before=row.role,
        sessions=ended.sessions,
        shares=list(ended.shares),
    )
    return ended


def end_sessions(connection: Connection, user_id: int, kept_session: int | None = None) -> int:
    """End the person's sessions, except one."""
    conditions = [page_sessions.c.user_id == user_id]
    if kept_session is not None:
        conditions.append(page_sessions.c.id != kept_session)
    return connection.execute(delete(page_sessions).where(*conditions)).rowcount


def is_valid_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and name != SETTINGS_TOKEN.lower()


def normalize_name(name: str) -> str:
    """The name as it is stored: `Ada` and `ada` are the same person."""
    return name.strip().lower()


def user_of(row: Row[tuple[object, ...]]) -> User:
    return document_of(User, row, role=Role(row.role), has_password=row.password_hash is not None)


def _checked_hash(password: str, name: str) -> str:
    check_password(password, name)
    return hash_password(password)


def lock_user(connection: Connection, name: str) -> Row[tuple[object, ...]]:
    """Lock the row of a person until the end of the transaction, and that of the admin who changes it.

    Raises:
        NameNotFound: there is no such person.
        AccessEnded: another person changes it, who is no admin any more.
    """
    actor = actor_of(connection)
    own_id = actor.access_id if actor.is_person else None
    is_locked = or_(users.c.name == normalize_name(name), users.c.id == own_id)
    # In one order: two admins may change each other at the same moment.
    rows = connection.execute(select(users).where(is_locked).order_by(users.c.id).with_for_update()).all()
    row = next((each for each in rows if each.name == normalize_name(name)), None)
    if row is None or row.id != own_id:
        require_access(connection, Role.ADMIN)
    if row is None:
        names = connection.scalars(select(users.c.name).order_by(users.c.name)).all()
        raise NameNotFound(kind="user", name=name, known=f"The users are: {', '.join(names) or 'none'}")
    return row
