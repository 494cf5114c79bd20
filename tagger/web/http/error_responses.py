"""Responses to errors: `{"error": text}` for programs, a page for people. Internals go to the log only."""

import logging
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger import errors
from tagger.database.retry import DAMAGED_ROWS, DatabaseError, is_defect, outage_text, stated_error
from tagger.errors import TaggerError
from tagger.texts.text_format import N_, gettext
from tagger.web.http.error_texts import page_text
from tagger.web.http.responses import DocumentResponse
from tagger.web.http.templates import render

log = logging.getLogger(__name__)

# The status of an error; all others are 400.
STATUS_OF_ERROR = {
    errors.NotFound: HTTPStatus.NOT_FOUND,
    errors.Conflict: HTTPStatus.CONFLICT,
    errors.Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

TITLES = {
    HTTPStatus.FORBIDDEN: N_("Not allowed"),
    HTTPStatus.NOT_FOUND: N_("Not found"),
    HTTPStatus.TOO_MANY_REQUESTS: N_("Too many attempts"),
    HTTPStatus.INTERNAL_SERVER_ERROR: N_("Something went wrong"),
    HTTPStatus.SERVICE_UNAVAILABLE: N_("Not available right now"),
}


# The time between two lines about an outage at one route: open pages ask again every few seconds.
OUTAGE_LOG_S = 60.0


def add_error_handlers(app: FastAPI) -> None:
    """Give every error a response that says what to do."""
    app.state.outages_logged_at = {}  # by route
    app.add_exception_handler(TaggerError, _tagger_error)
    app.add_exception_handler(DatabaseError, _database_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(UnexpectedErrors)


def error_response(
    scope: Scope, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    """Return JSON for an address of the API, a page for any other."""
    if _is_for_program(scope):
        return DocumentResponse({"error": text}, status, headers)
    code = HTTPStatus(status)
    title = gettext(TITLES.get(code, N_("Request failed")))
    page = render(Request(scope), "error.html", code, status=int(status), title=title, text=text)
    page.headers.update(headers or {})
    return page


def _is_for_program(scope: Scope) -> bool:
    path = scope["path"]
    return bool(path == "/api" or path.startswith("/api/"))


class UnexpectedErrors:
    """Middleware around the application: logs any other exception and responds without details."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_started = False

        async def send_and_note(message: Message) -> None:
            nonlocal is_started
            is_started = is_started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except ClientDisconnect:
            return
        except Exception:
            log.exception("unexpected error in %s %s; %s", scope["method"], _route_path(scope), DAMAGED_ROWS)
            if is_started:
                raise  # the response is half sent: only a closed connection shows that it is broken
            text = gettext("An error in this program; its log has the details. Please report it.")
            await error_response(scope, HTTPStatus.INTERNAL_SERVER_ERROR, text)(scope, receive, send)


def _route_path(scope: Scope) -> str:
    """Return the route's pattern; addresses may hold private data and are not logged."""
    route = scope.get("route")
    return getattr(route, "path", "an address")


async def _tagger_error(request: Request, error: Exception) -> Response:
    status = next(
        (status for kind, status in STATUS_OF_ERROR.items() if isinstance(error, kind)),
        HTTPStatus.BAD_REQUEST,
    )
    # The response is shown by a page, or by a script of a page that requested the API.
    is_for_page = "hx-request" in request.headers or not request.url.path.startswith("/api/")
    text = page_text(error) if isinstance(error, TaggerError) and is_for_page else str(error)
    return error_response(request.scope, status, text)


async def _database_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DatabaseError)  # noqa: S101 - it is registered for these alone
    if is_defect(error):
        raise error  # it is unexpected, and logged as such
    route = _route_path(request.scope)
    logged_at: dict[str, float] = request.app.state.outages_logged_at
    now = time.monotonic()
    if now - logged_at.get(route, -OUTAGE_LOG_S) >= OUTAGE_LOG_S:
        logged_at[route] = now
        log.error("database error in %s: %s", route, outage_text(error))
    reason = type(getattr(error, "orig", None) or error).__name__  # the message may hold values and addresses
    return await _tagger_error(request, stated_error(error, reason))


async def _validation_error(request: Request, error: Exception) -> Response:
    """Respond with a line such as `top_k: should be less than or equal to 100` for each invalid field."""
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these alone
    if not request.url.path.startswith("/api/"):
        problems = dict.fromkeys(map(_plain_problem, error.errors()[:10]))
        text = gettext(
            "Some values are not valid: %(fields)s. Go back and correct them.", fields=", ".join(problems)
        )
        return error_response(request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, text)
    lines = []
    for problem in error.errors()[:10]:
        field = ".".join(str(part) for part in problem["loc"][1:])[:100] or "the request"
        lines.append(f"{field}: {problem['msg'].removeprefix('Input ')}")
    return error_response(request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(lines) + ".")


_PLAIN_PROBLEMS = {
    "int_parsing": N_("%(field)s must be a whole number"),
    "int_from_float": N_("%(field)s must be a whole number"),
    "float_parsing": N_("%(field)s must be a number"),
    "missing": N_("%(field)s is missing"),
    "string_too_long": N_("%(field)s is too long"),
    "extra_forbidden": N_("%(field)s is not known here"),
    "less_than": N_("%(field)s is too large"),
    "less_than_equal": N_("%(field)s is too large"),
    "greater_than": N_("%(field)s is too small"),
    "greater_than_equal": N_("%(field)s is too small"),
}


def _plain_problem(problem: Mapping[str, Any]) -> str:
    """`year must be a whole number`; the name of the field alone if its value is invalid in another way."""
    field = next(
        (str(part)[:100] for part in problem["loc"][1:] if isinstance(part, str)), gettext("the request")
    )
    text = _PLAIN_PROBLEMS.get(problem["type"])
    return field if text is None else gettext(text, field=field)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these alone
    texts = {
        HTTPStatus.NOT_FOUND: gettext("There is no such page. Check the address."),
        HTTPStatus.METHOD_NOT_ALLOWED: "This address does not accept the method. See /api/openapi.json.",
    }
    status = HTTPStatus(error.status_code)
    text = texts.get(status, error.detail) if error.detail == status.phrase else error.detail
    return error_response(request.scope, status, text, error.headers)
