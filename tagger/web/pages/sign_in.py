"""Signing in with a token, or with a name and a password, and signing out. Part of the application only where that is required."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from tagger.people.passwords import AttemptsUsedUp
from tagger.system.text_format import N_, gettext
from tagger.web.http.attempt_limiter import TooManyAttempts
from tagger.web.http.auth import Authenticator
from tagger.web.http.forwarded import Client, delete_session_cookie, is_by_https, set_session_cookie
from tagger.web.http.single_sign_on import PROVIDER_LIMITER, SingleSignOn
from tagger.web.http.templates import render

router = APIRouter(include_in_schema=False)

MAX_NEXT_LENGTH = 4096
"""Of the address to continue at: the form has to fit into the limit of a body that needs no authentication."""
WRONG_TOKEN = N_("That is not a valid token. Copy the whole token and try again.")
WRONG_PASSWORD = N_("The name or the password is wrong.")


HASH_LIMITER = CapacityLimiter(2)
"""Threads that check passwords: each check takes 64 MB. Requests that wait for one take no thread from the pages."""


@dataclass(frozen=True)
class SignInForm:
    """What was entered: a name and a password, or a token."""

    name: str
    password: str
    token: str
    next: str


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the address
    return _show_form(request, SignInForm("", "", "", local_address(next)))


@router.post("/sign-in")
async def sign_in(
    request: Request,
    name: Annotated[str, Form(max_length=200)] = "",
    password: Annotated[str, Form(max_length=1000)] = "",
    token: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=8192)] = "/",  # noqa: A002
) -> Response:
    """Start a session if the name and the password, or the token, are right."""
    form = SignInForm(name, password, token.strip(), local_address(next))
    return await to_thread.run_sync(_sign_in, request, form, limiter=HASH_LIMITER)


def _sign_in(request: Request, form: SignInForm) -> Response:
    authenticator: Authenticator = request.app.state.authenticator
    client: Client = request.state.client
    browser = request.headers.get("user-agent")
    try:
        if form.name or form.password:
            session = authenticator.sign_in_user(form.name, form.password, client, browser)
        else:
            session = authenticator.sign_in(form.token, client, browser)
    except (TooManyAttempts, AttemptsUsedUp) as error:
        page = _show_form(request, form, str(error), HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    if session is None:
        by_name = bool(form.name or form.password)
        return _show_form(
            request, form, gettext(WRONG_PASSWORD if by_name else WRONG_TOKEN), HTTPStatus.FORBIDDEN
        )
    authenticator.sign_out(request.headers, client)  # the session that this browser had before
    response = RedirectResponse(form.next, HTTPStatus.SEE_OTHER)
    set_session_cookie(response, authenticator.cookie, session, by_https=is_by_https(request))
    return response


def _show_form(
    request: Request, form: SignInForm, problem: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    authenticator: Authenticator = request.app.state.authenticator
    sign_on: SingleSignOn | None = request.app.state.single_sign_on
    return render(
        request,
        "sign_in.html",
        status,
        next=form.next,
        user_name=form.name,
        problem=problem,
        by_name=authenticator.asks_for_name(),
        with_token=bool(form.token),
        provider=sign_on and sign_on.registration,
    )


@router.post("/sign-out")
async def sign_out(request: Request) -> Response:
    """End the session, in this browser and for every copy of its cookie, and at the provider if it began there."""
    authenticator: Authenticator = request.app.state.authenticator
    sign_on: SingleSignOn | None = request.app.state.single_sign_on
    session = await to_thread.run_sync(authenticator.sign_out, request.headers, request.state.client)
    address = None
    if session is not None and sign_on is not None:
        address = await to_thread.run_sync(sign_on.sign_out_url, session, limiter=PROVIDER_LIMITER)
    response: Response
    if sign_on is None or address is None:
        response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    else:
        # Not a redirect: a form may lead to this server alone (Content-Security-Policy).
        provider = sign_on.registration.name
        response = render(
            request, "signed_out.html", opened_from="/sign-in", address=address, provider=provider
        )
    # Browsers keep thumbnails for a year, and who comes next could open them by their address.
    response.headers["Clear-Site-Data"] = '"cache"'
    delete_session_cookie(response, authenticator.cookie)
    return response


def local_address(address: str) -> str:
    """Return the address if it is a page of this server, else the start page."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local and len(address) <= MAX_NEXT_LENGTH else "/"
