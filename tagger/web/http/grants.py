"""What requests may do: by a token, by a cookie that stands for one, or by the name that a proxy sends.

Nothing of this is stored. A cookie carries its end and a signature, whose key follows from the token: a new
token ends all cookies of the old one.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

SESSION_S = 7 * 24 * 3600
_COOKIE = re.compile(r"(\d{10})\.([0-9a-f]{64})")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,127}")


class Role(StrEnum):
    """What somebody may do on the page. Each role may do what those before it may."""

    VIEWER = "viewer"
    EDITOR = "editor"
    ADMIN = "admin"


@dataclass(frozen=True)
class Grant:
    """What a request may do. `name`: the token or person, as in the audit log."""

    name: str
    role: Role

    @property
    def may_change(self) -> bool:
        """Whether the request may change tags, verdicts and other facts of photos."""
        return self.role is not Role.VIEWER


class TokenGrants:
    """The grants of the tokens in the settings, and of cookies that stand for them.

    `purpose` tells cookies of this library from those of others with the same token.
    """

    def __init__(self, token: str, view_token: str | None, purpose: str) -> None:
        grants = [(token, Grant("TAGGER_WEB_TOKEN", Role.ADMIN))]
        if view_token is not None:
            grants.append((view_token, Grant("TAGGER_WEB_VIEW_TOKEN", Role.VIEWER)))
        self._tokens = [(secret.encode(), _cookie_key(secret, purpose), grant) for secret, grant in grants]

    def of_token(self, secret: str) -> Grant | None:
        """The grant of a token; None if it is none of the settings."""
        for token, _, grant in self._tokens:
            if hmac.compare_digest(secret.encode(errors="replace"), token):
                return grant
        return None

    def of_cookie(self, cookie: str) -> Grant | None:
        """The grant of a cookie; None if it has ended, or its token is none of the settings any more."""
        match = _COOKIE.fullmatch(cookie)
        if match is None or int(match[1]) <= time.time():
            return None
        for _, key, grant in self._tokens:
            if hmac.compare_digest(match[2], _signature(key, match[1])):
                return grant
        return None

    def cookie_of(self, grant: Grant) -> str:
        """A cookie that stands for the token of this grant for SESSION_S."""
        end = str(int(time.time()) + SESSION_S)
        keys = {each: key for _, key, each in self._tokens}
        return f"{end}.{_signature(keys[grant], end)}"


def _cookie_key(secret: str, purpose: str) -> bytes:
    # Slow on purpose (50 ms, once for each start): a token may be short, and who has a cookie could guess it.
    return hashlib.scrypt(secret.encode(), salt=purpose.encode(), n=2**14, r=8, p=1, dklen=32)


def _signature(key: bytes, end: str) -> str:
    return hmac.new(key, end.encode(), hashlib.sha256).hexdigest()


def proxied_grant(name: str, role: Role | None, editors: Collection[str]) -> Grant | None:
    """The grant of a person whom a proxy has signed in; None: they have no access.

    `role`: of people who are not among `editors`. Case does not matter in names.
    """
    name = name.strip().lower()
    if not _NAME.fullmatch(name):
        return None
    if name in {each.strip().lower() for each in editors}:
        return Grant(name, Role.EDITOR)
    return None if role is None else Grant(name, role)
