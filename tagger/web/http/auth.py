"""Who uses the page: its address and proxies, and the token, cookie or proxy that a request comes with.

Sign-ins and wrong tokens are recorded in the audit log.
"""

import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.datastructures import Headers
from starlette.requests import Request

from tagger.database.actors import Actor
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.errors import PicklableError
from tagger.texts.addresses import is_loopback
from tagger.texts.text_format import N_, gettext
from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts
from tagger.web.http.forwarded import Client, Network, session_cookies
from tagger.web.http.grants import Grant, Role, TokenGrants, proxied_grant

MAX_RECORDED, RECORDED_WINDOW_S = 50, 3600
"""Wrong tokens recorded within the time. The others are only logged."""


class RefusalRecorder:
    """Logs wrong tokens, and writes the first ones of an hour in a thread: requests must not wait for it."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._recorded = AttemptLimiter(MAX_RECORDED, RECORDED_WINDOW_S, clock=clock)
        self._writer = ThreadPoolExecutor(1, "refusal-recorder")

    def record(self, client: Client) -> None:
        """Log a wrong token, for fail2ban and the like."""
        log.warning("wrong token from %s", client.address or "an unknown address")
        with suppress(TooManyAttempts):
            self._recorded.check_and_record("")
            self._writer.submit(self._write, Actor("web", client.address or None))

    def close(self) -> None:
        """Write what waits."""
        self._writer.shutdown()

    def _write(self, actor: Actor) -> None:
        try:
            with self._database.acting_as(actor).write() as connection:
                record_action(connection, AuditAction.SIGN_IN_REFUSED)
        except DatabaseError as error:
            log.warning("a wrong token was not recorded: %s", type(error).__name__)


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
    upload_bytes: int = 64 * 2**20
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


log = logging.getLogger(__name__)

ANYBODY = "web"
"""The actor of requests without a token, where none is required."""
MAX_SIGN_INS = 100
"""Sign-ins with one token within `SIGN_IN_WINDOW_S`: more could push all else out of the audit log."""
SIGN_IN_WINDOW_S = 3600
RECHECK_S = 30.0
"""How often an endless response checks whether its reader still has access."""


class TooManySignIns(TooManyAttempts):
    """A token has used up the sign-ins of an hour."""

    text = N_("Too many sign-ins with this token within an hour. Stay signed in, or try again later.")
    retry_after_s = SIGN_IN_WINDOW_S


class UserRefused(PicklableError):
    """The proxy has signed in somebody who has no access here."""

    def __init__(self, name: str) -> None:
        text = N_(
            "The proxy in front of this page has signed you in as %(name)s, who has no access here. Ask "
            "the owner to add this name to TAGGER_WEB_EDITORS, or to set TAGGER_WEB_USER_ROLE."
        )
        super().__init__(gettext(text, name=repr(name[:100])))


class Authenticator:
    """Checks tokens, cookies and the names that a proxy sends."""

    def __init__(self, database: Database, policy: AccessPolicy, token: str) -> None:
        self.cookie = f"tagger_session_{database.ledger_id[:8]}"
        """All processes of the page share it. Over https it has the prefix `forwarded.HOST_PREFIX`."""
        self._database = database
        self._policy = policy
        self._tokens = TokenGrants(token, policy.view_token, database.ledger_id)
        self._limiter = AttemptLimiter()
        self._sign_ins = AttemptLimiter(MAX_SIGN_INS, SIGN_IN_WINDOW_S, TooManySignIns)
        self.recorder = RefusalRecorder(database)

    def authenticate(self, headers: Headers, client: Client) -> Grant | None:
        """Return what the token, the cookie or the proxy of the request allows; None if it has none of them.

        Raises:
            TooManyAttempts: it has a token, and the client has used up its attempts.
            UserRefused: a trusted proxy names a person without access.
        """
        if client.user is not None:
            grant = self._proxied_grant(client.user)
            if grant is None:
                raise UserRefused(client.user)
            return grant
        secret = _bearer_token(headers)
        if secret is None:
            return self._cookie_grant(headers, client)
        self._limiter.check(client.network)
        grant = self._tokens.of_token(secret)
        if grant is None:
            self._refuse(client)
        return grant

    def is_valid(self, headers: Headers, client: Client) -> bool:
        """Return whether a request that was authenticated before still is."""
        if client.user is not None:
            return self._proxied_grant(client.user) is not None
        secret = _bearer_token(headers)
        if secret is None:
            return self._cookie_grant(headers, client) is not None
        return self._tokens.of_token(secret) is not None

    def sign_in(self, secret: str, client: Client) -> str | None:
        """Return the cookie that stands for this token; None if it is wrong.

        Raises:
            TooManyAttempts: the client has used up its attempts.
            TooManySignIns: the token has used up its sign-ins.
        """
        self._limiter.check(client.network)
        grant = self._tokens.of_token(secret)
        if grant is None:
            self._refuse(client)
            return None
        self._sign_ins.check_and_record(grant.name)
        self._record(AuditAction.SIGN_IN, grant, client)
        return self._tokens.cookie_of(grant)

    def record_sign_out(self, headers: Headers, client: Client) -> None:
        """Record that a browser forgets its cookie."""
        grant = self._cookie_grant(headers, client)
        if grant is not None:
            self._record(AuditAction.SIGN_OUT, grant, client)

    def _record(self, action: AuditAction, grant: Grant, client: Client) -> None:
        with self._database.acting_as(actor_of(grant, client)).write() as connection:
            record_action(connection, action, grant.name)

    def _refuse(self, client: Client) -> None:
        self._limiter.check_and_record(client.network)
        self.recorder.record(client)

    def _cookie_grant(self, headers: Headers, client: Client) -> Grant | None:
        cookies = session_cookies(headers, client, self.cookie)
        return self._tokens.of_cookie(cookies[0]) if cookies else None

    def _proxied_grant(self, name: str) -> Grant | None:
        return proxied_grant(name, self._policy.user_role, self._policy.editors)


def _bearer_token(headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


async def while_authenticated(request: Request, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the parts of a response until its cookie ends, checked every `RECHECK_S`."""
    checked_at_s = time.monotonic()
    async for part in parts:
        authenticator: Authenticator | None = getattr(request.app.state, "authenticator", None)
        if authenticator is not None and time.monotonic() - checked_at_s >= RECHECK_S:
            if not authenticator.is_valid(request.headers, request.state.client):
                return
            checked_at_s = time.monotonic()
        yield part


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
