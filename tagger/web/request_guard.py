"""The outermost middleware: it checks host, origin, content type, size and authentication of every request.

A pure ASGI middleware, so that responses can stream. It leaves `client`, `grant` and `actor` in the request's
state, and sets the language of its texts.

Few requests that count or group many photos, such as those of filters and of the map, are let in at a time:
others are answered meanwhile.
"""

import logging
import re
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from http import HTTPStatus
from urllib.parse import quote, unquote_to_bytes

import anyio
from anyio import CapacityLimiter
from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tagger.texts.text_format import gettext, in_language, in_zone
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
    actor_of,
    client_of,
    is_from,
    own_origins,
)
from tagger.web.errors import error_response
from tagger.web.routes import add_headers
from tagger.web.templating import language_of, zone_of
from tagger.web.uploads import FRAMING_BYTES, SMALL_BYTES, limit_body, too_large_text

log = logging.getLogger(__name__)

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


# Requests that count photos at a time. The server has 40 threads and 32 connections to its
# database.
COUNTING_AT_ONCE = 4
# As many as a browser sends at once through a proxy with HTTP/2, for a grid. They hold no thread.
MOST_WAITING = 128
RETRY_AFTER_S = 5
GONE_CHECK_S = 0.5
# The status of nginx for a client that has closed the connection: nobody reads it.
CLIENT_GONE = 499


class CountLimiter:
    def __init__(
        self, at_once: int = COUNTING_AT_ONCE, most_waiting: int = MOST_WAITING
    ) -> None:
        self._most_waiting = most_waiting
        self._limiter = CapacityLimiter(at_once)

    @asynccontextmanager
    async def slot(self, request: Request) -> AsyncIterator[None]:
        """Wait until fewer requests are being answered. A client that disconnects leaves the queue.

        Raises:
            HTTPException: too many wait already, or the client has gone.
        """
        if self._limiter.statistics().tasks_waiting >= self._most_waiting:
            text = gettext(
                "Too many requests count photos now. Try again in some seconds."
            )
            headers = {"retry-after": str(RETRY_AFTER_S)}
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, text, headers)
        borrower, is_acquired = object(), False

        async def watch() -> None:
            while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event for it
                await anyio.sleep(GONE_CHECK_S)
            waiting.cancel_scope.cancel()

        async with anyio.create_task_group() as waiting:
            waiting.start_soon(watch)
            await self._limiter.acquire_on_behalf_of(borrower)
            is_acquired = True
            waiting.cancel_scope.cancel()
        if not is_acquired:
            raise HTTPException(CLIENT_GONE)
        try:
            yield
        finally:
            self._limiter.release_on_behalf_of(borrower)


async def _counting_slot(request: Request) -> AsyncIterator[None]:
    limiter: CountLimiter = request.app.state.count_limiter
    async with limiter.slot(request):
        yield


# For the `dependencies` of a route that counts or groups photos.
COUNTING = Depends(_counting_slot, scope="function")
