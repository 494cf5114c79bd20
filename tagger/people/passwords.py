"""Passwords of people: hashed with argon2id, and limits of wrong ones.

A hash takes time and 64 MB on purpose: stolen hashes are slow to guess. The attempts are counted in the
database, so that all servers of the page share the limits. An attempt is counted before its password is
checked, and removed if it was right: many at once cannot exceed a limit. Nobody can lock out another person
for ever: attempts from elsewhere do not affect a network where that person has a session.
"""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, delete, exists, func, insert, select

from tagger.database.connection import Database
from tagger.database.tables import page_sessions, sign_in_attempts, users
from tagger.errors import PicklableError, TaggerError
from tagger.extensions import extra_missing
from tagger.people.tokens import token_digest
from tagger.texts.text_format import gettext

if TYPE_CHECKING:
    from argon2 import PasswordHasher

MIN_LENGTH = 10
MAX_LENGTH = 200
MAX_REMOVED = 1000
"""Old attempts that are removed with each new one."""


class PasswordRefused(TaggerError):
    """The password cannot be used: {reason}. Choose another one."""


def check_password(password: str, name: str) -> None:
    """Raises:
    PasswordRefused: it is too short or long, or consists of the person's name.
    """
    if len(password) < MIN_LENGTH:
        raise PasswordRefused(reason=f"it has fewer than {MIN_LENGTH} characters")
    if len(password) > MAX_LENGTH:
        raise PasswordRefused(reason=f"it has more than {MAX_LENGTH} characters")
    if len(set(password)) < MIN_LENGTH // 2 or password.casefold().strip("0123456789") == name:
        raise PasswordRefused(reason="it is easy to guess")


def generate_password() -> str:
    """A random password of 120 bits."""
    return secrets.token_urlsafe(15)


def hash_password(password: str) -> str:
    return _hasher().hash(_bytes(password))


def is_right(password: str, stored: str | None) -> bool:
    """Whether the password has this hash. None takes as long, so that no time tells who has an account."""
    from argon2.exceptions import Argon2Error, InvalidHashError

    nobody = _hash_of_nobody()  # made for known names as well: making it takes time in the first call
    try:
        return _hasher().verify(stored or nobody, _bytes(password)) and stored is not None
    except (Argon2Error, InvalidHashError):
        return False


@cache
def _hasher() -> PasswordHasher:
    try:
        from argon2 import PasswordHasher
    except ImportError as error:
        raise extra_missing("A password", "web") from error
    return PasswordHasher()


@cache
def _hash_of_nobody() -> str:
    return hash_password(generate_password())


def _bytes(password: str) -> bytes:
    """The bytes of the password in one Unicode form: keyboards compose a character in different ways."""
    return unicodedata.normalize("NFKC", password).encode(errors="surrogatepass")


@dataclass(frozen=True)
class AttemptLimit:
    """At most `most` attempts within `window_s`."""

    most: int
    window_s: int


OF_PAIR = AttemptLimit(5, 300)
"""The limit for one account from one network."""
OF_NETWORK = AttemptLimit(20, 300)
"""The limit for one network and all accounts: somebody may try one password for many names."""
OF_ACCOUNT = AttemptLimit(100, 3600)
"""The limit for one account from all networks in which the person has no session."""


class AttemptsUsedUp(PicklableError):
    """Somebody has used up the attempts."""

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(gettext("Too many wrong passwords. Wait and try again."))


def count_attempt(database: Database, name: str, network: str) -> None:
    """Count an attempt to sign in as `name`.

    Raises:
        AttemptsUsedUp: the account or the network has used up its attempts. This attempt is not counted.
    """
    account, now = token_digest(name), datetime.now(UTC)
    with database.write() as connection:
        # The account is locked before the network, everywhere, so that transactions cannot deadlock.
        _lock(connection, account)
        _lock(connection, token_digest(network))
        _remove_old(connection, now)
        of_account = sign_in_attempts.c.account == account
        of_network = sign_in_attempts.c.network == network
        _check(connection, OF_PAIR, (of_account, of_network), now)
        _check(connection, OF_NETWORK, (of_network,), now)
        has_session = exists().where(
            users.c.name == name, page_sessions.c.user_id == users.c.id, page_sessions.c.network == network
        )
        if not connection.scalar(select(has_session)):
            _check(connection, OF_ACCOUNT, (of_account,), now)
        values = {"account": account, "network": network, "at": now}
        connection.execute(insert(sign_in_attempts).values(values))


def forget_attempts(connection: Connection, name: str, network: str | None = None) -> None:
    """Forget the attempts for an account: with `network`, those from there; else all."""
    conditions = [sign_in_attempts.c.account == token_digest(name)]
    if network is not None:
        conditions.append(sign_in_attempts.c.network == network)
    connection.execute(delete(sign_in_attempts).where(*conditions))


def _check(
    connection: Connection, limit: AttemptLimit, conditions: Sequence[ColumnElement[bool]], now: datetime
) -> None:
    window = timedelta(seconds=limit.window_s)
    query = (
        select(sign_in_attempts.c.at)
        .where(*conditions, sign_in_attempts.c.at > now - window)
        .order_by(sign_in_attempts.c.at.desc())
        .limit(limit.most)
    )
    times = connection.scalars(query).all()
    if len(times) == limit.most:
        raise AttemptsUsedUp(max(1, round((times[-1] + window - now).total_seconds())))


def _lock(connection: Connection, digest: str) -> None:
    """Let one transaction at a time count; SQLite has only one writer anyway."""
    if connection.dialect.name == "postgresql":
        key = int.from_bytes(bytes.fromhex(digest)[:8], signed=True)
        connection.execute(select(func.pg_advisory_xact_lock(key)))


def _remove_old(connection: Connection, now: datetime) -> None:
    longest = timedelta(seconds=max(limit.window_s for limit in (OF_PAIR, OF_NETWORK, OF_ACCOUNT)))
    is_old = sign_in_attempts.c.at <= now - longest
    old = select(sign_in_attempts.c.id).where(is_old).limit(MAX_REMOVED).with_for_update(skip_locked=True)
    connection.execute(delete(sign_in_attempts).where(sign_in_attempts.c.id.in_(old)))
