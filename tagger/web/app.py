"""The application: `create_app` joins state, API and pages, for `tagger serve` and for tests.

`RequestGuard`, the outermost middleware, checks host, origin, content type, size and authentication of every
request. A pure ASGI middleware, so that responses can stream. It leaves `client`, `grant` and `actor` in the
request's state, and sets the language of its texts.

Where signing in is required, pages give the browser a cookie for a token, and take it away.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Annotated
from urllib.parse import quote, unquote_to_bytes

from fastapi import APIRouter, FastAPI, Form, Request
from fastapi.responses import RedirectResponse, Response
from pydantic import AfterValidator, BaseModel, Field
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tagger.database.connection import AuditAction, Database, record_action
from tagger.processes.stall import stall_check
from tagger.settings import Settings
from tagger.texts.text_format import gettext, in_language, in_zone
from tagger.web import api, pages
from tagger.web.access import (
    SAFE_METHODS,
    STRANGER,
    AccessPolicy,
    Authenticator,
    Client,
    Grant,
    Origin,
    Role,
    RouteRoles,
    TooManyAttempts,
    actor_of,
    client_of,
    is_by_https,
    is_from,
    local_address,
    own_origins,
    requires,
)
from tagger.web.api.jobs import EventHub
from tagger.web.api.photos import unavailable_response
from tagger.web.errors import add_error_handlers, error_response
from tagger.web.pages.jobs import live_document
from tagger.web.pages.library import check_map_file
from tagger.web.photo_files import PhotoUnavailable
from tagger.web.routes import CountLimiter, HeadRequests, add_headers
from tagger.web.state import AppState, Changes, State
from tagger.web.templating import STATIC, AssetFiles, language_of, render, zone_of
from tagger.web.uploads import FRAMING_BYTES, SMALL_BYTES, limit_body, too_large_text

log = logging.getLogger(__name__)

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


MAX_ADDRESS_BYTES = 8 * 2**10

# Forms of any site can send these types without a preflight request; a program declares what it sends.
_FORM_TYPES = frozenset({"", "text/plain", "application/x-www-form-urlencoded"})
_UPLOAD_PATHS = frozenset({"/try", "/api/predict", "/api/uploads"})
_UPLOAD_TYPES = ("multipart/form-data", "image/", "application/octet-stream")
_HOST = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE)


class RequestGuard:
    def __init__(
        self,
        app: ASGIApp,
        policy: AccessPolicy,
        upload_bytes: int,
        route_roles: RouteRoles,
        authenticator: Authenticator | None,
    ) -> None:
        self._app = app
        self._policy = policy
        self._upload_bytes = upload_bytes
        self._route_roles = route_roles
        self._authenticator = authenticator
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan events; the server has no web sockets
            await self._app(scope, receive, send)
            return
        send = add_headers(scope, send)
        headers = Headers(scope=scope)
        with (
            in_language(language_of(scope["path"], headers)),
            in_zone(zone_of(headers)),
        ):
            state = scope.setdefault("state", {})
            client = client_of(
                scope, headers, self._policy.trusted_proxies, self._policy.user_header
            )
            state.update(client=client, grant=STRANGER)
            role = self._route_roles.of(scope)
            try:
                _check_address(scope)
                self._check_host(headers)
                own = own_origins(headers, client, self._policy.web_url)
                _check_origin(scope["method"], headers, own)
                _check_content_type(scope, headers)
                most_bytes = self._check_length(scope, headers)
                if self._authenticator is None:
                    state["grant"] = self._policy.local_grant
                elif role is not Role.ANYBODY:
                    self._warn_of_proxy(headers, client)
                    state["grant"] = self._authenticator.authenticate(headers, client)
                _check_role(state["grant"], role)
            except HTTPException as refused:
                # The request must not have any effect; the text says why, and what to do.
                await _refusal_response(scope, headers, refused)(scope, receive, send)
                return
            state["actor"] = actor_of(state["grant"], client)
            await self._app(scope, limit_body(receive, most_bytes), send)

    def _warn_of_proxy(self, headers: Headers, client: Client) -> None:
        if (
            self._has_warned
            or self._policy.trusted_proxies
            or "x-forwarded-for" not in headers
        ):
            return
        self._has_warned = True
        log.warning(
            "requests from %s have X-Forwarded-For, which is ignored, so all clients of this proxy share one "
            "limit of wrong tokens; if the proxy is yours, name it in TAGGER_WEB_TRUSTED_PROXIES",
            client.address,
        )

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise HTTPException(
                HTTPStatus.BAD_REQUEST,
                "The request needs exactly one valid Host header.",
            )
        if self._policy.token is None and hosts[0].lower() not in self._policy.hosts:
            raise HTTPException(
                HTTPStatus.MISDIRECTED_REQUEST,
                gettext(
                    "This server is not %(host)s. Open http://127.0.0.1:%(port)s/ instead. To use "
                    "another name, start `tagger serve` with TAGGER_WEB_TOKEN set.",
                    host=hosts[0],
                    port=self._policy.port,
                ),
            )

    def _check_length(self, scope: Scope, headers: Headers) -> int:
        is_upload = scope["method"] == "POST" and scope["path"] in _UPLOAD_PATHS
        is_photo = is_upload and _content_type(headers).startswith(_UPLOAD_TYPES)
        most_bytes = self._upload_bytes + FRAMING_BYTES if is_photo else SMALL_BYTES
        length = headers.get("content-length")
        if length is not None and "transfer-encoding" in headers:
            # Request smuggling: a proxy and this server could disagree about where the body ends.
            raise HTTPException(
                HTTPStatus.BAD_REQUEST,
                "The request has both Content-Length and Transfer-Encoding. Send one of them.",
                {"connection": "close"},
            )
        if length is not None and (not length.isascii() or not length.isdigit()):
            raise HTTPException(
                HTTPStatus.BAD_REQUEST, "The request's Content-Length is not a number."
            )
        if length is not None and int(length[:20]) > most_bytes:
            raise HTTPException(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large_text(most_bytes)
            )
        return most_bytes


def _check_role(grant: Grant, needed: Role) -> None:
    if grant.role >= needed:
        return
    if grant.role is Role.ANYBODY:
        raise HTTPException(
            HTTPStatus.UNAUTHORIZED,
            gettext(
                "A token is required: send it as `Authorization: Bearer TOKEN`, or sign in at /sign-in."
            ),
            {"www-authenticate": "Bearer"},
        )
    text = gettext(
        "Your access is read-only: you can search photos and classify uploads. Sign in with another token or "
        "name to make changes."
    )
    raise HTTPException(HTTPStatus.FORBIDDEN, text)


def _refusal_response(
    scope: Scope, headers: Headers, refused: HTTPException
) -> ASGIApp:
    is_page = scope["method"] == "GET" and not scope["path"].startswith("/api/")
    if (
        refused.status_code == HTTPStatus.UNAUTHORIZED
        and is_page
        and "text/html" in headers.get("accept", "")
    ):
        query = scope["query_string"].decode("latin-1")
        address = quote(scope["path"]) + (f"?{query}" if query else "")
        return RedirectResponse(
            f"/sign-in?next={quote(address, safe='/')}", HTTPStatus.SEE_OTHER
        )
    # The error page must not be affected by headers that are invalid.
    return error_response(
        {**scope, "headers": []}, refused.status_code, refused.detail, refused.headers
    )


def _check_address(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw) + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        raise HTTPException(
            HTTPStatus.REQUEST_URI_TOO_LONG,
            gettext("The address is too long. Ask for less at once."),
        )
    # No file and no name in the database has control characters, and some databases fail on them.
    has_control = any(
        ord(character) < 32 or ord(character) == 127 for character in scope["path"]
    )
    query = unquote_to_bytes(scope["query_string"])
    if (
        has_control
        or "\ufffd" in scope["path"]
        or b"\0" in query
        or not _is_utf8(query)
    ):
        raise HTTPException(
            HTTPStatus.BAD_REQUEST,
            gettext(
                "The address has control characters or invalid UTF-8 in it. Correct it."
            ),
        )


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


def _check_origin(method: str, headers: Headers, own: Collection[Origin]) -> None:
    # Refuse what a page of another site sends through the browser of somebody who has access.
    site = headers.get("sec-fetch-site", "none")
    if method in SAFE_METHODS:
        # Other sites may link to this page; they may not embed or fetch it.
        is_foreign = (
            site in {"cross-site", "same-site"}
            and headers.get("sec-fetch-mode") != "navigate"
        )
    else:
        is_foreign = site not in {"same-origin", "none"} or not is_from(headers, own)
    if is_foreign:
        raise HTTPException(
            HTTPStatus.FORBIDDEN,
            gettext(
                "The request came from a page of another site. Open this page directly and try again."
            ),
        )


def _check_content_type(scope: Scope, headers: Headers) -> None:
    has_body = (
        "transfer-encoding" in headers
        or headers.get("content-length", "0").strip("0") != ""
    )
    if (
        scope["method"] in SAFE_METHODS
        or not scope["path"].startswith("/api/")
        or not has_body
    ):
        return
    if _content_type(headers) in _FORM_TYPES:
        raise HTTPException(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Set the content type: `Content-Type: application/json`, or for a photo its own, such as "
            "image/jpeg.",
        )


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


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
