"""Who may ask, where a token is needed: programs send it, people sign in with it once.

Whoever signs in gets a session: a random number and its end, signed with a key made of the token. So it is not the token,
outlives a restart, and ends for everybody when the token is changed. Sessions that were signed out of are remembered until
their end, but in memory alone: after a restart, a cookie that somebody copied would be good once more.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from http import HTTPStatus
from ipaddress import ip_address, ip_network
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.types import Scope

from tagger.web.pages.rendering import render

SESSION_S = 7 * 24 * 3600
MOST_FAILURES = 5
"""Wrong tokens from one address within `FORGET_S`; then none of that address is looked at for a while."""
FORGET_S = 60
MOST_ADDRESSES = 10_000
MOST_ENDED = 10_000

router = APIRouter(include_in_schema=False)


class TooManyFailures(Exception):
    """Too many wrong tokens came from this address. Try again in a minute."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)
        self.wait_s = FORGET_S


class Failures:
    """Wrong tokens by address, as far back as they count."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, client: str) -> None:
        """Raises:
        TooManyFailures: so many came from there that no more is looked at.
        """
        with self._lock:
            times = self._times.get(client, deque())
            while times and times[0] < self._clock() - FORGET_S:
                times.popleft()
            if len(times) >= MOST_FAILURES:
                raise TooManyFailures

    def note(self, client: str) -> None:
        """One more."""
        with self._lock:
            self._times.setdefault(client, deque(maxlen=MOST_FAILURES)).append(self._clock())
            self._times.move_to_end(client)
            while len(self._times) > MOST_ADDRESSES:
                self._times.popitem(last=False)


class Admission:
    """Knows the token, and the sessions that were made with it."""

    def __init__(self, token: str, *, cookie: str, clock: Callable[[], float] = time.time) -> None:
        self.cookie = cookie
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"tagger web session", hashlib.sha256)
        self._failures = Failures()
        self._clock = clock
        self._ended: OrderedDict[str, None] = (
            OrderedDict()
        )  # all last as long, so the first are the first to matter no more

    def admits(self, headers: Headers, client: str) -> bool:
        """Whether the request carries the token or a session.

        Raises:
            TooManyFailures: it carries a token, and too many wrong ones came from there.
        """
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(given.strip(), client)
        return self._is_session(self._given(headers))

    def is_token(self, given: str, client: str) -> bool:
        """Whether this is the token; how long the answer takes does not tell how much of it is right.

        Raises:
            TooManyFailures: too many wrong ones came from there.
        """
        self._failures.check(client)
        right = hmac.compare_digest(given.encode(errors="replace"), self._token)
        if not right:
            self._failures.note(client)
        return right

    def new_session(self) -> str:
        """For the cookie of somebody who gave the token."""
        said = f"{int(self._clock()) + SESSION_S}.{secrets.token_urlsafe(24)}"
        return f"{said}.{self._signature(said)}"

    def end(self, headers: Headers) -> None:
        """Admit the session that the request carries no more."""
        given = self._given(headers)
        if self._is_session(given):
            self._ended[given] = None
            while len(self._ended) > MOST_ENDED:
                self._ended.popitem(last=False)

    def _given(self, headers: Headers) -> str:
        # `or ""`: some cookies have no name or no value.
        return cookie_parser(headers.get("cookie", "")).get(self.cookie) or ""

    def _is_session(self, given: str) -> bool:
        said, _, signature = given.rpartition(".")
        if not hmac.compare_digest(signature.encode(errors="replace"), self._signature(said).encode()):
            return False
        return given not in self._ended and int(said.partition(".")[0]) > self._clock()

    def _signature(self, said: str) -> str:
        return hmac.new(self._key, said.encode(errors="replace"), hashlib.sha256).hexdigest()


def client_of(scope: Scope) -> str:
    """Where a request comes from; of IPv6 the network, as whoever has one address has them all."""
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    return str(ip_network((address, 64), strict=False)) if address.version == 6 else host


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the address
    return render(request, "sign_in.html", next=_local(next), trouble="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=8192)] = "/",  # noqa: A002
) -> Response:
    """A session for whoever knows the token."""
    admission: Admission = request.app.state.admission
    try:
        right = admission.is_token(token.strip(), client_of(request.scope))
    except TooManyFailures as failures:
        page = render(
            request, "sign_in.html", HTTPStatus.TOO_MANY_REQUESTS, next=_local(next), trouble=str(failures)
        )
        page.headers["retry-after"] = str(failures.wait_s)
        return page
    if not right:
        trouble = "That is not the token. Copy it once more, whole."
        return render(request, "sign_in.html", HTTPStatus.FORBIDDEN, next=_local(next), trouble=trouble)
    answer = RedirectResponse(_local(next), HTTPStatus.SEE_OTHER)
    answer.set_cookie(
        admission.cookie,
        admission.new_session(),
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        # Behind a proxy that speaks TLS, the browser says so.
        secure=request.headers.get("origin", "").startswith("https://") or request.url.scheme == "https",
    )
    return answer


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """Ends the session, in this browser and for whoever has its cookie."""
    admission: Admission = request.app.state.admission
    admission.end(request.headers)
    answer = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    answer.delete_cookie(admission.cookie, httponly=True, samesite="strict")
    return answer


def _local(address: str) -> str:
    """The address, if it is a page of ours."""
    ours = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if ours else "/"
