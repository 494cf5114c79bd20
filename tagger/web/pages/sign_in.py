"""Signing in with a token, which gives the browser a cookie, and signing out.

Part of the application only where signing in is required.
"""

from http import HTTPStatus
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AfterValidator, BaseModel, Field

from tagger.texts.text_format import gettext
from tagger.web.http.access import DATABASE_LIMITER, Access, requires
from tagger.web.http.attempt_limiter import TooManyAttempts
from tagger.web.http.auth import Authenticator
from tagger.web.http.forwarded import (
    delete_session_cookie,
    local_address,
    set_session_cookie,
)
from tagger.web.http.origins import is_by_https
from tagger.web.http.templates import render

router = APIRouter(include_in_schema=False)


class SignInForm(BaseModel):
    """The token that was entered, and the address to continue at."""

    token: Annotated[str, Field(max_length=1000, repr=False), AfterValidator(str.strip)] = ""
    next: Annotated[str, Field(max_length=8192), AfterValidator(local_address)] = "/"


@router.get("/sign-in")
@requires(Access.ANYBODY)
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - as in the address
    return _show_form(request, local_address(next))


@router.post("/sign-in")
@requires(Access.ANYBODY)
async def sign_in(request: Request, form: Annotated[SignInForm, Form()]) -> Response:
    """Give the browser a cookie if the token is right."""
    authenticator: Authenticator = request.app.state.authenticator
    try:
        cookie = await to_thread.run_sync(
            authenticator.sign_in, form.token, request.state.client, limiter=DATABASE_LIMITER
        )
    except TooManyAttempts as error:
        page = _show_form(request, form.next, str(error), HTTPStatus.TOO_MANY_REQUESTS)
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    if cookie is None:
        problem = gettext("That is not a valid token. Copy the whole token and try again.")
        return _show_form(request, form.next, problem, HTTPStatus.FORBIDDEN)
    response = RedirectResponse(form.next, HTTPStatus.SEE_OTHER)
    set_session_cookie(response, authenticator.cookie, cookie, by_https=is_by_https(request))
    return response


def _show_form(
    request: Request, address: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    return render(request, "sign_in.html", status, next=address, problem=problem)


@router.post("/sign-out")
@requires(Access.VIEWER)
async def sign_out(request: Request) -> Response:
    """Let the browser forget its cookie."""
    authenticator: Authenticator = request.app.state.authenticator
    await to_thread.run_sync(
        authenticator.record_sign_out, request.headers, request.state.client, limiter=DATABASE_LIMITER
    )
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    # Browsers keep thumbnails for a year, and the next user could open them by their address.
    response.headers["Clear-Site-Data"] = '"cache"'
    delete_session_cookie(response, authenticator.cookie)
    return response
