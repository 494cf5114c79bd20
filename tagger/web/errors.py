"""Errors in the reader's words, and responses to them: `{"error": text}` for programs, a page for people.

Pages say other texts than commands where those name commands. Internals go to the log only.
"""

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
from tagger.database.engine import (
    DAMAGED_ROWS,
    DatabaseError,
    is_defect,
    outage_text,
    stated_error,
)
from tagger.errors import FailureKind, TaggerError
from tagger.metadata import RefusalKind
from tagger.texts.text_format import N_, gettext, reader_language
from tagger.web.routes import DocumentResponse
from tagger.web.templating import render

PAGE_TEXTS: Mapping[type[TaggerError], str] = {
    errors.CameraNotFound: N_(
        "No photo was taken with a camera {name}. Cameras of your photos: {names}."
    ),
    errors.CountryNotFound: N_(
        "No landmark or photo is in the country {name}.{close} Choose a country in the filter, or in the "
        "library."
    ),
    errors.EmbeddingsMissing: N_(
        "The model {name} cannot compare photos, so it cannot learn places or find similar photos. Ask the "
        "administrator of the server to select another model."
    ),
    errors.ExamplesMissing: N_(
        "None of the photos can be an example. Choose photos that are classified."
    ),
    errors.JobFinished: N_("Job {job} is over already."),
    errors.JobNotFound: N_("There is no job {job}."),
    errors.JobNotPausable: N_(
        "Job {job} runs in a terminal and cannot be paused. Cancel it, and start it again later: photos that "
        "are classified are skipped."
    ),
    errors.JobNotRetriable: N_(
        "Job {job} writes metadata and cannot be retried. Write the metadata again: that includes only the "
        "photos that are not written yet."
    ),
    errors.LandmarkInvalid: N_("Invalid landmark: {reason}."),
    errors.LandmarkExists: N_(
        "The name {name} belongs to {owner}{place} already. If you mean that one, choose it. If not, give "
        "the new one a name of its own."
    ),
    errors.LandmarksDistinct: N_(
        "{name} cannot be merged into {other}: the model {models} tells them apart. Reject the wrong one on "
        "photos."
    ),
    errors.LandmarkOfModel: N_(
        "{name} cannot be deleted: the model {models} would find it again. Reject it on photos, or merge it "
        "into another place."
    ),
    errors.LandmarkNotFound: N_(
        "There is no landmark {name}.{close} Search for another name, or add it as a new landmark."
    ),
    errors.PhotoIdNotFound: N_(
        "The library has no photo with the number {photo_id}. It may have been removed; search for it in the "
        "library."
    ),
    errors.PhotoNotClassified: N_(
        "The photo {path} is not processed{why}. Start a job for its folder, then try again."
    ),
    errors.ScheduleExists: N_(
        "The schedule {name} exists already. Choose another name, or remove that one first."
    ),
    errors.ScheduleNotFound: N_(
        "There is no schedule {name}. The schedules are: {names}."
    ),
    errors.CursorInvalid: N_(
        "This page of the list is not there any more. Open the first page again."
    ),
    errors.DatabaseConnectionLost: N_(
        "The connection to the database is lost. Try again."
    ),
    errors.DatabasePermissionMissing: N_(
        "The database refuses this. Tell the administrator of the server."
    ),
    errors.StatementRefused: N_(
        "An error in this program; its log has the details. Please report it."
    ),
    errors.DatabaseReadOnly: N_(
        "The database is read-only now. Tell the administrator of the server."
    ),
    errors.DatabaseUnavailable: N_(
        "The database does not answer. Try again; if it stays so, tell the administrator of the server."
    ),
    errors.DiskFull: N_("The disk of the server is full. What is stored is safe."),
    errors.LandmarkAmbiguous: N_(
        "Several places have the name {name}: in {cities}. Choose one from the list."
    ),
    errors.ModelNotSelected: N_(
        "No model is in use. Ask the administrator of the server to select one."
    ),
    errors.PathNotFound: N_(
        "There is no file or folder at {path}. Check the name, and that its disk is connected."
    ),
    errors.TripNotFound: N_(
        "There is no trip {trip}. A trip gets a new name where more photos change its first day."
    ),
}
NO_MODEL = N_("The model cannot be used. Tell the administrator of the server.")
SCHEMA_DIFFERS = N_(
    "The database does not fit this version of the program. Tell the administrator of the server."
)
# In other languages than English, with the kinds of errors below each. The English texts say more.
TRANSLATED_TEXTS: Mapping[type[TaggerError], str] = {
    errors.BucketUnavailable: N_("{folder} is not available. Try again later."),
    errors.ModelChanged: NO_MODEL,
    errors.ModelFailed: NO_MODEL,
    errors.ModelFileNotFound: NO_MODEL,
    errors.ModelNotFound: NO_MODEL,
    errors.ModelRefused: NO_MODEL,
    errors.ObjectAddressInvalid: N_(
        "The address of the bucket is not valid. Write it like s3://bucket/folder."
    ),
    errors.ObjectUnsupported: N_(
        "{path} is in a bucket, and this works with folders only. Copy the photos to a folder first."
    ),
    errors.QueryInvalid: N_(
        "The filter is not valid. Go back to the photos and filter again."
    ),
    errors.QueryOptionInvalid: N_(
        "The filter {option} is not valid. Change it or leave it out."
    ),
    errors.ReadsTimedOut: N_(
        "Reading photos takes too long. Check their disk or share, then try again."
    ),
    errors.RedisUnavailable: N_(
        "Redis does not respond. Jobs are recorded and will be sent when it is back."
    ),
    errors.RootUnavailable: N_(
        "The folder {folder} is empty or missing. Connect its disk or share, then try again."
    ),
    errors.ScheduleInvalid: N_(
        "The schedule is not valid. Check its times and its time zone."
    ),
    errors.SchemaOutdated: SCHEMA_DIFFERS,
    errors.SearchTextInvalid: N_(
        "The search does not understand {text}. Try other words."
    ),
    errors.TripEditFollowed: N_("Undo the later change of this trip first."),
    errors.TripsApart: N_(
        "These trips are more than {days} days apart, and cannot be merged."
    ),
    errors.SystemRefused: N_(
        "The server has no access to {what}. Check its permissions."
    ),
}


