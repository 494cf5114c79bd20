"""Authentication where a token is required: programs send it with every request, people sign in with it once.

A session is a random id, signed with a key that is derived from the token. It does not reveal the token, survives a
restart, and becomes invalid when the token changes. Signing out ends the session for every copy of its cookie. Ended
sessions are held in memory until they would expire; after a restart a copied cookie is valid again.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

SESSION_S = 7 * 24 * 3600
MAX_ATTEMPTS = 5
"""Wrong tokens from one address within `ATTEMPT_WINDOW_S`; further attempts are refused for that time."""
ATTEMPT_WINDOW_S = 60
MAX_ADDRESSES = 10_000
MAX_ENDED_SESSIONS = 10_000


class TooManyAttempts(Exception):
    """Too many wrong tokens came from this address. Try again in a minute."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)
        self.retry_after_s = ATTEMPT_WINDOW_S


class AttemptLimiter:
    """Counts wrong tokens by client address, within `ATTEMPT_WINDOW_S`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Raises:
        TooManyAttempts: the client has used up its attempts.
        """
        with self._lock:
            times = self._times.get(client, deque())
            while times and times[0] < self._clock() - ATTEMPT_WINDOW_S:
                times.popleft()
            if len(times) >= MAX_ATTEMPTS:
                raise TooManyAttempts

    def record(self, client: str) -> None:
        """Count a wrong token."""
        with self._lock:
            self._times.setdefault(client, deque(maxlen=MAX_ATTEMPTS)).append(self._clock())
            self._times.move_to_end(client)
            while len(self._times) > MAX_ADDRESSES:
                self._times.popitem(last=False)


class Authenticator:
    """Checks tokens, and creates, checks and ends sessions."""

    def __init__(self, token: str, *, cookie: str) -> None:
        self.cookie = cookie
        self._token = token.encode()
        self._serializer = URLSafeTimedSerializer(
            token,
            salt="tagger web session",
            signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
        )
        self._limiter = AttemptLimiter()
        # Sessions all last equally long, so the oldest entries are the first to expire.
        self._ended: OrderedDict[str, None] = OrderedDict()

    def is_authenticated(self, headers: Headers, client: str) -> bool:
        """Return whether the request carries the token or a valid session.

        Raises:
            TooManyAttempts: it carries a token, and the client has used up its attempts.
        """
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(token.strip(), client)
        return self._session_id(headers) is not None

    def is_token(self, token: str, client: str) -> bool:
        """Compare in constant time; a wrong token counts against the client.

        Raises:
            TooManyAttempts: the client has used up its attempts.
        """
        self._limiter.check(client)
        is_equal = hmac.compare_digest(token.encode(errors="replace"), self._token)
        if not is_equal:
            self._limiter.record(client)
        return is_equal

    def create_session(self) -> str:
        """Return the cookie's value for somebody who has sent the token."""
        session: str = self._serializer.dumps(secrets.token_urlsafe(24))
        return session

    def end_session(self, headers: Headers) -> None:
        """Invalidate the session that the request carries."""
        session_id = self._session_id(headers)
        if session_id is not None:
            self._ended[session_id] = None
            while len(self._ended) > MAX_ENDED_SESSIONS:
                self._ended.popitem(last=False)

    def _session_id(self, headers: Headers) -> str | None:
        # `or ""`: some cookies have no name or no value.
        value = cookie_parser(headers.get("cookie", "")).get(self.cookie) or ""
        try:
            session_id: str = self._serializer.loads(value, max_age=SESSION_S)
        except BadData:
            return None
        # Compared by id: different texts can be decoded to the same signature.
        return None if session_id in self._ended else session_id


def client_address(scope: Scope) -> str:
    """Return the client's address; of IPv6 the /64 network, since a client usually owns all of it."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else host
