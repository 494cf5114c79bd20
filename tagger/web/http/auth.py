"""Who uses the page: its address and proxies, and the token, cookie or proxy that a request comes with.

Wrong tokens are logged, and limited by the address of their client.
"""

import logging
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request

from tagger.database.actors import Actor
from tagger.database.connection import Database
from tagger.texts.addresses import is_loopback
from tagger.texts.text_format import gettext
from tagger.web.http.forwarded import Client, Network, session_cookies
from tagger.web.http.grants import Grant, Role, TokenGrants, proxied_grant

log = logging.getLogger(__name__)

ANYBODY = "web"
"""The actor of requests without a token, where none is required."""


@dataclass(frozen=True)
class AccessPolicy:
    """A server's address, token and proxies. Without a token, only this machine has access.

    Raises:
        ValueError: other machines reach the address, and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    view_token: str | None = field(default=None, repr=False)
    """Who has it may look, and change nothing."""
    trusted_proxies: tuple[Network, ...] = ()
    """Reverse proxies whose X-Forwarded headers are believed."""
    user_header: str | None = None
    """The header in which these proxies name the person that they have signed in."""
    user_role: Role | None = None
    """The role of people whom the header names; None: they have no access."""
    editors: tuple[str, ...] = ()
    """Those of them who are editors."""
    web_url: str | None = None
    """The page's public address, whose pages may change something too."""

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"other machines reach {self.host}, so a token is required")

    @property
    def hosts(self) -> frozenset[str]:
        """The Host headers accepted without a token. Any other is a DNS rebinding attack or a mistake."""
        names = {"127.0.0.1", "localhost", "[::1]", f"[{self.host}]" if ":" in self.host else self.host}
        with_port = {f"{name}:{self.port}" for name in names}
        return frozenset(with_port | names if self.port == 80 else with_port)


MAX_ATTEMPTS = 5
"""Wrong tokens from one address within `ATTEMPT_WINDOW_S`; further attempts are refused for that time."""
ATTEMPT_WINDOW_S = 60
MAX_ADDRESSES = 10_000


class TooManyAttempts(HTTPException):
    """A client has used up its attempts."""

    def __init__(self) -> None:
        text = gettext("Too many wrong tokens came from this address. Try again in a minute.")
        super().__init__(HTTPStatus.TOO_MANY_REQUESTS, text, {"retry-after": str(ATTEMPT_WINDOW_S)})


class AttemptLimiter:
    """Counts wrong tokens by the address of their client."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, address: str) -> None:
        """Raises:
        TooManyAttempts: the address has used up its attempts.
        """
        times = self._times.get(address, deque())
        if len(times) == MAX_ATTEMPTS and times[0] >= self._clock() - ATTEMPT_WINDOW_S:
            raise TooManyAttempts

    def record(self, address: str) -> None:
        """Count a wrong token."""
        self._times.setdefault(address, deque(maxlen=MAX_ATTEMPTS)).append(self._clock())
        self._times.move_to_end(address)
        if len(self._times) > MAX_ADDRESSES:
            self._times.popitem(last=False)


class Authenticator:
    """Checks tokens, cookies and the names that a proxy sends, all in the server's event loop."""

    def __init__(self, database: Database, policy: AccessPolicy, token: str) -> None:
        self.cookie = f"tagger_session_{database.ledger_id[:8]}"
        """All processes of the page share it. Over https it has the prefix `forwarded.HOST_PREFIX`."""
        self._policy = policy
        self._tokens = TokenGrants(token, policy.view_token, database.ledger_id)
        self._limiter = AttemptLimiter()

    def authenticate(self, headers: Headers, client: Client) -> Grant | None:
        """Return what the token, the cookie or the proxy of the request allows; None if it has none of them.

        Raises:
            HTTPException: a trusted proxy names a person without access.
            TooManyAttempts: it has a token, and the client has used up its attempts.
        """
        if client.user is not None:
            grant = proxied_grant(client.user, self._policy.user_role, self._policy.editors)
            if grant is None:
                text = gettext(
                    "The proxy in front of this page has signed you in as %(name)s, who has no access here. "
                    "Ask the owner to add this name to TAGGER_WEB_EDITORS, or to set TAGGER_WEB_USER_ROLE.",
                    name=repr(client.user[:100]),
                )
                raise HTTPException(HTTPStatus.FORBIDDEN, text)
            return grant
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.grant_of_token(secret.strip(), client)
        cookies = session_cookies(headers, client, self.cookie)
        return self._tokens.of_cookie(cookies[0]) if cookies else None

    def grant_of_token(self, secret: str, client: Client) -> Grant | None:
        """Return what a token allows; None, logged for fail2ban and the like, if it is wrong.

        Raises:
            TooManyAttempts: the client has used up its attempts.
        """
        self._limiter.check(client.network)
        grant = self._tokens.of_token(secret)
        if grant is None:
            self._limiter.record(client.network)
            log.warning("wrong token from %s", client.address or "an unknown address")
        return grant

    def cookie_of(self, grant: Grant) -> str:
        """Return the cookie that stands for the token of a grant."""
        return self._tokens.cookie_of(grant)


def actor_of(grant: Grant | None, client: Client) -> Actor:
    """Return who makes the changes of a request; without a grant, anybody on this machine."""
    name = ANYBODY if grant is None else f"web {grant.name}"
    return Actor(name, client.address or None)


def may_allow_folder(request: Request) -> bool:
    """Whether the page may be given any folder: no setting names them, and an admin or this computer asks."""
    policy: AccessPolicy = request.app.state.policy
    grant: Grant | None = getattr(request.state, "grant", None)
    is_here = policy.token is None and is_loopback(policy.host) and not policy.trusted_proxies
    is_admin = is_here if grant is None else grant.role is Role.ADMIN
    return is_admin and request.app.state.app_state.settings.web_folders is None


def may_send_photos(request: Request) -> bool:
    """Whether photos may be sent: by editors, into the folder that a setting names, else by admins."""
    grant: Grant | None = getattr(request.state, "grant", None)
    is_named = request.app.state.app_state.settings.web_upload_folder is not None
    return (is_named and (grant is None or grant.may_change)) or may_allow_folder(request)