def page_text(error: TaggerError) -> str:
    texts = [PAGE_TEXTS.get(type(error))]
    if reader_language() is not None:
        texts += map(TRANSLATED_TEXTS.get, type(error).__mro__)
    for text in filter(None, texts):
        return gettext(text).format(**error.values)
    return str(error)


FAILURES: Mapping[str, str] = {
    FailureKind.GONE: N_("file is gone"),
    FailureKind.UNREADABLE: N_("not readable"),
    FailureKind.UNREACHABLE: N_("not reachable"),
    FailureKind.SETTLING: N_("being written"),
    FailureKind.EMPTY: N_("empty file"),
    FailureKind.TOO_LARGE: N_("file too large"),
    FailureKind.NOT_AN_IMAGE: N_("not an image"),
    FailureKind.UNSUPPORTED: N_("not supported"),
    FailureKind.TRUNCATED: N_("cut off"),
    FailureKind.CORRUPT: N_("damaged"),
    FailureKind.TOO_MANY_PIXELS: N_("too many pixels"),
    FailureKind.TIMED_OUT: N_("took too long"),
    FailureKind.CRASHED: N_("cannot be decoded"),
    FailureKind.INTERNAL: N_("internal error"),
}
# Kinds of failures and refusals in few words; templates/failure.html has what they mean.
REFUSALS: Mapping[str, str] = {
    **FAILURES,
    FailureKind.TOO_LARGE: N_("no room"),
    "disk-full": N_("disk full"),
    RefusalKind.BUCKET: N_("in a bucket"),
    RefusalKind.FORMAT: N_("format not writable"),
    RefusalKind.STRUCTURE: N_("invalid structure"),
    RefusalKind.OFFSETS: N_("fixed offsets"),
    RefusalKind.SIGNED: N_("signed (C2PA)"),
    RefusalKind.XMP: N_("unsupported XMP"),
    RefusalKind.LINK: N_("a link"),
    RefusalKind.CHANGED: N_("changed meanwhile"),
    RefusalKind.BUSY: N_("in use"),
    RefusalKind.CHECK: N_("check failed"),
    RefusalKind.SIDECAR: N_("sidecar of two photos"),
    RefusalKind.LOST: N_("written file not found"),
    RefusalKind.READ_ONLY: N_("read-only"),
    RefusalKind.LIBRARY: N_("library of another program"),
}


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
    app.state.outages_logged_at = {}  # by route
    # Starlette's type of a handler does not know the kind of its errors.
    handlers: dict[type[Exception], Any] = {
        TaggerError: _tagger_error,
        DatabaseError: _database_error,
        RequestValidationError: _validation_error,
        HTTPException: _http_error,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(UnexpectedErrors)


def error_response(
    scope: Scope, status: int, text: str, headers: Mapping[str, str] | None = None
) -> Response:
    path = scope["path"]
    if path == "/api" or path.startswith("/api/"):
        return DocumentResponse({"error": text}, status, headers)
    code = HTTPStatus(status)
    title = gettext(TITLES.get(code, N_("Request failed")))
    page = render(
        Request(scope), "error.html", code, status=int(status), title=title, text=text
    )
    page.headers.update(headers or {})
    return page


class UnexpectedErrors:
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
            log.exception(
                "unexpected error in %s %s; %s",
                scope["method"],
                _route_path(scope),
                DAMAGED_ROWS,
            )
            if is_started:
                raise  # the response is half sent: only a closed connection shows that it is broken
            text = gettext(
                "An error in this program; its log has the details. Please report it."
            )
            await error_response(scope, HTTPStatus.INTERNAL_SERVER_ERROR, text)(
                scope, receive, send
            )


def _route_path(scope: Scope) -> str:
    # The route's pattern; addresses may hold private data and are not logged.
    route = scope.get("route")
    return getattr(route, "path", "an address")


async def _tagger_error(request: Request, error: TaggerError) -> Response:
    statuses = [
        status for kind, status in STATUS_OF_ERROR.items() if isinstance(error, kind)
    ]
    status = statuses[0] if statuses else HTTPStatus.BAD_REQUEST
    # The response is shown by a page, or by a script of a page that requested the API.
    is_for_page = "hx-request" in request.headers or not request.url.path.startswith(
        "/api/"
    )
    text = page_text(error) if is_for_page else str(error)
    return error_response(request.scope, status, text)


async def _database_error(request: Request, error: DatabaseError) -> Response:
    if is_defect(error):
        raise error  # it is unexpected, and logged as such
    route = _route_path(request.scope)
    logged_at: dict[str, float] = request.app.state.outages_logged_at
    now = time.monotonic()
    if now - logged_at.get(route, -OUTAGE_LOG_S) >= OUTAGE_LOG_S:
        logged_at[route] = now
        log.error("database error in %s: %s", route, outage_text(error))
    reason = type(
        getattr(error, "orig", None) or error
    ).__name__  # the message may hold values and addresses
    return await _tagger_error(request, stated_error(error, reason))


async def _validation_error(request: Request, error: Exception) -> Response:
    # Respond with a line such as `top_k: should be less than or equal to 100` for each invalid field.
    assert isinstance(error, RequestValidationError)  # noqa: S101 - it is registered for these alone
    if not request.url.path.startswith("/api/"):
        problems: dict[str, None] = {}
        for problem in error.errors()[:10]:
            names = [
                str(part)[:100] for part in problem["loc"][1:] if isinstance(part, str)
            ]
            field = names[0] if names else gettext("the request")
            plain = _PLAIN_PROBLEMS.get(problem["type"])
            problems[field if plain is None else gettext(plain, field=field)] = None
        text = gettext(
            "Some values are not valid: %(fields)s. Go back and correct them.",
            fields=", ".join(problems),
        )
        return error_response(request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, text)
    lines = []
    for problem in error.errors()[:10]:
        field = (
            ".".join(str(part) for part in problem["loc"][1:])[:100] or "the request"
        )
        lines.append(f"{field}: {problem['msg'].removeprefix('Input ')}")
    return error_response(
        request.scope, HTTPStatus.UNPROCESSABLE_ENTITY, "; ".join(lines) + "."
    )


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


async def _http_error(request: Request, error: HTTPException) -> Response:
    texts = {
        HTTPStatus.NOT_FOUND: gettext("There is no such page. Check the address."),
        HTTPStatus.METHOD_NOT_ALLOWED: "This address does not accept the method. See /api/openapi.json.",
    }
    status = HTTPStatus(error.status_code)
    text = (
        texts.get(status, error.detail)
        if error.detail == status.phrase
        else error.detail
    )
    return error_response(request.scope, status, text, error.headers)
