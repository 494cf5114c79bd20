"""Signing in with a token, which gives the browser a cookie, and signing out.

Part of the application only where signing in is required.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AfterValidator, BaseModel, Field
from starlette.concurrency import run_in_threadpool

from tagger.database.audit_log import AuditAction, record_action
from tagger.database.connection import Database
from tagger.texts.text_format import gettext
from tagger.web.access import (
    STRANGER,
    Authenticator,
    Grant,
    Role,
    TooManyAttempts,
    actor_of,
    is_by_https,
    local_address,
    requires,
)
from tagger.web.state import State
from tagger.web.templating import render

router = APIRouter(include_in_schema=False)


class SignInForm(BaseModel):
    """The token that was entered, and the address to continue at."""

    token: Annotated[str, Field(max_length=1000, repr=False), AfterValidator(str.strip)] = ""
    next: Annotated[str, Field(max_length=8192), AfterValidator(local_address)] = "/"


@router.get("/sign-in")
@requires(Role.ANYBODY)
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - as in the address
    return _show_form(request, local_address(next))


@router.post("/sign-in")
@requires(Role.ANYBODY)
async def sign_in(request: Request, state: State, form: Annotated[SignInForm, Form()]) -> Response:
    """Give the browser a cookie if the token is right."""
    authenticator: Authenticator = request.app.state.authenticator
    try:
        grant = authenticator.grant_of_token(form.token, request.state.client)
    except TooManyAttempts as error:
        page = _show_form(request, form.next, error.detail, HTTPStatus.TOO_MANY_REQUESTS)
        page.headers.update(error.headers or {})
        return page
    if grant is STRANGER:
        problem = gettext("That is not a valid token. Copy the whole token and try again.")
        return _show_form(request, form.next, problem, HTTPStatus.FORBIDDEN)
    database = state.database.acting_as(actor_of(grant, request.state.client))
    await run_in_threadpool(_record, database, AuditAction.SIGN_IN, grant)
    response = RedirectResponse(form.next, HTTPStatus.SEE_OTHER)
    authenticator.set_cookie(response, grant, by_https=is_by_https(request))
    return response


def _show_form(
    request: Request, address: str, problem: str = "", status: HTTPStatus = HTTPStatus.OK
) -> Response:
    return render(request, "sign_in.html", status, next=address, problem=problem)


@router.post("/sign-out")
@requires(Role.VIEWER)
def sign_out(request: Request, state: State) -> Response:
    authenticator: Authenticator = request.app.state.authenticator
    _record(state.database, AuditAction.SIGN_OUT, request.state.grant)
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER)
    # Browsers keep thumbnails for a year, and the next user could open them by their address.
    response.headers["Clear-Site-Data"] = '"cache"'
    authenticator.delete_cookie(response)
    return response


def _record(database: Database, action: AuditAction, grant: Grant) -> None:
    with database.write() as connection:
        record_action(connection, action, grant.name)
