"""Who uses the page: its address and proxies, and the token, session or proxy that a request comes with.

Refused sign-ins are recorded in the audit log, last uses in the tables of access.
"""

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request

from tagger.database.actors import Actor
from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.database.enums import Role
from tagger.database.retry import DatabaseError
from tagger.errors import PicklableError
from tagger.people.sessions import (
    Origin,
    end_session,
    proxied_grant,
    record_use,
    session_grant,
    sign_in_user,
    start_session,
    token_grant,
)
from tagger.people.tokens import Grant, token_digest
from tagger.people.users import find_user_by_name, is_valid_name, normalize_name
from tagger.texts.addresses import is_loopback
from tagger.texts.text_format import N_, gettext
from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts
from tagger.web.http.forwarded import Client, Network, sent_sessions, session_cookies

STOP_TIMEOUT_S = 10.0
MAX_RECORDED, RECORDED_WINDOW_S = 50, 3600
"""Refusals recorded within the time, of each account and of all strangers. The others are only logged."""


class AccessRecorder:
    """Writes wrong tokens and last uses in a thread: requests must not wait for the database's lock."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._recorded = AttemptLimiter(MAX_RECORDED, RECORDED_WINDOW_S, clock=clock)
        self._lock = threading.Lock()
        self._waiting: dict[object, Callable[[], None]] = {}
        self._thread: threading.Thread | None = None

    def record_refusal(self, client: Client, what: str = "token", account: str | None = None) -> None:
        """Log a wrong token or password, for fail2ban and the like, and record the first ones of an hour.

        `account`: the name, if a person here has it.
        """
        log.warning("wrong %s from %s", what, client.address or "an unknown address")
        with suppress(TooManyAttempts):
            self._recorded.check_and_record(account or "")
            actor = Actor("web", client.address or None)
            self._write(object(), partial(self._write_refusal, actor, account))

    def record_use(self, grant: Grant) -> None:
        """Record the last use of a token and session, unless such a record already waits to be written."""
        self._write(
            (grant.token_id, grant.user_id, grant.session_id), partial(record_use, self._database, grant)
        )

    def close(self) -> None:
        """Write what waits, for at most `STOP_TIMEOUT_S`."""
        if (thread := self._thread) is not None:
            thread.join(STOP_TIMEOUT_S)

    def _write(self, key: object, write: Callable[[], None]) -> None:
        with self._lock:
            self._waiting.setdefault(key, write)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="access-recorder", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._waiting:
                    self._thread = None
                    return
                key, write = next(iter(self._waiting.items()))
            try:
                write()
            except DatabaseError as error:
                log.warning("a sign-in or a use of the page was not recorded: %s", type(error).__name__)
            except Exception:
                # The thread goes on: what waits must not be lost.
                log.exception("unexpected error while a sign-in or a use of the page was recorded")
            with self._lock:
                del self._waiting[key]

    def _write_refusal(self, actor: Actor, account: str | None) -> None:
        with self._database.acting_as(actor).write() as connection:
            record_action(connection, AuditAction.SIGN_IN_REFUSED, account)


@dataclass(frozen=True)
class AccessPolicy:
    """A server's address, token and proxies. Without a token, only this machine has access.

    Raises:
        ValueError: other machines reach the address, and there is no token.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = field(default=None, repr=False)
    upload_bytes: int = 64 * 2**20
    trusted_proxies: tuple[Network, ...] = ()
    """Reverse proxies whose X-Forwarded headers are believed."""
    user_header: str | None = None
    """The header in which these proxies name the person that they have signed in."""
    new_user_role: Role | None = None
    """The role of a person whom the header names for the first time; None: they have no access."""
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
MAX_BROWSER_LENGTH = 300
RECHECK_S = 30.0
"""How often an endless response checks whether its reader still has access."""


class TooManySignIns(TooManyAttempts):
    """Somebody has used up the sign-ins of an hour."""

    text = N_("Too many sign-ins with this token within an hour. Stay signed in, or try again later.")
    retry_after_s = SIGN_IN_WINDOW_S


class UserRefused(PicklableError):
    """The proxy has signed in somebody who has no access here."""

    def __init__(self, name: str) -> None:
        text = N_(
            "The proxy in front of this page has signed you in as %(name)s, who has no access here. Ask an "
            "admin to add this name."
        )
        super().__init__(gettext(text, name=repr(name[:100])))


