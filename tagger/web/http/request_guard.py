"""The outermost middleware: it checks host, origin, content type, size and authentication of every request.

A pure ASGI middleware, so that responses can stream.
"""

import re
from http import HTTPStatus
from urllib.parse import quote

from starlette.datastructures import Headers
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from tagger.web.http.access import AccessPolicy
from tagger.web.http.auth import Authenticator, TooManyAttempts, client_address
from tagger.web.http.body_limits import (
    CLOSE_CONNECTION,
    FRAMING_BYTES,
    SMALL_BYTES,
    limit_body,
    too_large_text,
)
from tagger.web.http.error_responses import error_response
from tagger.web.http.response_headers import add_headers

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
MAX_ADDRESS_BYTES = 8 * 2**10

# Forms of any site can send these types without asking the browser; a program declares what it sends.
_FORM_TYPES = frozenset({"", "text/plain", "application/x-www-form-urlencoded"})
_UPLOAD_PATHS = frozenset({"/", "/api/predict"})
_UPLOAD_TYPES = ("multipart/form-data", "image/", "application/octet-stream")
_HOST = re.compile(r"(?:[a-z0-9._-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?", re.IGNORECASE)


class RequestRefused(Exception):
    """The request goes no further; the text says why, and what to do."""

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


class RequestGuard:
    """Passes a request on to the application only if it satisfies the policy."""

    def __init__(self, app: ASGIApp, policy: AccessPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":  # lifespan events; the server has no web sockets
            await self._app(scope, receive, send)
            return
        send = add_headers(scope, send)
        headers = Headers(scope=scope)
        try:
            limit_bytes = self._check(scope, headers)
        except RequestRefused as refused:
            # The error page must not be affected by headers that are invalid.
            response = error_response({**scope, "headers": []}, refused.status, refused.text)
            response.headers.update(CLOSE_CONNECTION)
            await response(scope, receive, send)
            return
        if self._policy.token is not None and not _is_public(scope["path"]):
            refusal = _refuse_unauthenticated(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, send)
                return
        await self._app(scope, limit_body(receive, limit_bytes), send)

    def _check(self, scope: Scope, headers: Headers) -> int:
        """Return the size limit of the body, in bytes.

        Raises:
            RequestRefused: the request must not have any effect.
        """
        _check_address(scope)
        self._check_host(headers)
        _check_origin(scope["method"], headers)
        _check_content_type(scope, headers)
        return self._body_limit(scope, headers)

    def _check_host(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "The request needs exactly one valid Host header.")
        if self._policy.token is None and hosts[0].lower() not in self._policy.hosts:
            raise RequestRefused(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"This server is not {hosts[0]}. Open http://127.0.0.1:{self._policy.port}/ instead. To use "
                "another name, start `tagger serve` with TAGGER_WEB_TOKEN set.",
            )

    def _body_limit(self, scope: Scope, headers: Headers) -> int:
        is_upload = scope["method"] == "POST" and scope["path"] in _UPLOAD_PATHS
        is_photo = is_upload and _content_type(headers).startswith(_UPLOAD_TYPES)
        limit = self._policy.upload_bytes + FRAMING_BYTES if is_photo else SMALL_BYTES
        length = headers.get("content-length")
        if length is not None and "transfer-encoding" in headers:
            # Request smuggling: a proxy and this server could disagree about where the body ends.
            raise RequestRefused(
                HTTPStatus.BAD_REQUEST,
                "The request has both Content-Length and Transfer-Encoding. Send one of them.",
            )
        if length is not None and (not length.isascii() or not length.isdigit()):
            raise RequestRefused(HTTPStatus.BAD_REQUEST, "The request's Content-Length is not a number.")
        if length is not None and int(length[:20]) > limit:
            raise RequestRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, too_large_text(limit))
        return limit


def _refuse_unauthenticated(scope: Scope, headers: Headers) -> ASGIApp | None:
    """Return the response to a request that is not authenticated; None if it is."""
    authenticator: Authenticator = scope["app"].state.authenticator
    try:
        if authenticator.is_authenticated(headers, client_address(scope)):
            return None
    except TooManyAttempts as error:
        retry_after = {"retry-after": str(error.retry_after_s)}
        return error_response(scope, HTTPStatus.TOO_MANY_REQUESTS, str(error), retry_after)
    is_page = scope["method"] == "GET" and not scope["path"].startswith("/api/")
    if is_page and "text/html" in headers.get("accept", ""):
        address = f"/sign-in?next={quote(_address(scope), safe='/')}"
        return RedirectResponse(address, HTTPStatus.SEE_OTHER)
    return error_response(
        scope,
        HTTPStatus.UNAUTHORIZED,
        "A token is required: send it as `Authorization: Bearer TOKEN`, or sign in at /sign-in.",
        {"www-authenticate": "Bearer"},
    )


def _check_address(scope: Scope) -> None:
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    if len(raw) + len(scope["query_string"]) > MAX_ADDRESS_BYTES:
        raise RequestRefused(
            HTTPStatus.REQUEST_URI_TOO_LONG, "The address is too long. Ask for less at once."
        )
    # No file and no name in the database has control characters, and some databases fail on them.
    has_control = any(ord(character) < 32 or ord(character) == 127 for character in scope["path"])
    if has_control or "\ufffd" in scope["path"] or b"%00" in scope["query_string"]:
        raise RequestRefused(
            HTTPStatus.BAD_REQUEST, "The address has control characters or invalid UTF-8 in it. Correct it."
        )


def _check_origin(method: str, headers: Headers) -> None:
    """Refuse what a page of another site sends through the browser of somebody who has access."""
    site = headers.get("sec-fetch-site", "none")
    if method in SAFE_METHODS:
        # Other sites may link to this page; they may not embed or fetch it.
        is_foreign = site in {"cross-site", "same-site"} and headers.get("sec-fetch-mode") != "navigate"
    else:
        is_foreign = site not in {"same-origin", "none"} or not _is_same_host(headers)
    if is_foreign:
        raise RequestRefused(
            HTTPStatus.FORBIDDEN,
            "The request came from a page of another site. Open this page directly and try again.",
        )


def _is_same_host(headers: Headers) -> bool:
    """Compare Origin or Referer with Host. The scheme does not matter: a proxy may terminate TLS."""
    host = headers.get("host", "").lower()
    origins = headers.getlist("origin") or [
        "/".join(page.split("/")[:3]) for page in headers.getlist("referer")
    ]
    return all(origin.lower() in {f"http://{host}", f"https://{host}"} for origin in origins)


def _check_content_type(scope: Scope, headers: Headers) -> None:
    if scope["method"] in SAFE_METHODS or not scope["path"].startswith("/api/") or not _has_body(headers):
        return
    if _content_type(headers) in _FORM_TYPES:
        raise RequestRefused(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "Set the content type: `Content-Type: application/json`, or for a photo its own, such as image/jpeg.",
        )


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0").strip("0") != ""


def _content_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _is_public(path: str) -> bool:
    """Return whether the path needs no authentication: the sign-in page and its files."""
    return path == "/sign-in" or path.startswith("/static/")


def _address(scope: Scope) -> str:
    query = scope["query_string"].decode("latin-1")
    return quote(scope["path"]) + (f"?{query}" if query else "")
