"""The application: `create_app` joins state, API and pages, for `tagger serve` and for tests."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger.database.connection import Database
from tagger.processes.stall import stall_check
from tagger.settings import Settings
from tagger.web import api, pages
from tagger.web.access import AccessPolicy, Authenticator, Role, RouteRoles, requires
from tagger.web.api.jobs import EventHub
from tagger.web.api.photos import unavailable_response
from tagger.web.errors import add_error_handlers
from tagger.web.overview import Changes
from tagger.web.pages import sign_in
from tagger.web.pages.jobs import live_document
from tagger.web.pages.map_clusters import check_map_file
from tagger.web.photo_files import PhotoUnavailable
from tagger.web.request_guard import CountLimiter, RequestGuard
from tagger.web.routes import HeadRequests
from tagger.web.state import AppState
from tagger.web.templating import STATIC, AssetFiles

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
            _EventLoopCheck(asyncio.get_running_loop(), settings.stall_timeout_s).problem
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
    app.mount("/static", requires(Role.ANYBODY)(AssetFiles(directory=STATIC)), name="static")
    for router in (*api.ROUTERS, *pages.ROUTERS):
        _add_routes(app, router)
    add_error_handlers(app)
    app.add_exception_handler(PhotoUnavailable, unavailable_response)
    authenticator: Authenticator | None = None
    if policy.token is not None:
        authenticator = Authenticator(database, policy, policy.token)
        app.state.authenticator = authenticator
        _add_routes(app, sign_in.router)
    # The last middleware that is added is the outermost. Compression reveals no secret by its length
    # (BREACH): pages hold no tokens, and of what another site causes, only a followed link has a session
    # (SameSite=Lax).
    app.add_middleware(
        GZipMiddleware, compresslevel=COMPRESSION_LEVEL, exclude_content_types=SENT_AS_IS
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
    """Makes results stale before a change is answered: the next request sees what it changed."""

    def __init__(self, app: ASGIApp, changes: Changes) -> None:
        self._app = app
        self._changes = changes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._changes.record_request()
            await send(message)

        is_change = scope["type"] == "http" and scope["method"] not in ("GET", "HEAD")
        await self._app(scope, receive, send_recorded if is_change else send)


def _add_routes(app: FastAPI, router: APIRouter) -> None:
    # Add the routes as they are: `include_router` would analyse each one again in every application.
    app.router.routes.extend(router.routes)


class _EventLoopCheck:
    """Asks whether the event loop, which answers all requests, still runs what it is given."""

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
