"""How errors are answered: `{"error": text}` for programs, a page for people. The text says what to do; nothing inside is shown."""

import logging
from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger import errors
from tagger.errors import TaggerError
from tagger.web.document import Document
from tagger.web.pages.rendering import render

log = logging.getLogger(__name__)

STATUS: Mapping[type[TaggerError], HTTPStatus] = {
    **dict.fromkeys(
        (
            errors.CountryNotFound,
            errors.FolderNotFound,
            errors.JobNotFound,
            errors.LandmarkNotFound,
            errors.ModelNotFound,
            errors.PhotoNotKnown,
            errors.PhotoNumberNotKnown,
            errors.ScheduleNotFound,
        ),
        HTTPStatus.NOT_FOUND,
    ),
    **dict.fromkeys(
        (
            errors.FileThere,
            errors.JobNotPausable,
            errors.JobNotRetriable,
            errors.JobOver,
            errors.LandmarkAmbiguous,
            errors.PhotoNotLookedAt,
            errors.RootAway,
            errors.ScanEnded,
            errors.ScheduleExists,
        ),
        HTTPStatus.CONFLICT,
    ),
    **dict.fromkeys(
        (
            errors.DatabaseLost,
            errors.DatabaseUnavailable,
            errors.ModelChanged,
            errors.ModelFailed,
            errors.ModelGone,
            errors.ModelRefused,
            errors.NoModel,
            errors.ReadsHang,
            errors.RedisUnavailable,
            errors.SchemaNewer,
            errors.SchemaOutdated,
        ),
        HTTPStatus.SERVICE_UNAVAILABLE,
    ),
}
"""What is not here is a request that cannot be met as it is."""

UNFORESEEN = "An error in this program; its log says more. Please report it."
TITLES = {
    HTTPStatus.NOT_FOUND: "Nothing is here",
    HTTPStatus.INTERNAL_SERVER_ERROR: "That went wrong",
    HTTPStatus.SERVICE_UNAVAILABLE: "Not possible right now",
}


def answer_errors(app: FastAPI) -> None:
    """Give every error an answer that says what to do."""
    app.add_exception_handler(TaggerError, _tagger_error)
    app.add_exception_handler(SQLAlchemyError, _database_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_middleware(Unforeseen)


def error_answer(scope: Scope, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed, as whoever asked can read it."""
    if scope["path"] == "/api" or scope["path"].startswith("/api/"):
        return Document({"error": text}, status, headers)
    known = HTTPStatus(status)
    page = render(
        Request(scope),
        "error.html",
        known,
        status=int(status),
        title=TITLES.get(known, "Not possible"),
        text=text,
    )
    page.headers.update(headers or {})
    return page


class Unforeseen:
    """Stands around the application and answers what nobody foresaw; the traceback goes to the log, and nowhere else."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_noted(message: Message) -> None:
            nonlocal started
            started = started or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noted)
        except ClientDisconnect:
            return  # nobody is there to be told
        except Exception:
            log.exception("%s %s failed in a way that nobody foresaw", scope["method"], _route(scope))
            if started:
                raise  # the answer is half sent: the connection has to end for it to be seen as broken
            await error_answer(scope, HTTPStatus.INTERNAL_SERVER_ERROR, UNFORESEEN)(scope, receive, send)


def _route(scope: Scope) -> str:
    """The pattern of the address, as what was searched for is nobody's business."""
    route = scope.get("route")
    return getattr(route, "path", "an address")


async def _tagger_error(request: Request, error: Exception) -> Response:
    status = next(
        (status for kind, status in STATUS.items() if isinstance(error, kind)), HTTPStatus.BAD_REQUEST
    )
    return error_answer(request.scope, status, str(error))


async def _database_error(request: Request, error: Exception) -> Response:
    log.error("the database failed on %s", _route(request.scope), exc_info=error)
    reason = type(getattr(error, "orig", None) or error).__name__  # the rest may hold values and addresses
    return await _tagger_error(request, errors.DatabaseLost(reason=reason))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these alone
    return error_answer(request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, _what_is_wrong(error))


def _what_is_wrong(error: RequestValidationError) -> str:
    """`top_k: should be less than or equal to 100`, for all that is wrong."""
    lines = []
    for problem in error.errors()[:10]:
        place = ".".join(str(part) for part in problem["loc"][1:]) or "the request"
        lines.append(f"{place[:100]}: {problem['msg'].removeprefix('Input ')}")
    return "; ".join(lines) + "."


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for these alone
    texts = {
        HTTPStatus.NOT_FOUND: "There is no such page. Check the address.",
        HTTPStatus.METHOD_NOT_ALLOWED: "This address does not take such a request. /api/openapi.json says what there is.",
    }
    status = HTTPStatus(error.status_code)
    said_nothing = error.detail == status.phrase
    return error_answer(
        request.scope,
        status,
        texts.get(status, error.detail) if said_nothing else error.detail,
        error.headers,
    )
