"""The way to the provider and back. Part of the application only where the settings name a provider."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypedDict
from urllib.parse import quote, unquote

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from tagger.people.identities import IdentityNameTaken, IdentityUnknown, SignInFailed
from tagger.people.oidc.code_flow import AuthorizationRequest
from tagger.people.oidc.provider import (
    CALLBACK_PATH,
    START_PATH,
    ClocksDiffer,
    ProviderMisconfigured,
    ProviderUnavailable,
    SignInExpired,
)
from tagger.web.http.attempt_limiter import TooManyAttempts
from tagger.web.http.auth import Authenticator
from tagger.web.http.forwarded import HOST_PREFIX, Client, set_session_cookie
from tagger.web.http.single_sign_on import PROVIDER_LIMITER, SingleSignOn
from tagger.web.http.templates import render
from tagger.web.pages.sign_in import local_address

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


class _Cookie(TypedDict):
    key: str
    path: str
    httponly: bool
    samesite: Literal["lax"]
    secure: bool


@dataclass(frozen=True)
class PendingSignIn:
    """What the cookie has of a browser that is at the provider: the request, and the address to continue at."""

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
    # Not a redirect: browsers would not send the cookie with it, as the way began at another site.
    page = render(request, "signed_in.html", opened_from="/sign-in", next=pending.next)
    by_https = _is_by_https(sign_on) or client.scheme == "https"
    set_session_cookie(page, authenticator.cookie, session, by_https=by_https)
    return _without_request(sign_on, page)


def _failure(request: Request, error: SignInFailed, next_address: str) -> Response:
    status = STATUS_OF_FAILURE.get(type(error), HTTPStatus.FORBIDDEN)
    is_unknown = isinstance(error, IdentityUnknown | IdentityNameTaken)
    subject = str(error.values["subject"]) if is_unknown else ""
    return _page(request, str(error).removesuffix(subject), next_address, status, subject)


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
    """The response, which lets the browser forget the request: its answer counts once."""
    response.delete_cookie(**_cookie(sign_on))
    return response


def _cookie(sign_on: SingleSignOn) -> _Cookie:
    """The cookie of the request. Over https no neighbouring name can set it, and so sign somebody in as somebody else."""
    by_https = _is_by_https(sign_on)
    return {
        "key": HOST_PREFIX + sign_on.cookie if by_https else sign_on.cookie,
        "path": "/" if by_https else START_PATH,
        "httponly": True,
        "samesite": "lax",  # not strict: the browser comes back from another site
        "secure": by_https,
    }


def _is_by_https(sign_on: SingleSignOn) -> bool:
    """Whether the way begins and ends at an https address, which the provider makes sure of."""
    return sign_on.registration.page_url.startswith("https://")
