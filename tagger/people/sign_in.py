"""Signing in: with a name and a password, or by the name that a reverse proxy sends for people whom it has signed in."""

from sqlalchemy import Connection, select, update
from sqlalchemy.exc import IntegrityError

from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.tables import users
from tagger.people.grants import Grant
from tagger.people.passwords import count_attempt, forget_attempts, hash_password, is_outdated, is_right
from tagger.people.sessions import Origin, start_user_session
from tagger.people.users import (
    User,
    UserNameTaken,
    find_user_by_name,
    insert_user,
    is_valid_name,
    normalize_name,
    user_of,
)


def sign_in_user(database: Database, name: str, password: str, origin: Origin) -> str | None:
    """Start a session for a person; returns the value of the cookie, or None if the name or the password is wrong.

    An unknown name takes as long as a known one, and counts against the same limits.

    Raises:
        AttemptsUsedUp: there were too many wrong passwords. This one is not checked.
    """
    user = check_user(database, name, password, origin.network or "")
    if user is None:
        return None
    return start_user_session(database, *user, origin)


def check_user(database: Database, name: str, password: str, network: str) -> tuple[User, str] | None:
    """The person with this name and password, and the password's hash; None if one of them is wrong.

    Raises:
        AttemptsUsedUp: there were too many wrong passwords. This one is not checked.
    """
    name = normalize_name(name)
    count_attempt(database, name, network)
    with database.read() as connection:
        row = connection.execute(select(users).where(users.c.name == name)).one_or_none()
    stored: str | None = None if row is None else row.password_hash
    if not is_right(password, stored) or row is None or stored is None:
        return None
    renewed = hash_password(password) if is_outdated(stored) else stored
    current: str | None = renewed
    with database.write() as connection:
        forget_attempts(connection, name, network)
        if renewed != stored:
            current = _renew_hash(connection, row.id, stored, renewed)
    # Another sign-in at the same time may have renewed it, with another salt.
    if current is None or (current != renewed and not is_right(password, current)):
        return None
    return user_of(row), current


def _renew_hash(connection: Connection, user_id: int, stored: str, renewed: str) -> str | None:
    """Store the hash with the parameters of this version, if the hash in the database is still `stored`. Returns the hash that is then
    stored.
    """
    of_user = users.c.id == user_id
    unchanged = update(users).where(of_user, users.c.password_hash == stored)
    if connection.execute(unchanged.values(password_hash=renewed)).rowcount:
        return renewed
    current: str | None = connection.scalar(select(users.c.password_hash).where(of_user))
    return current


def proxied_grant(database: Database, name: str, new_role: Role | None) -> Grant | None:
    """The grant of the person with this name. An unknown person is added with `new_role`. None if that is None, or the name is invalid."""
    name = normalize_name(name)
    if not is_valid_name(name):
        return None
    user = find_user_by_name(database, name) or _add(database, name, new_role)
    return (
        None
        if user is None
        else Grant(user.recorded_name, user.role, user_id=user.id, last_used_at=user.last_used_at)
    )


def _add(database: Database, name: str, role: Role | None) -> User | None:
    if role is None:
        return None
    try:
        with database.write() as connection:
            return insert_user(connection, name, role, None, by_themselves=True)
    except IntegrityError:  # another request has just added them
        return find_user_by_name(database, name)
    except UserNameTaken:
        return None
