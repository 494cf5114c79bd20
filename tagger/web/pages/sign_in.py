"""Signing in with the token, and signing out. Part of the application only where a token is required."""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Request
from fastapi.responses import RedirectResponse, Response

from tagger.access.sessions import SESSION_S
from tagger.web.http.auth import Authenticator, TooManyAttempts
from tagger.web.http.forwarded import Client
from tagger.web.http.templates import render

router = APIRouter(include_in_schema=False)

MAX_NEXT_LENGTH = 4096
"""Of the address to continue at: the form has to fit into the limit of a body that needs no authentication."""


@router.get("/sign-in")
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - the parameter's name in the address
    return render(request, "sign_in.html", next=_local_address(next), problem="")


@router.post("/sign-in")
def sign_in(
    request: Request,
    token: Annotated[str, Form(max_length=1000)] = "",
    next: Annotated[str, Form(max_length=8192)] = "/",  # noqa: A002
) -> Response:
    """Start a session if the token is right."""
    authenticator: Authenticator = request.app.state.authenticator
    client: Client = request.state.client
    address = _local_address(next)
    try:
        session = authenticator.sign_in(token.strip(), client)
    except TooManyAttempts as error:
        page = render(request, "sign_in.html", HTTPStatus.TOO_MANY_REQUESTS, next=address, problem=str(error))
        page.headers["retry-after"] = str(error.retry_after_s)
        return page
    if session is None:
        problem = "That is not a valid token. Copy the whole token and try again."
        return render(request, "sign_in.html", HTTPStatus.FORBIDDEN, next=address, problem=problem)
    response = RedirectResponse(address, HTTPStatus.SEE_OTHER)
    response.set_cookie(
        authenticator.cookie,
        session,
        max_age=SESSION_S,
        httponly=True,
        samesite="strict",
        # Behind a proxy that is not trusted, only the Origin header shows that the browser uses https.
        secure=client.scheme == "https" or request.headers.get("origin", "").startswith("https://"),
    )
    return response


@router.post("/sign-out")
def sign_out(request: Request) -> Response:
    """End the session, in this browser and for every copy of its cookie."""
    authenticator: Authenticator = request.app.state.authenticator
    authenticator.sign_out(request.headers, request.state.client)
    # Browsers keep thumbnails for a year, and who comes next could open them by their address.
    response = RedirectResponse("/sign-in", HTTPStatus.SEE_OTHER, {"Clear-Site-Data": '"cache"'})
    response.delete_cookie(authenticator.cookie, httponly=True, samesite="strict")
    return response


def _local_address(address: str) -> str:
    """Return the address if it is a page of this server, else the start page."""
    is_local = address.startswith("/") and not address.startswith(("//", "/\\")) and address.isprintable()
    return address if is_local and len(address) <= MAX_NEXT_LENGTH else "/"
