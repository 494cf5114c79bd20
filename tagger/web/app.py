"""The application: `create_app` joins state, API and pages, for `tagger serve` and for tests.

Where signing in is required, pages give the browser a cookie for a token, and take it away.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AfterValidator, BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger.database.connection import AuditAction, Database, record_action
from tagger.processes.stall import stall_check
from tagger.settings import Settings
from tagger.texts.text_format import gettext
from tagger.web import api, pages
from tagger.web.access import (
    STRANGER,
    AccessPolicy,
    Authenticator,
    Grant,
    Role,
    RouteRoles,
    TooManyAttempts,
    actor_of,
    is_by_https,
    local_address,
    requires,
)
from tagger.web.api.jobs import EventHub
from tagger.web.api.photos import unavailable_response
from tagger.web.errors import add_error_handlers
from tagger.web.pages.jobs import live_document
from tagger.web.pages.map_clusters import check_map_file
from tagger.web.photo_files import PhotoUnavailable
from tagger.web.request_guard import CountLimiter, RequestGuard
from tagger.web.routes import HeadRequests
from tagger.web.state import AppState, Changes, State
from tagger.web.templating import STATIC, AssetFiles, render

# Higher ones take twice the time for 1 % less.
COMPRESSION_LEVEL = 6
# Media types of files that are compressed already. Browsers show how much of them is left.
SENT_AS_IS = (*DEFAULT_EXCLUDED_CONTENT_TYPES, "application/octet-stream")


def create_app(
    settings: Settings,
    database: Database,
    policy: AccessPolicy,
    *,
    has_own_worker: bool = False,
) -> FastAPI:
    """Return the page and the API over a database.

    `policy`: who has access; `has_own_worker`: see `AppState`.
    """
    check_map_file(settings.web_map_file)
    state = AppState(settings, database, has_own_worker=has_own_worker)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        with stall_check(
            _EventLoopCheck(
                asyncio.get_running_loop(), settings.stall_timeout_s
            ).problem
        ):
            yield
        state.close()

    app = FastAPI(
        title="landmark tagger",
        version=version("landmark-tagger"),
        openapi_url=None,  # a route of `routes`, which declares who may read it
        redirect_slashes=False,  # a redirect would go to the host that the request names
        lifespan=lifespan,
    )
    app.state.app_state = state
    app.state.count_limiter = CountLimiter()
    app.state.event_hub = EventHub(state, partial(live_document, state))
    app.mount(
        "/static", requires(Role.ANYBODY)(AssetFiles(directory=STATIC)), name="static"
    )
    for router in (*api.ROUTERS, *pages.ROUTERS):
        _add_routes(app, router)
    add_error_handlers(app)
    app.add_exception_handler(PhotoUnavailable, unavailable_response)
    authenticator: Authenticator | None = None
    if policy.token is not None:
        authenticator = Authenticator(database, policy, policy.token)
        app.state.authenticator = authenticator
        _add_routes(app, sign_in_router)
    # The last middleware that is added is the outermost. Compression reveals no secret by its length
    # (BREACH): pages hold no tokens, and of what another site causes, only a followed link has a session
    # (SameSite=Lax).
    app.add_middleware(
        GZipMiddleware,
        compresslevel=COMPRESSION_LEVEL,
        exclude_content_types=SENT_AS_IS,
    )
    app.add_middleware(HeadRequests)
    app.add_middleware(_RecordChanges, changes=state.changes)
    app.add_middleware(
        RequestGuard,
        policy=policy,
        upload_bytes=settings.web_upload_bytes,
        route_roles=RouteRoles(app.routes),
        authenticator=authenticator,
    )
    return app


class _RecordChanges:
    # Makes results stale before a change is answered: the next request sees what it changed.

    def __init__(self, app: ASGIApp, changes: Changes) -> None:
        self._app = app
        self._changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._changes.requests += 1
            await send(message)

        is_change = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        await self._app(scope, receive, send_recorded if is_change else send)


def _add_routes(app: FastAPI, router: APIRouter) -> None:
    # Add the routes as they are: `include_router` would analyse each one again in every application.
    app.router.routes.extend(router.routes)


class _EventLoopCheck:
    # Asks whether the event loop, which answers all requests, still runs what it is given.

    def __init__(self, loop: asyncio.AbstractEventLoop, limit_s: float) -> None:
        self._loop = loop
        self._limit_s = limit_s
        self._asked_at: float | None = None

    def problem(self) -> str | None:
        if self._asked_at is None:
            self._asked_at = time.monotonic()
            self._loop.call_soon_threadsafe(setattr, self, "_asked_at", None)
        elif time.monotonic() - self._asked_at > self._limit_s:
            return f"no request was answered for {self._limit_s:.0f} s"
        return None


sign_in_router = APIRouter(include_in_schema=False)


class SignInForm(BaseModel):
    token: Annotated[
        str, Field(max_length=1000, repr=False), AfterValidator(str.strip)
    ] = ""
    next: Annotated[str, Field(max_length=8192), AfterValidator(local_address)] = "/"


@sign_in_router.get("/sign-in")
@requires(Role.ANYBODY)
def show_sign_in(request: Request, next: str = "/") -> Response:  # noqa: A002 - as in the address
    return _show_form(request, local_address(next))


@sign_in_router.post("/sign-in")
@requires(Role.ANYBODY)
async def sign_in(
    request: Request, state: State, form: Annotated[SignInForm, Form()]
) -> Response:
    authenticator: Authenticator = request.app.state.authenticator
    try:
        grant = authenticator.grant_of_token(form.token, request.state.client)
    except TooManyAttempts as error:
        page = _show_form(
            request, form.next, error.detail, HTTPStatus.TOO_MANY_REQUESTS
        )
        page.headers.update(error.headers or {})
        return page
    if grant is STRANGER:
        problem = gettext(
            "That is not a valid token. Copy the whole token and try again."
        )
        return _show_form(request, form.next, problem, HTTPStatus.FORBIDDEN)
    database = state.database.acting_as(actor_of(grant, request.state.client))
    await run_in_threadpool(_record, database, AuditAction.SIGN_IN, grant)
    response = RedirectResponse(form.next, HTTPStatus.SEE_OTHER)
    authenticator.set_cookie(response, grant, by_https=is_by_https(request))
    return response


def _show_form(
    request: Request,
    address: str,
    problem: str = "",
    status: HTTPStatus = HTTPStatus.OK,
) -> Response:
    return render(request, "sign_in.html", status, next=address, problem=problem)


@sign_in_router.post("/sign-out")
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
