"""The way to the provider of the settings and back. Part of the application only where the settings name a provider.

Failures are limited and counted by the client's address, and recorded.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from tagger.database.connection import Database
from tagger.people.identities import (
    Identity,
    IdentityNameTaken,
    IdentityUnknown,
    SignInFailed,
    sign_in_identity,
    withdraw_role,
)
from tagger.people.oidc_flow import (
    ROLES,
    AuthorizationRequest,
    authorization_url,
    identify,
    sign_out_url,
)
from tagger.people.oidc_provider import (
    CALLBACK_PATH,
    START_PATH,
    ClocksDiffer,
    Provider,
    ProviderMisconfigured,
    ProviderUnavailable,
    Registration,
    RoleMissing,
    SignInExpired,
)
from tagger.people.sessions import Origin, ProviderSession
from tagger.system.text_format import N_
from tagger.web.http.attempt_limiter import AttemptLimiter, TooManyAttempts
from tagger.web.http.auth import (
    MAX_SIGN_INS,
    SIGN_IN_WINDOW_S,
    AccessRecorder,
    Authenticator,
    TooManySignIns,
    origin_of,
)
from tagger.web.http.error_texts import page_text
from tagger.web.http.forwarded import HOST_PREFIX, Client, local_address, set_session_cookie
from tagger.web.http.templates import render

log = logging.getLogger(__name__)

MAX_FAILURES = 20
"""Failed sign-ins from one address within a minute. Each may ask the provider."""
MAX_NAME_LENGTH = 100
PROVIDER_LIMITER = CapacityLimiter(4)
"""Threads that wait for the provider. Requests that wait for one take no thread from the pages."""


class TooManyFailures(TooManyAttempts):
    """Too many sign-ins from an address failed."""

    text = N_("Too many sign-ins from this address failed. Try again in a minute.")


class SingleSignOn:
    """Sends people to the provider, and starts sessions for those whom it has signed in.

    Its methods wait for the provider and the database: call them in threads.
    """

    def __init__(self, database: Database, registration: Registration, recorder: AccessRecorder) -> None:
        self.registration = registration
        self.cookie = f"tagger_sign_in_{database.ledger_id[:8]}"
        """The cookie of a browser that is at the provider."""
        self._database = database
        self._provider = Provider(registration)
        self._recorder = recorder
        self._failures = AttemptLimiter(MAX_FAILURES, error=TooManyFailures)
        self._sign_ins = AttemptLimiter(MAX_SIGN_INS, SIGN_IN_WINDOW_S, TooManySignIns)

    def begin(self) -> tuple[AuthorizationRequest, str]:
        """Return a new request, whose secret the browser keeps, and where the browser goes with it.

        Raises:
            SignInFailed: the provider does not answer as it should.
        """
        request = AuthorizationRequest.new()
        try:
            return request, authorization_url(self._provider, request)
        except SignInFailed as error:
            log.warning("nobody can sign in at the provider: %s", error)
            raise

    def complete(
        self, request: AuthorizationRequest, answer: Mapping[str, str], client: Client, browser: str | None
    ) -> str:
        """Start a session for the person with whom the browser comes back; returns the cookie's value.

        Raises:
            SignInFailed: the provider has signed nobody in, or somebody without access.
            TooManyAttempts: too many sign-ins from the address failed, or the person has used up the sign-ins.
        """
        self._failures.check(client.network)
        identity = None
        try:
            identity = identify(self._provider, request, answer)
            key = f"{identity.issuer} {identity.subject}"
            self._sign_ins.check(key)
            origin = origin_of(client, browser)
            self._check_role(identity, origin)
            session = sign_in_identity(self._database, identity, self.registration.new_role, origin)
        except SignInExpired:  # before the provider was asked
            raise
        except SignInFailed as error:
            self._failures.record(client.network)
            self._record(error, identity, client)
            raise
        self._sign_ins.record(key)
        return session

    def sign_out_url(self, session: ProviderSession) -> str | None:
        """Return the address at which the provider signs the browser out; None: it does not, or the settings do not want it."""
        try:
            return sign_out_url(self._provider, session)
        except SignInFailed as error:
            log.warning("nobody can sign out at the provider: %s", error)
            return None

    def _check_role(self, identity: Identity, origin: Origin) -> None:
        claim = self.registration.role_claim
        if claim is not None and identity.role is None:
            withdraw_role(self._database, identity, origin)
            raise RoleMissing(issuer=identity.issuer, claim=claim, roles=", ".join(ROLES))

    def _record(self, error: SignInFailed, identity: Identity | None, client: Client) -> None:
        if isinstance(error, ProviderUnavailable | ProviderMisconfigured):
            log.warning("nobody can sign in at the provider: %s", error)
            return
        self._recorder.record_refusal(
            client,
            "identity",
            reason=type(error).__name__,
            issuer=self.registration.issuer,
            identity=identity and identity.subject,
            called=identity and identity.names[0][:MAX_NAME_LENGTH],
        )


router = APIRouter(include_in_schema=False)

REQUEST_S = 600
"""How long a person may take at the provider."""
MAX_NEXT_LENGTH = 2000
"""Of the address to continue at, in the cookie: browsers keep 4096 bytes of one."""
STATUS_OF_FAILURE = {
    ProviderUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    ProviderMisconfigured: HTTPStatus.BAD_GATEWAY,
    ClocksDiffer: HTTPStatus.BAD_GATEWAY,
    SignInExpired: HTTPStatus.BAD_REQUEST,
}
"""All others are 403."""


@dataclass(frozen=True)
class PendingSignIn:
    """What a cookie holds while the browser is at the provider: the request, and the address to continue at."""

    request: AuthorizationRequest
    next: str

    @classmethod
    def of_cookie(cls, value: str) -> "PendingSignIn":
        """Anybody may have written the cookie, so `next` is checked again."""
        secret, _, address = value.partition(".")
        return cls(AuthorizationRequest(secret), local_address(unquote(address)))

    @property
    def cookie(self) -> str:
        address = quote(self.next, safe="")
        return f"{self.request.secret}.{address if len(address) <= MAX_NEXT_LENGTH else quote('/', safe='')}"


@router.get(START_PATH)
async def begin(request: Request, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the address
    """Lead the browser to the provider."""
    return await to_thread.run_sync(_begin, request, local_address(next), limiter=PROVIDER_LIMITER)


@router.get(CALLBACK_PATH)
async def complete(request: Request) -> Response:
    """Start a session for the person with whom the browser comes back from the provider."""
    return await to_thread.run_sync(_complete, request, limiter=PROVIDER_LIMITER)


def _begin(request: Request, next_address: str) -> Response:
    sign_on: SingleSignOn = request.app.state.single_sign_on
    try:
        authorization, address = sign_on.begin()
    except SignInFailed as error:
        return _failure(request, error, next_address)
    response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    value = PendingSignIn(authorization, next_address).cookie
    response.set_cookie(value=value, max_age=REQUEST_S, **_cookie(sign_on))
    return response


def _complete(request: Request) -> Response:
    sign_on: SingleSignOn = request.app.state.single_sign_on
    authenticator: Authenticator = request.app.state.authenticator
    client: Client = request.state.client
    pending = PendingSignIn.of_cookie(request.cookies.get(_cookie(sign_on)["key"], ""))
    answer = {name: value for name, value in request.query_params.multi_items() if value}
    try:
        session = sign_on.complete(pending.request, answer, client, request.headers.get("user-agent"))
    except SignInExpired as error:  # another window may be on its way with the request that the cookie has
        return _failure(request, error, pending.next)
    except SignInFailed as error:
        return _without_request(sign_on, _failure(request, error, pending.next))
    except TooManyAttempts as error:
        page = _page(request, str(error), pending.next, HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    authenticator.sign_out(
        request.headers, client
    )  # the session that this browser had before, if it was sent
    # Not a redirect: browsers would not send the cookie with it, since the navigation began at another site.
    page = render(request, "signed_in.html", opened_from="/sign-in", next=pending.next)
    by_https = _is_by_https(sign_on) or client.scheme == "https"
    set_session_cookie(page, authenticator.cookie, session, by_https=by_https)
    return _without_request(sign_on, page)


def _failure(request: Request, error: SignInFailed, next_address: str) -> Response:
    status = STATUS_OF_FAILURE.get(type(error), HTTPStatus.FORBIDDEN)
    is_unknown = isinstance(error, IdentityUnknown | IdentityNameTaken)
    subject = str(error.values["subject"]) if is_unknown else ""
    return _page(request, page_text(error).removesuffix(subject), next_address, status, subject)


def _page(
    request: Request, problem: str, next_address: str, status: HTTPStatus, subject: str = ""
) -> Response:
    return render(
        request,
        "sign_in_failed.html",
        status,
        opened_from="/sign-in",
        problem=problem,
        subject=subject,
        next=next_address,
    )


def _without_request(sign_on: SingleSignOn, response: Response) -> Response:
    """Return the response, which lets the browser forget the request: each request can be answered only once."""
    response.delete_cookie(**_cookie(sign_on))
    return response


def _cookie(sign_on: SingleSignOn) -> dict[str, Any]:
    """The cookie of the request. Over https no sibling domain can set it, and so sign somebody in as somebody else."""
    by_https = _is_by_https(sign_on)
    return {
        "key": HOST_PREFIX + sign_on.cookie if by_https else sign_on.cookie,
        "path": "/" if by_https else START_PATH,
        "httponly": True,
        "samesite": "lax",  # not strict: the browser comes back from another site
        "secure": by_https,
    }


def _is_by_https(sign_on: SingleSignOn) -> bool:
    """Whether sign-ins begin and end at an https address: the provider returns browsers only to the registered one."""
    return sign_on.registration.page_url.startswith("https://")
