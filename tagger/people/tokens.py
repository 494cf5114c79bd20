"""Named access tokens, and the grants of requests: who sends them, and what that role may do.

The database stores only the SHA-256 of a token, which is safe for random texts of 256 bits.
`TAGGER_WEB_TOKEN` is no such text: a row of its name has its argon2id hash, by which a change of it is
noticed (see sessions).
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, delete, insert, or_, select, update

from tagger.database.actors import actor_of
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.tables import access_tokens, page_sessions, shares, users
from tagger.errors import InputInvalid, NameNotFound, TaggerError
from tagger.texts.documents import document_of

SETTINGS_TOKEN = "TAGGER_WEB_TOKEN"  # noqa: S105 - a name
"""The name of the token in the settings."""

_PREFIX = "tagger_"
"""Programs that search files for secrets recognise a token by it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


USE_RECORDED_S = 60
"""The least time between two records of the last use."""


@dataclass(frozen=True)
class Grant:
    """What a request may do. `name`: the token or person, as in the audit log.

    `token_id` is None for a person and for the token of the settings, `session_id` without a session.
    """

    name: str
    role: Role
    token_id: int | None = None
    user_id: int | None = None
    session_id: int | None = None
    last_used_at: datetime | None = None

    @property
    def may_change(self) -> bool:
        """Whether the request may change tags, verdicts and other facts of photos."""
        return self.role is not Role.VIEWER

    @property
    def needs_record(self) -> bool:
        """Whether the last use in the database is so old that it has to be recorded again."""
        if (self.token_id, self.user_id, self.session_id) == (None, None, None):
            return False
        return self.last_used_at is None or self.last_used_at < datetime.now(UTC) - timedelta(
            seconds=USE_RECORDED_S
        )


class NameInvalid(InputInvalid):
    """{name} cannot be the name of a {kind}. Use up to {allowed}."""


class NameExists(TaggerError):
    """There is already a {kind} {name}, and the audit log would not tell them apart. Choose another name."""


class AccessEnded(TaggerError):
    """Your access has ended since this was sent, and nothing was changed. Sign in again."""


@dataclass(frozen=True)
class AccessToken:
    """A token without its secret. `expires_at` None: it never expires; `last_used_at` None: never used."""

    id: int
    name: str
    read_only: bool
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


_NAMED = select(access_tokens).where(access_tokens.c.name != SETTINGS_TOKEN)


def add_token(
    database: Database, name: str, *, read_only: bool = False, expires_at: datetime | None = None
) -> tuple[AccessToken, str]:
    """Add a token; returns it with its secret, which cannot be read again.

    Raises:
        NameInvalid, NameExists: the name cannot be used.
    """
    if not _NAME.fullmatch(name) or name == SETTINGS_TOKEN:
        allowed = "64 letters, digits, dots, hyphens and underscores"
        raise NameInvalid(name=repr(name), kind="token", allowed=allowed)
    secret = _PREFIX + secrets.token_urlsafe(32)
    values: dict[str, object] = {
        "name": name,
        "digest": token_digest(secret),
        "read_only": read_only,
        "created_at": datetime.now(UTC),
        "expires_at": expires_at,
    }
    with database.write() as connection:
        if connection.scalar(select(access_tokens.c.id).where(access_tokens.c.name == name)) is not None:
            raise NameExists(kind="token", name=name)
        if connection.scalar(select(users.c.id).where(users.c.name == name)) is not None:
            raise NameExists(kind="user", name=name)
        row = connection.execute(insert(access_tokens).values(values).returning(access_tokens)).one()
        token = document_of(AccessToken, row)
        expires = None if expires_at is None else expires_at.isoformat()
        record_action(connection, AuditAction.TOKEN_ADD, name, read_only=read_only, expires_at=expires)
    return token, secret


def list_tokens(database: Database) -> Sequence[AccessToken]:
    """All tokens by name, also expired ones."""
    with database.read() as connection:
        rows = connection.execute(_NAMED.order_by(access_tokens.c.name))
        return [document_of(AccessToken, row) for row in rows]


@dataclass(frozen=True)
class EndedAccess:
    """The number of sessions that were ended, and the ids of shares that were revoked."""

    sessions: int
    shares: Sequence[int] = ()


def revoke_token(database: Database, name: str, *, keep_shares: bool = False) -> EndedAccess:
    """Delete a token, which ends its sessions and revokes its shares.

    Raises:
        NameNotFound: there is no such token.
    """
    with database.write() as connection:
        row = connection.execute(_NAMED.where(access_tokens.c.name == name).with_for_update()).one_or_none()
        if row is None:
            names = [each.name for each in connection.execute(_NAMED.order_by(access_tokens.c.name))]
            known = f"The tokens are: {', '.join(names) or 'none'}"
            raise NameNotFound(kind="token", name=name, known=known)
        of_token = page_sessions.c.token_id == row.id
        sessions = connection.execute(delete(page_sessions).where(of_token)).rowcount
        ended = EndedAccess(sessions, [] if keep_shares else revoke_shares_of(connection, name))
        connection.execute(delete(access_tokens).where(access_tokens.c.id == row.id))
        record_action(
            connection, AuditAction.TOKEN_REVOKE, name, sessions=sessions, shares=list(ended.shares)
        )
    return ended


def require_access(connection: Connection, *roles: Role) -> None:
    """Lock the token or person who makes changes on the page: nobody takes their access before the commit.

    Raises:
        AccessEnded: it was taken away since the request came, or the person has none of the roles any more.
    """
    actor = actor_of(connection)
    if actor.access_id is None:
        return
    table = users if actor.is_person else access_tokens
    query = select(table).where(table.c.id == actor.access_id).with_for_update()
    row = connection.execute(query).one_or_none()
    if row is None or (row.role if actor.is_person else token_role(row.read_only)) not in roles:
        raise AccessEnded


def revoke_shares_of(connection: Connection, name: str) -> list[int]:
    """Revoke the active shares that this person or token made on the page; returns their ids."""
    now = datetime.now(UTC)
    is_active = shares.c.revoked_at.is_(None), or_(shares.c.expires_at.is_(None), shares.c.expires_at > now)
    query = update(shares).where(shares.c.author == f"web {name}", *is_active).values(revoked_at=now)
    revoked = connection.execute(query.returning(shares.c.id, shares.c.name)).all()
    for share in revoked:
        record_action(connection, AuditAction.SHARE_REVOKE, share.name, share=share.id)
    return sorted(share.id for share in revoked)


def token_role(read_only: bool) -> Role:
    return Role.VIEWER if read_only else Role.EDITOR


def find_token(database: Database, secret: str) -> AccessToken | None:
    """The valid token with this secret."""
    digest = token_digest(secret)
    with database.read() as connection:
        row = connection.execute(select(access_tokens).where(access_tokens.c.digest == digest)).one_or_none()
    if row is None:  # looking up the hash reveals nothing about a token
        return None
    token = document_of(AccessToken, row)
    return None if token.is_expired(datetime.now(UTC)) else token


def token_digest(secret: str) -> str:
    return hashlib.sha256(secret.encode(errors="replace")).hexdigest()
