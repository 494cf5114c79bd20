"""Signing in, and the sessions of browsers, stored under the hash of a random id, for all processes.

People sign in with a name and a password, or by the name that a reverse proxy sends for people whom it has
signed in. A session is valid while it has a row: signing out deletes it, and revoking its token or removing
its person deletes all of theirs. Lists of open sessions say whose each is and where it began, and can end it.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import ColumnElement, Connection, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from tagger.database.actors import Actor
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.statements import insert_missing
from tagger.database.tables import access_tokens, page_sessions, users
from tagger.people.passwords import count_attempt, forget_attempts, hash_password, is_right
from tagger.people.tokens import (
    SETTINGS_TOKEN,
    USE_RECORDED_S,
    Grant,
    NameExists,
    find_token,
    revoke_shares_of,
    token_digest,
    token_role,
)
from tagger.people.users import (
    User,
    find_user_by_name,
    insert_user,
    is_valid_name,
    normalize_name,
    user_of,
)
from tagger.texts.documents import document_of


@dataclass(frozen=True)
class OpenSession:
    """A browser that is signed in. `name`: the person or token. None: `network` or `browser` is not known."""

    id: int
    name: str
    network: str | None
    browser: str | None
    created_at: datetime
    last_used_at: datetime


_OWNED = page_sessions.outerjoin(access_tokens, access_tokens.c.id == page_sessions.c.token_id).outerjoin(
    users, users.c.id == page_sessions.c.user_id
)
_OWNER = func.coalesce(access_tokens.c.name, users.c.name, SETTINGS_TOKEN).label("name")


def list_sessions(database: Database, user_id: int | None = None) -> Sequence[OpenSession]:
    """The open sessions of a person, or of everybody; those that were used last first."""
    query = (
        select(_OWNER, page_sessions)
        .select_from(_OWNED)
        .where(page_sessions.c.expires_at > datetime.now(UTC))
        .order_by(page_sessions.c.last_used_at.desc(), page_sessions.c.id.desc())
    )
    if user_id is not None:
        query = query.where(page_sessions.c.user_id == user_id)
    with database.read() as connection:
        return [document_of(OpenSession, row) for row in connection.execute(query)]


def end_open_session(database: Database, session_id: int, user_id: int | None = None) -> bool:
    """End a session; with `user_id`, only one of that person. Returns whether there was one."""
    of_person = () if user_id is None else (page_sessions.c.user_id == user_id,)
    with database.write() as connection:
        owner = connection.scalar(select(_OWNER).select_from(_OWNED).where(page_sessions.c.id == session_id))
        ended = connection.execute(delete(page_sessions).where(page_sessions.c.id == session_id, *of_person))
        if ended.rowcount:
            record_action(connection, AuditAction.SESSION_END, owner)
    return bool(ended.rowcount)


SESSION_S = 7 * 24 * 3600
_ID_LENGTH = 43


@dataclass(frozen=True)
class Origin:
    """Where a sign-in comes from. `network`: the address; for IPv6, its /64 network. `browser`: its name."""

    address: str | None = None
    network: str | None = None
    browser: str | None = None


def token_grant(database: Database, secret: str, settings_token: str) -> Grant | None:
    """The grant of this token; None if it is not valid. The token of the settings needs no database."""
    if hmac.compare_digest(secret.encode(errors="replace"), settings_token.encode()):
        return Grant(SETTINGS_TOKEN, Role.ADMIN)
    token = find_token(database, secret)
    if token is None:
        return None
    return Grant(token.name, token_role(token.read_only), token.id, last_used_at=token.last_used_at)


def adopt_settings_token(database: Database, secret: str, *, keep_shares: bool = False) -> Sequence[int]:
    """Revoke the shares that were made with another token of the settings; returns their ids.

    Its sessions need no change: they end with it, see `_digest`.
    """
    is_settings_token = access_tokens.c.name == SETTINGS_TOKEN
    values = {"digest": hash_password(secret), "read_only": False, "created_at": datetime.now(UTC)}
    with database.write() as connection:
        insert_missing(connection, access_tokens, [{"name": SETTINGS_TOKEN, **values}])
        stored = connection.scalar(select(access_tokens.c.digest).where(is_settings_token).with_for_update())
        if is_right(secret, stored):
            return []
        connection.execute(update(access_tokens).where(is_settings_token).values(values))
        revoked = [] if keep_shares else revoke_shares_of(connection, SETTINGS_TOKEN)
        record_action(connection, AuditAction.TOKEN_REVOKE, SETTINGS_TOKEN, shares=revoked)
    return revoked


def start_session(
    database: Database,
    secret: str,
    settings_token: str,
    origin: Origin = Origin(),
) -> str | None:
    """Start a session for this token. Returns the value of the cookie; None if the token is not valid."""
    grant = token_grant(database, secret, settings_token)
    if grant is None:
        return None
    with database.acting_as(Actor(f"web {grant.name}", origin.address)).write() as connection:
        latest = None
        if grant.token_id is not None and (latest := _lock_token(connection, grant.token_id)) is None:
            return None
        key = settings_token if grant.token_id is None else None
        session = _insert_session(connection, origin, key, latest, token_id=grant.token_id)
        record_action(connection, AuditAction.SIGN_IN, grant.name, read_only=not grant.may_change)
    return session


def _start_session_of(
    database: Database,
    user: User,
    is_unchanged: ColumnElement[bool],
    origin: Origin,
) -> str | None:
    """Start a session for a person; None if the person is gone, or not `is_unchanged`."""
    with database.acting_as(Actor(f"web {user.name}", origin.address)).write() as connection:
        query = select(users.c.role).where(users.c.id == user.id, is_unchanged).with_for_update()
        role = connection.scalar(query)
        if role is None:
            return None
        connection.execute(update(users).where(users.c.id == user.id).values(last_used_at=datetime.now(UTC)))
        session = _insert_session(connection, origin, user_id=user.id)
        record_action(connection, AuditAction.SIGN_IN, user.name, role=role)
    return session


def session_grant(database: Database, session: str, settings_token: str) -> Grant | None:
    """The grant of the session with this cookie; None if it is not valid."""
    if len(session) != _ID_LENGTH:
        return None
    now = datetime.now(UTC)
    of_settings, of_token = _digest(session, settings_token), _digest(session, None)
    query = (
        select(
            page_sessions,
            func.coalesce(access_tokens.c.name, users.c.name).label("name"),
            access_tokens.c.read_only,
            users.c.role,
        )
        .select_from(_OWNED)
        .where(page_sessions.c.digest.in_((of_settings, of_token)), page_sessions.c.expires_at > now)
    )
    with database.read() as connection:
        row = connection.execute(query).one_or_none()
    if row is None or not hmac.compare_digest(row.digest, of_settings if row.name is None else of_token):
        return None
    if row.name is None:
        return Grant(SETTINGS_TOKEN, Role.ADMIN, session_id=row.id, last_used_at=row.last_used_at)
    role = token_role(row.read_only) if row.user_id is None else Role(row.role)
    return Grant(row.name, role, row.token_id, row.user_id, row.id, row.last_used_at)


def end_session(database: Database, grant: Grant) -> None:
    """End the session, in every browser that has its cookie."""
    with database.write() as connection:
        of_grant = page_sessions.c.id == grant.session_id
        if connection.execute(delete(page_sessions).where(of_grant)).rowcount:
            record_action(connection, AuditAction.SIGN_OUT, grant.name)


def record_use(database: Database, grant: Grant) -> None:
    """Record the time of the last use, unless another process has just done so."""
    now = datetime.now(UTC)
    long_ago = now - timedelta(seconds=USE_RECORDED_S)
    with database.write() as connection:
        # The token or user is locked before its sessions, as everywhere: no deadlocks.
        rows = ((access_tokens, grant.token_id), (users, grant.user_id), (page_sessions, grant.session_id))
        for table, row_id in rows:
            if row_id is not None:
                is_old = or_(table.c.last_used_at.is_(None), table.c.last_used_at < long_ago)
                connection.execute(update(table).where(table.c.id == row_id, is_old).values(last_used_at=now))


def _lock_token(connection: Connection, token_id: int) -> datetime | None:
    """Lock the token and return the time until which it is valid; None if it was revoked in the meantime."""
    query = select(access_tokens).where(access_tokens.c.id == token_id).with_for_update(read=True)
    row = connection.execute(query).one_or_none()
    return None if row is None else row.expires_at or datetime.max.replace(tzinfo=UTC)


def _insert_session(
    connection: Connection,
    origin: Origin,
    settings_token: str | None = None,
    latest: datetime | None = None,
    *,
    token_id: int | None = None,
    user_id: int | None = None,
) -> str:
    """Insert a session that ends at the `latest` time, and return the value of its cookie."""
    session, now = secrets.token_urlsafe(32), datetime.now(UTC)
    connection.execute(delete(page_sessions).where(page_sessions.c.expires_at <= now))
    expires_at = now + timedelta(seconds=SESSION_S)
    values = {
        "digest": _digest(session, settings_token),
        "token_id": token_id,
        "user_id": user_id,
        "network": origin.network,
        "browser": origin.browser,
        "created_at": now,
        "last_used_at": now,
        "expires_at": expires_at if latest is None else min(expires_at, latest),
    }
    connection.execute(insert(page_sessions).values(values))
    return session


def _digest(session: str, settings_token: str | None) -> str:
    """The stored hash. With the token of the settings as its key, a session ends when that token changes.

    The hash tells nothing about the token, which may be short: the session id is random and not stored.
    """
    if settings_token is None:
        return token_digest(session)
    return hmac.new(settings_token.encode(), session.encode(errors="replace"), hashlib.sha256).hexdigest()


def sign_in_user(database: Database, name: str, password: str, origin: Origin) -> str | None:
    """Start a session for a person; returns the value of the cookie, or None if name or password is wrong.

    An unknown name takes as long as a known one, and counts against the same limits.

    Raises:
        AttemptsUsedUp: there were too many wrong passwords. This one is not checked.
    """
    checked = check_user(database, name, password, origin.network or "")
    if checked is None:
        return None
    user, password_hash = checked
    # None if the person was removed or got another password in the meantime.
    return _start_session_of(database, user, users.c.password_hash == password_hash, origin)


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
    with database.write() as connection:
        forget_attempts(connection, name, network)
    return user_of(row), stored


def proxied_grant(database: Database, name: str, new_role: Role | None) -> Grant | None:
    """The grant of the person with this name. An unknown one is added with `new_role`, if it is not None."""
    name = normalize_name(name)
    if not is_valid_name(name):
        return None
    user = find_user_by_name(database, name) or _add(database, name, new_role)
    return (
        None if user is None else Grant(user.name, user.role, user_id=user.id, last_used_at=user.last_used_at)
    )


def _add(database: Database, name: str, role: Role | None) -> User | None:
    if role is None:
        return None
    try:
        with database.write() as connection:
            return insert_user(connection, name, role, None, by_themselves=True)
    except IntegrityError:  # another request has just added them
        return find_user_by_name(database, name)
    except NameExists:
        return None
