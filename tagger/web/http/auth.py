"""Authentication where a token is required: programs send it with every request, people sign in with it once.

Wrong tokens are counted by client address. An address with too many of them is refused for a while, also with the right
token; all others go on, and so do sessions. There is no limit over all addresses, with which anybody could lock out
everybody: only what is written about wrong tokens is limited (see refusal_budget). Sign-ins are counted by token.
Wrong passwords are counted in the database, see access.attempts.
"""

import logging
import time
from collections.abc import AsyncIterator

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request

from tagger.database.actor import Actor
from tagger.database.connection import Database
from tagger.database.retry import DatabaseError
from tagger.people.grants import Grant, Role
from tagger.people.sessions import (
    Origin,
    ProviderSession,
    end_session,
    session_grant,
    start_session,
    token_grant,
)
from tagger.people.sign_in import proxied_grant, sign_in_user
from tagger.people.tokens import token_digest
from tagger.people.users import find_user_by_name, has_passwords, is_valid_name, normalize_name
from tagger.web.http.access_recorder import AccessRecorder
from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts
from tagger.web.http.forwarded import Client
from tagger.web.http.secure_cookies import sent_sessions, session_cookies

log = logging.getLogger(__name__)

ANYBODY = "web"
"""The actor of requests without a token, where none is required."""
MAX_SIGN_INS = 100
"""Sign-ins with one token within `SIGN_IN_WINDOW_S`: a guest with more could push all other entries out of the audit log."""
SIGN_IN_WINDOW_S = 3600
MAX_BROWSER_LENGTH = 300
RECHECK_S = 30.0
"""How often an endless response checks whether its reader still has access."""


class TooManySignIns(TooManyAttempts):
    """Too many sign-ins with this token within an hour. Stay signed in, or try again later."""

    retry_after_s = SIGN_IN_WINDOW_S


class UserRefused(Exception):
    """The proxy in front of this page has signed you in as {name}, who has no access here. Ask an admin to add this name."""

    def __init__(self, name: str) -> None:
        super().__init__((self.__doc__ or "").format(name=repr(name[:100])))


class Authenticator:
    """Checks tokens, and creates, checks and ends sessions. Its methods read the database: call them in threads."""

    def __init__(self, database: Database, token: str, new_user_role: Role | None = None) -> None:
        self.cookie = f"tagger_session_{database.ledger_id[:8]}"
        """All processes of the page share it, whatever their ports. Over https it has a prefix (see secure_cookies)."""
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
            return self._proxied_grant(client, client.user)
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self._session_grant(headers, client)
        self._limiter.check(client.network)
        grant = token_grant(self._database, secret.strip(), self._token)
        if grant is None:
            self._refuse(client)
        return grant

    def _proxied_grant(self, client: Client, name: str) -> Grant:
        actor = Actor(f"web {normalize_name(name)}", client.address or None, is_person=True)
        grant = proxied_grant(self._database.acting_as(actor), name, self._new_user_role)
        if grant is None:
            raise UserRefused(name)
        return grant

    def is_valid(self, headers: Headers, client: Client) -> bool:
        """Return whether a request that was authenticated before still is."""
        if client.user is not None:
            return proxied_grant(self._database, client.user, None) is not None
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return self._session_grant(headers, client) is not None
        return token_grant(self._database, secret.strip(), self._token) is not None

    def asks_for_name(self) -> bool:
        """Return whether people sign in with a name and a password."""
        return has_passwords(self._database)

    def sign_in_user(self, name: str, password: str, client: Client, browser: str | None) -> str | None:
        """Start a session for a person and return the cookie's value; None if the name or the password is wrong.

        Raises:
            AttemptsUsedUp: there were too many wrong passwords.
            TooManySignIns: the person has used up the sign-ins.
        """
        key = f"user {normalize_name(name)}"
        self._sign_ins.check(key)
        session = sign_in_user(self._database, name, password, _origin(client, browser))
        if session is None:
            self.recorder.record_refusal(client, "password", self._account(name))
        else:
            self._sign_ins.record(key)
        return session

    def _account(self, name: str) -> str | None:
        """Whose name it is. Not any name that was entered: people type passwords into the wrong field."""
        name = normalize_name(name)
        user = find_user_by_name(self._database, name) if is_valid_name(name) else None
        return None if user is None else user.recorded_name

    def sign_in(self, secret: str, client: Client, browser: str | None = None) -> str | None:
        """Start a session and return the cookie's value; None if the token is wrong.

        Raises:
            TooManyAttempts: the client has used up its attempts.
            TooManySignIns: the token has used up its sign-ins.
        """
        self._limiter.check(client.network)
        digest = token_digest(secret)
        self._sign_ins.check(digest)
        session = start_session(self._database, secret, self._token, _origin(client, browser))
        if session is None:
            self._refuse(client)
        else:
            self._sign_ins.record(digest)
        return session

    def sign_out(self, headers: Headers, client: Client) -> ProviderSession | None:
        """End the session that the request carries, for every copy of its cookie.

        Return that of the provider at which it began; None: there is none to end.
        """
        of_provider = None
        for session in sent_sessions(headers, self.cookie).values():
            grant = session_grant(self._database, session, self._token)
            if grant is not None:
                ended = end_session(self._database.acting_as(actor_of(grant, client)), grant)
                of_provider = of_provider or ended
        return of_provider

    def record_use(self, grant: Grant) -> None:
        """Record in the background that a token or session was used, if the last record is old."""
        if grant.needs_record:
            self.recorder.record_use(grant)

    def close(self) -> None:
        """Write what is to be recorded, since the server stops."""
        self.recorder.close()

    def _refuse(self, client: Client) -> None:
        self._limiter.record(client.network)
        self.recorder.record_refusal(client)

    def _session_grant(self, headers: Headers, client: Client) -> Grant | None:
        sessions = session_cookies(headers, client, self.cookie)
        return session_grant(self._database, sessions[0], self._token) if sessions else None


async def while_authenticated(request: Request, parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the parts of an endless response until the token or session of its request ends, to `RECHECK_S`."""
    authenticator: Authenticator | None = getattr(request.app.state, "authenticator", None)
    checked_at_s = time.monotonic()
    async for part in parts:
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


def _origin(client: Client, browser: str | None) -> Origin:
    return Origin(client.address or None, client.network, browser and browser[:MAX_BROWSER_LENGTH])


def actor_of(grant: Grant | None, client: Client) -> Actor:
    """Return who makes the changes of a request; without a grant, anybody on this machine."""
    if grant is None:
        return Actor(ANYBODY, client.address or None)
    return Actor(f"web {grant.name}", client.address or None, is_person=grant.user_id is not None)
