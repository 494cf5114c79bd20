"""People whom a reverse proxy has signed in, and names in a header. They need no password here."""

from sqlalchemy.exc import IntegrityError

from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.people.grants import Grant
from tagger.people.users import (
    User,
    UserNameTaken,
    find_user_by_name,
    insert_user,
    is_valid_name,
    normalize_name,
)


def proxied_grant(database: Database, name: str, new_role: Role | None) -> Grant | None:
    """What this person may do. A new person is added with `new_role`; None if that is None, or if the name cannot be used."""
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