class Authenticator:
    """Checks tokens, and creates, checks and ends sessions. Its methods read the database: use threads."""

    def __init__(self, database: Database, token: str, new_user_role: Role | None = None) -> None:
        self.cookie = f"tagger_session_{database.ledger_id[:8]}"
        """All processes of the page share it. Over https it has the prefix `forwarded.HOST_PREFIX`."""
        self._database = database
        self._token = token
        self._new_user_role = new_user_role
        self._limiter = AttemptLimiter()
        self._sign_ins = AttemptLimiter(MAX_SIGN_INS, SIGN_IN_WINDOW_S, TooManySignIns)
        self.recorder = AccessRecorder(database)

    def authenticate(self, headers: Headers, client: Client) -> Grant | None:
        """Return what the token or the session of the request allows; None if it has neither.

        Raises:
            TooManyAttempts: it has a token, and the client has used up its attempts.
            UserRefused: a trusted proxy names a person without access.
        """
        if client.user is not None:
            actor = Actor(f"web {normalize_name(client.user)}", client.address or None, is_person=True)
            grant = proxied_grant(self._database.acting_as(actor), client.user, self._new_user_role)
            if grant is None:
                raise UserRefused(client.user)
            return grant
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self._session_grant(headers, client)
        self._limiter.check(client.network)
        grant = token_grant(self._database, secret.strip(), self._token)
        if grant is None:
            self._refuse(client)
        else:
            self._limiter.check(client.network)  # wrong ones may have been counted meanwhile
        return grant

    def is_valid(self, headers: Headers, client: Client) -> bool:
        """Return whether a request that was authenticated before still is."""
        if client.user is not None:
            return proxied_grant(self._database, client.user, None) is not None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self._session_grant(headers, client) is not None
        return token_grant(self._database, secret.strip(), self._token) is not None

    def sign_in_user(self, name: str, password: str, client: Client, browser: str | None) -> str | None:
        """Start a person's session and return the cookie's value; None if the name or the password is wrong.

        Raises:
            AttemptsUsedUp: there were too many wrong passwords.
            TooManySignIns: the person has used up the sign-ins.
        """
        key = f"user {normalize_name(name)}"
        self._sign_ins.check(key)
        session = sign_in_user(self._database, name, password, origin_of(client, browser))
        if session is None:
            self.recorder.record_refusal(client, "password", self._account(name))
        else:
            self._sign_ins.record(key)
        return session

    def _account(self, name: str) -> str | None:
        """Return the name if a person has it, else None: the text may be a password in the wrong field."""
        name = normalize_name(name)
        user = find_user_by_name(self._database, name) if is_valid_name(name) else None
        return None if user is None else user.name

    def sign_in(self, secret: str, client: Client, browser: str | None = None) -> str | None:
        """Start a session and return the cookie's value; None if the token is wrong.

        Raises:
            TooManyAttempts: the client has used up its attempts.
            TooManySignIns: the token has used up its sign-ins.
        """
        self._limiter.check(client.network)
        digest = token_digest(secret)
        self._sign_ins.check(digest)
        session = start_session(self._database, secret, self._token, origin_of(client, browser))
        if session is None:
            self._refuse(client)
        else:
            self._limiter.check(client.network)  # a right guess after too many wrong ones gets no session
            self._sign_ins.record(digest)
        return session

    def sign_out(self, headers: Headers, client: Client) -> None:
        """End the session that the request carries, for every copy of its cookie."""
        for session in sent_sessions(headers, self.cookie).values():
            grant = session_grant(self._database, session, self._token)
            if grant is not None:
                end_session(self._database.acting_as(actor_of(grant, client)), grant)

    def record_use(self, grant: Grant) -> None:
        """Record in the background that a token or session was used, if the last record is old."""
        if grant.needs_record:
            self.recorder.record_use(grant)

    def _refuse(self, client: Client) -> None:
        self._limiter.check_and_record(client.network)
        self.recorder.record_refusal(client)

    def _session_grant(self, headers: Headers, client: Client) -> Grant | None:
        sessions = session_cookies(headers, client, self.cookie)
        return session_grant(self._database, sessions[0], self._token) if sessions else None


async def while_authenticated(request: Request, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the parts of a response until its token or session ends, checked every `RECHECK_S`."""
    checked_at_s = time.monotonic()
    async for part in parts:
        authenticator: Authenticator | None = getattr(request.app.state, "authenticator", None)
        if authenticator is not None and time.monotonic() - checked_at_s >= RECHECK_S:
            try:
                is_valid = await to_thread.run_sync(
                    authenticator.is_valid, request.headers, request.state.client
                )
            except DatabaseError as error:
                log.warning("a response ends, since access cannot be checked: %s", type(error).__name__)
                return
            if not is_valid:
                return
            checked_at_s = time.monotonic()
        yield part


def origin_of(client: Client, browser: str | None) -> Origin:
    """Return where a sign-in comes from; `browser`: as it identifies itself."""
    return Origin(client.address or None, client.network, browser and browser[:MAX_BROWSER_LENGTH])


def actor_of(grant: Grant | None, client: Client) -> Actor:
    """Return who makes the changes of a request; without a grant, anybody on this machine."""
    if grant is None:
        return Actor(ANYBODY, client.address or None)
    is_person = grant.user_id is not None
    access_id = grant.user_id if is_person else grant.token_id
    return Actor(f"web {grant.name}", client.address or None, is_person=is_person, access_id=access_id)


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
